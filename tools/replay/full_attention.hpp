// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of the full cache, and the error of a step against it. In double.
#ifndef MORPHKV_TOOLS_REPLAY_FULL_ATTENTION_HPP
#define MORPHKV_TOOLS_REPLAY_FULL_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "morphkv/core/types.hpp"
#include "replay/trace.hpp"

namespace morphkv::replay {

/// The error of one step of one KV head against the full cache.
struct Loss {
  double lost_mass = 0;     ///< share of the full cache's attention that went to unseen tokens
  double output_error = 0;  ///< relative to the full cache's output; NaN where that is 0
};

/// Attention of the trace's tokens over all before them. Memory: one row per query head of one
/// group. Complexity: O(tokens x group x head_dim) per head and step.
class FullAttention {
 public:
  explicit FullAttention(const Trace& trace)
      : trace_(&trace),
        weights_(trace.shape.group(), std::vector<double>(trace.tokens)),
        unseen_(trace.tokens),
        output_(trace.shape.head_dim) {}

  /// \param visible of each query head of the group, the positions that it attended; ascending
  /// \param output  [group][head_dim], the output
  [[nodiscard]] Loss compare(std::size_t token, std::size_t head,
                             std::span<const std::vector<Position>> visible,
                             std::span<const float> output) {
    find_weights(token, head);
    Loss loss;
    double difference = 0;
    double norm = 0;
    for (std::size_t g = 0; g < visible.size(); ++g) {
      loss.lost_mass += lost_mass(g, token + 1, visible[g]) / static_cast<double>(visible.size());
      find_output(g, token + 1, head);
      for (std::size_t d = 0; d < output_.size(); ++d) {
        const double gap = static_cast<double>(output[g * output_.size() + d]) - output_[d];
        difference += gap * gap;
        norm += output_[d] * output_[d];
      }
    }
    if (difference > 0) {
      loss.output_error =
          norm > 0 ? std::sqrt(difference / norm) : std::numeric_limits<double>::quiet_NaN();
    }
    return loss;
  }

 private:
  /// Several partial sums, which a compiler turns into vectors.
  [[nodiscard]] static double dot(const float* a, const float* b, std::size_t size) {
    constexpr std::size_t lanes = 8;
    double partial[lanes] = {};
    std::size_t i = 0;
    for (; i + lanes <= size; i += lanes) {
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        partial[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
      }
    }
    for (; i < size; ++i) partial[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    double sum = 0;
    for (const double part : partial) sum += part;
    return sum;
  }

  [[nodiscard]] const float* key_of(std::size_t token, std::size_t head) const {
    return trace_->keys_of(token, 1).data() + head * trace_->shape.head_dim;
  }
  [[nodiscard]] const float* value_of(std::size_t token, std::size_t head) const {
    return trace_->values_of(token, 1).data() + head * trace_->shape.head_dim;
  }

  /// weights_[g] = softmax(q_g . k_j / sqrt(head_dim)) over all tokens up to this one.
  void find_weights(std::size_t token, std::size_t head) {
    const std::size_t dim = trace_->shape.head_dim;
    const std::size_t group = trace_->shape.group();
    const float* queries = trace_->queries_of(token, 1).data() + head * group * dim;
    const double scale = 1 / std::sqrt(static_cast<double>(dim));
    for (std::size_t j = 0; j <= token; ++j) {
      const float* key = key_of(j, head);
      for (std::size_t g = 0; g < group; ++g) {
        weights_[g][j] = scale * dot(queries + g * dim, key, dim);
      }
    }
    for (auto& row : weights_) softmax(std::span(row).first(token + 1));
  }

  static void softmax(std::span<double> row) {
    const double greatest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (double& weight : row) sum += weight = std::exp(weight - greatest);
    for (double& weight : row) weight /= sum;
  }

  [[nodiscard]] double lost_mass(std::size_t g, std::size_t tokens,
                                 std::span<const Position> visible) {
    std::fill_n(unseen_.begin(), tokens, char{1});
    for (const Position position : visible) unseen_[static_cast<std::size_t>(position)] = 0;
    double lost = 0;
    for (std::size_t j = 0; j < tokens; ++j) lost += unseen_[j] != 0 ? weights_[g][j] : 0.0;
    return lost;
  }

  void find_output(std::size_t g, std::size_t tokens, std::size_t head) {
    std::fill(output_.begin(), output_.end(), 0.0);
    for (std::size_t j = 0; j < tokens; ++j) {
      const float* value = value_of(j, head);
      const double weight = weights_[g][j];
      for (std::size_t d = 0; d < output_.size(); ++d) {
        output_[d] += weight * static_cast<double>(value[d]);
      }
    }
  }

  const Trace* trace_;
  std::vector<std::vector<double>> weights_;  ///< [group][tokens]
  std::vector<char> unseen_;                  ///< [tokens]
  std::vector<double> output_;                ///< [head_dim]
};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_FULL_ATTENTION_HPP
