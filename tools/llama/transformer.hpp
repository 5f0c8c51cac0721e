// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model without its cache.
#ifndef MORPHKV_TOOLS_LLAMA_TRANSFORMER_HPP
#define MORPHKV_TOOLS_LLAMA_TRANSFORMER_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>

#include "llama/model.hpp"
#include "llama/multiply.hpp"
#include "llama/rope.hpp"
#include "support/workers.hpp"

namespace morphkv::llama {

/// The token with the largest logit; of equal ones the first.
[[nodiscard]] inline int most_likely(std::span<const float> logits) {
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// The inputs and outputs of a layer's attention, one row per token.
struct AttentionBlock {
  std::size_t layer = 0;
  const Matrix& queries;  ///< [tokens, query_heads x head_dim], after RoPE
  const Matrix& keys;     ///< [tokens, kv_heads x head_dim], after RoPE
  const Matrix& values;   ///< [tokens, kv_heads x head_dim]
  Matrix& outputs;        ///< [tokens, query_heads x head_dim]
};

using Attend = std::function<void(const AttentionBlock&)>;

/// Runs tokens through a model; the caller computes attention. The tokens may be a block of one
/// sequence, or one of each of several sequences.
///
/// Thread safety: none; transformers of one model are independent of each other.
class Transformer {
 public:
  /// \param threads for the products
  /// \pre `model` outlives the transformer.
  explicit Transformer(const Model& model, std::size_t threads = 1)
      : model_(&model), rope_(model.config), workers_(threads) {}

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

  /// An Executor for the caller's attention.
  [[nodiscard]] support::Workers& workers() noexcept { return workers_; }

 private:
  void embed(std::span<const int> tokens) {
    const Weights& embedding = model_->embedding;
    if (tokens.empty()) throw std::invalid_argument("a prompt needs at least one token");
    x_.resize(static_cast<Eigen::Index>(tokens.size()),
              static_cast<Eigen::Index>(embedding.columns()));
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      if (tokens[t] < 0 || static_cast<std::size_t>(tokens[t]) >= embedding.rows()) {
        throw std::invalid_argument("token " + std::to_string(tokens[t]) +
                                    " is not in the vocabulary of " +
                                    std::to_string(embedding.rows()));
      }
      embedding.read_row(static_cast<std::size_t>(tokens[t]),
                         x_.row(static_cast<Eigen::Index>(t)).data());
    }
  }

  void attention(std::size_t index, std::span<const std::size_t> positions, const Attend& attend) {
    const Layer& layer = model_->layers[index];
    normalise(x_, layer.attention_norm);
    project(normed_, layer.query, layer.query_bias, queries_);
    project(normed_, layer.key, layer.key_bias, keys_);
    project(normed_, layer.value, layer.value_bias, values_);
    normalise_heads(queries_, layer.query_norm);
    normalise_heads(keys_, layer.key_norm);
    const std::vector<bool>& use_rope = model_->config.use_rope;
    if (use_rope.empty() || use_rope[index]) rotate_heads(positions);
    attended_.resize(queries_.rows(), queries_.cols());
    attend(AttentionBlock{index, queries_, keys_, values_, attended_});
    project(attended_, layer.output, layer.output_bias, added_);
    x_ += added_;
  }

  void feed_forward(const Layer& layer) {
    normalise(x_, layer.feed_forward_norm);
    multiply(normed_, layer.gate, gate_, workers_);
    multiply(normed_, layer.up, up_, workers_);
    gate_.array() *= up_.array() / (1 + (-gate_.array()).exp());  // SwiGLU: silu(gate) * up
    multiply(gate_, layer.down, added_, workers_);
    x_ += added_;
  }

  void project(const Matrix& x, const Weights& weights, const RowVector& bias, Matrix& out) {
    multiply(x, weights, out, workers_);
    if (bias.size() > 0) out.rowwise() += bias;
  }

  template <class Rows>
  const Matrix& classify(const Rows& rows) {
    normalise(rows, model_->norm);
    multiply(normed_, model_->classifier(), logits_, workers_);
    return logits_;
  }

  /// What RMSNorm (arXiv 1910.07467) multiplies a vector by, besides its weight.
  template <class Vector>
  [[nodiscard]] float norm_scale(const Vector& x) const {
    const float mean = x.squaredNorm() / static_cast<float>(x.size());
    return 1 / std::sqrt(mean + model_->config.norm_epsilon);
  }

  /// Into normed_.
  template <class Rows>
  void normalise(const Rows& rows, const RowVector& weight) {
    normed_.resize(rows.rows(), rows.cols());
    for (Eigen::Index t = 0; t < rows.rows(); ++t) {
      normed_.row(t) = (rows.row(t) * norm_scale(rows.row(t))).cwiseProduct(weight);
    }
  }

  /// Each head of each token, in place. \param weight empty: nothing is done
  void normalise_heads(Matrix& rows, const RowVector& weight) const {
    if (weight.size() == 0) return;
    for (Eigen::Index t = 0; t < rows.rows(); ++t) {
      for (Eigen::Index begin = 0; begin < rows.cols(); begin += weight.size()) {
        auto head = rows.row(t).segment(begin, weight.size());
        head = (head * norm_scale(head)).cwiseProduct(weight).eval();
      }
    }
  }

  void rotate_heads(std::span<const std::size_t> positions) {
    for (Eigen::Index t = 0; t < queries_.rows(); ++t) {
      rope_.move_to(positions[static_cast<std::size_t>(t)]);
      rope_.rotate({queries_.row(t).data(), static_cast<std::size_t>(queries_.cols())});
      rope_.rotate({keys_.row(t).data(), static_cast<std::size_t>(keys_.cols())});
    }
  }

  const Model* model_;
  Rope rope_;
  support::Workers workers_;

  // Activations, kept so that a step does not allocate. [tokens, ...]
  Matrix x_;
  Matrix normed_;
  Matrix queries_;
  Matrix keys_;
  Matrix values_;
  Matrix attended_;
  Matrix added_;
  Matrix gate_;
  Matrix up_;
  Matrix logits_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_TRANSFORMER_HPP
