// SPDX-License-Identifier: Apache-2.0
/// \file
/// One sequence that a model reads and writes, with its cache under any policy.
#ifndef MORPHKV_EXAMPLES_LLAMA_SESSION_HPP
#define MORPHKV_EXAMPLES_LLAMA_SESSION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "llama/model.hpp"
#include "llama/rope.hpp"
#include "llama/trace.hpp"
#include "morphkv/cache/kv_cache.hpp"

namespace morphkv::llama {

/// The token with the greatest logit; of equal ones the first.
[[nodiscard]] inline int most_likely(std::span<const float> logits) {
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Runs `model` over one sequence. This is all that an engine does with the library: `prefill` for
/// a prompt, `append` and `attend` for a token.
///
/// Thread safety: none; sessions of one model are independent of each other.
template <EvictionPolicy Policy, Scalar Stored = float>
class Session {
 public:
  using Cache = KVCache<Stored, Policy>;

  /// \pre `model` outlives the session.
  Session(const Model& model, const typename Policy::Options& options)
      : model_(&model), rope_(model.config), cache_(model.config.shape(), options) {}

  /// Reads a prompt, or a later turn. The logits after its last token, until the next call.
  std::span<const float> prefill(std::span<const int> tokens) {
    forward(tokens);
    return classify(x_.bottomRows(1));
  }

  /// The same, with the logits after each token: [tokens, vocabulary].
  const Matrix& prefill_with_all_logits(std::span<const int> tokens) {
    forward(tokens);
    (void)classify(x_);
    return logits_;
  }

  /// Reads the token that was written last. The logits after it, until the next call.
  std::span<const float> step(int token) {
    forward({&token, 1});
    return classify(x_);
  }

  /// From now on, what attention is given goes into `trace` as well; null ends it.
  void record(Trace* trace) noexcept { trace_ = trace; }

  [[nodiscard]] const Cache& cache() const noexcept { return cache_; }
  /// Tokens that were read.
  [[nodiscard]] std::size_t position() const noexcept { return position_; }

 private:
  void forward(std::span<const int> tokens) {
    embed(tokens);
    for (std::size_t layer = 0; layer < model_->layers.size(); ++layer) {
      attention(layer);
      feed_forward(model_->layers[layer]);
    }
    position_ += tokens.size();
  }

  void embed(std::span<const int> tokens) {
    if (tokens.empty()) throw std::invalid_argument("a prompt needs at least one token");
    x_.resize(static_cast<Eigen::Index>(tokens.size()), model_->embedding.cols());
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      if (tokens[t] < 0 || tokens[t] >= model_->embedding.rows()) {
        throw std::invalid_argument("token " + std::to_string(tokens[t]) +
                                    " is not in the vocabulary of " +
                                    std::to_string(model_->embedding.rows()));
      }
      x_.row(static_cast<Eigen::Index>(t)) = model_->embedding.row(tokens[t]);
    }
  }

  void attention(std::size_t index) {
    const Layer& layer = model_->layers[index];
    normalise(x_, layer.attention_norm);
    queries_.noalias() = normed_ * layer.query.transpose();
    keys_.noalias() = normed_ * layer.key.transpose();
    values_.noalias() = normed_ * layer.value.transpose();
    turn_heads();
    if (trace_ != nullptr) trace_->add(index, queries_, keys_, values_);
    attended_.resize(queries_.rows(), queries_.cols());
    attend(index);
    x_.noalias() += attended_ * layer.output.transpose();
  }

  /// The library's part.
  void attend(std::size_t layer) {
    const auto q = elements(std::as_const(queries_));
    const auto k = elements(std::as_const(keys_));
    const auto v = elements(std::as_const(values_));
    const auto out = elements(attended_);
    if (queries_.rows() > 1 || position_ == 0) {
      check(cache_.prefill(layer, q, k, v, out));
    } else {
      check(cache_.append(layer, k, v, static_cast<Position>(position_)));
      check(cache_.attend(layer, q, out));
    }
  }

  void feed_forward(const Layer& layer) {
    normalise(x_, layer.feed_forward_norm);
    gate_.noalias() = normed_ * layer.gate.transpose();
    up_.noalias() = normed_ * layer.up.transpose();
    gate_.array() *= up_.array() / (1 + (-gate_.array()).exp());  // SwiGLU: silu(gate) * up
    x_.noalias() += gate_ * layer.down.transpose();
  }

  template <class Rows>
  std::span<const float> classify(const Rows& rows) {
    normalise(rows, model_->norm);
    logits_.noalias() = normed_ * model_->classifier().transpose();
    const auto last = logits_.row(logits_.rows() - 1);
    return {last.data(), static_cast<std::size_t>(last.size())};
  }

  /// RMSNorm, into normed_.
  template <class Rows>
  void normalise(const Rows& rows, const RowVector& weight) {
    normed_.resize(rows.rows(), rows.cols());
    for (Eigen::Index t = 0; t < rows.rows(); ++t) {
      const float mean = rows.row(t).squaredNorm() / static_cast<float>(rows.cols());
      const float scale = 1 / std::sqrt(mean + model_->config.norm_epsilon);
      normed_.row(t) = (rows.row(t) * scale).cwiseProduct(weight);
    }
  }

  void turn_heads() {
    for (Eigen::Index t = 0; t < queries_.rows(); ++t) {
      rope_.move_to(position_ + static_cast<std::size_t>(t));
      rope_.turn({queries_.row(t).data(), static_cast<std::size_t>(queries_.cols())});
      rope_.turn({keys_.row(t).data(), static_cast<std::size_t>(keys_.cols())});
    }
  }

  static std::span<float> elements(Matrix& matrix) {
    return {matrix.data(), static_cast<std::size_t>(matrix.size())};
  }
  static std::span<const float> elements(const Matrix& matrix) {
    return {matrix.data(), static_cast<std::size_t>(matrix.size())};
  }

  static void check(Status status) {
    if (status == Status::ok) return;
    throw std::runtime_error("the cache refused a token: " + std::string(to_string(status)));
  }

  const Model* model_;
  Rope rope_;
  Cache cache_;
  Trace* trace_ = nullptr;
  std::size_t position_ = 0;

  // Activations, kept so that a step allocates nothing of its own. [tokens, ...]
  Matrix x_;
  Matrix normed_;
  Matrix queries_;
  Matrix keys_;
  Matrix values_;
  Matrix attended_;
  Matrix gate_;
  Matrix up_;
  Matrix logits_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_EXAMPLES_LLAMA_SESSION_HPP
