// SPDX-License-Identifier: Apache-2.0
/// \file
/// All of a model but its memory.
#ifndef MORPHKV_EXAMPLES_LLAMA_TRANSFORMER_HPP
#define MORPHKV_EXAMPLES_LLAMA_TRANSFORMER_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>

#include "llama/model.hpp"
#include "llama/rope.hpp"

namespace morphkv::llama {

/// The token with the greatest logit; of equal ones the first.
[[nodiscard]] inline int most_likely(std::span<const float> logits) {
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// What attention is given, and where its outputs go. A row of each is a token's.
struct AttentionBlock {
  std::size_t layer = 0;
  const Matrix& queries;  ///< [tokens, query_heads x head_dim], after RoPE
  const Matrix& keys;     ///< [tokens, kv_heads x head_dim], after RoPE
  const Matrix& values;   ///< [tokens, kv_heads x head_dim]
  Matrix& outputs;        ///< [tokens, query_heads x head_dim]
};

using Attend = std::function<void(const AttentionBlock&)>;

/// Runs tokens through a model, and leaves to its caller what they attend to. The tokens may be a
/// block of one sequence, or one of each of several sequences.
///
/// Thread safety: none; transformers of one model are independent of each other.
class Transformer {
 public:
  /// \pre `model` outlives the transformer.
  explicit Transformer(const Model& model) : model_(&model), rope_(model.config) {}

  /// \param positions of the tokens, one each
  /// \param attend    called for every layer
  void forward(std::span<const int> tokens, std::span<const std::size_t> positions,
               const Attend& attend) {
    embed(tokens);
    for (std::size_t layer = 0; layer < model_->layers.size(); ++layer) {
      attention(layer, positions, attend);
      feed_forward(model_->layers[layer]);
    }
  }

  /// The logits after each token of the last forward(), [tokens, vocabulary], until the next call.
  const Matrix& logits() { return classify(x_); }
  /// The same after its last token alone.
  std::span<const float> last_logits() {
    const Matrix& logits = classify(x_.bottomRows(1));
    return {logits.data(), static_cast<std::size_t>(logits.size())};
  }

 private:
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

  void attention(std::size_t index, std::span<const std::size_t> positions, const Attend& attend) {
    const Layer& layer = model_->layers[index];
    normalise(x_, layer.attention_norm);
    queries_.noalias() = normed_ * layer.query.transpose();
    keys_.noalias() = normed_ * layer.key.transpose();
    values_.noalias() = normed_ * layer.value.transpose();
    turn_heads(positions);
    attended_.resize(queries_.rows(), queries_.cols());
    attend(AttentionBlock{index, queries_, keys_, values_, attended_});
    x_.noalias() += attended_ * layer.output.transpose();
  }

  void feed_forward(const Layer& layer) {
    normalise(x_, layer.feed_forward_norm);
    gate_.noalias() = normed_ * layer.gate.transpose();
    up_.noalias() = normed_ * layer.up.transpose();
    gate_.array() *= up_.array() / (1 + (-gate_.array()).exp());  // SwiGLU: silu(gate) * up
    x_.noalias() += gate_ * layer.down.transpose();
  }

  template <class Rows>
  const Matrix& classify(const Rows& rows) {
    normalise(rows, model_->norm);
    logits_.noalias() = normed_ * model_->classifier().transpose();
    return logits_;
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

  void turn_heads(std::span<const std::size_t> positions) {
    for (Eigen::Index t = 0; t < queries_.rows(); ++t) {
      rope_.move_to(positions[static_cast<std::size_t>(t)]);
      rope_.turn({queries_.row(t).data(), static_cast<std::size_t>(queries_.cols())});
      rope_.turn({keys_.row(t).data(), static_cast<std::size_t>(keys_.cols())});
    }
  }

  const Model* model_;
  Rope rope_;

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

#endif  // MORPHKV_EXAMPLES_LLAMA_TRANSFORMER_HPP
