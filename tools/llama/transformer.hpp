// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model without its cache.
#ifndef MORPHKV_TOOLS_LLAMA_TRANSFORMER_HPP
#define MORPHKV_TOOLS_LLAMA_TRANSFORMER_HPP

#include <algorithm>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>

#include "llama/attention_projections.hpp"
#include "llama/feed_forward.hpp"
#include "llama/model.hpp"
#include "llama/multiply.hpp"
#include "llama/norm.hpp"
#include "support/workers.hpp"

namespace morphkv::llama {

/// The token with the largest logit; of equal ones the first.
[[nodiscard]] inline int most_likely(std::span<const float> logits) {
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Runs tokens through a model; the caller computes attention. The tokens may be a block of one
/// sequence, or one of each of several sequences.
///
/// Thread safety: none; transformers of one model are independent of each other.
class Transformer {
 public:
  /// \param threads for the products
  /// \pre `model` outlives the transformer.
  explicit Transformer(const Model& model, std::size_t threads = 1)
      : model_(&model), attention_(model), workers_(threads) {}

  /// \param positions of the tokens, one each
  /// \param attend    called for every layer
  void forward(std::span<const int> tokens, std::span<const std::size_t> positions,
               const Attend& attend) {
    embed(tokens);
    for (std::size_t index = 0; index < model_->layers.size(); ++index) {
      const Layer& layer = model_->layers[index];
      normalise(x_, layer.attention_norm, epsilon(), normed_);
      attention_(index, normed_, positions, attend, added_, workers_);
      add(layer.attention_post_norm);
      normalise(x_, layer.feed_forward_norm, epsilon(), normed_);
      feed_forward_(model_->config, layer, normed_, added_, workers_);
      add(layer.feed_forward_post_norm);
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
    const auto scale = static_cast<float>(model_->config.embedding_scale);
    if (scale != 1) x_ *= scale;
  }

  /// added_ to x_. \param norm of what is added; empty: none
  void add(const RowVector& norm) {
    normalise_heads(added_, added_.cols(), norm, epsilon());
    x_ += added_;
  }

  template <class Rows>
  const Matrix& classify(const Rows& rows) {
    normalise(rows, model_->norm, epsilon(), normed_);
    multiply(normed_, model_->classifier(), logits_, workers_);
    const auto cap = static_cast<float>(model_->config.final_soft_cap);
    if (cap > 0) logits_.array() = cap * (logits_.array() / cap).tanh();
    return logits_;
  }

  [[nodiscard]] float epsilon() const noexcept { return model_->config.norm_epsilon; }

  const Model* model_;
  AttentionProjections attention_;
  FeedForward feed_forward_;
  support::Workers workers_;

  // Activations, kept so that a step does not allocate. [tokens, ...]
  Matrix x_;
  Matrix normed_;
  Matrix added_;
  Matrix logits_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_TRANSFORMER_HPP
