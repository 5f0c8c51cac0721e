// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model without its cache.
#ifndef MORPHKV_TOOLS_LLAMA_TRANSFORMER_HPP
#define MORPHKV_TOOLS_LLAMA_TRANSFORMER_HPP

#include <algorithm>
#include <cstddef>
#include <span>

#include "llama/attention_projections.hpp"
#include "llama/feed_forward.hpp"
#include "llama/model.hpp"
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
               const Attend& attend);

  /// The logits after each token of the last forward(), [tokens, vocabulary], until the next call.
  const Matrix& logits();
  /// The same after its last token alone.
  std::span<const float> last_logits();

  /// An Executor for the caller's attention.
  [[nodiscard]] support::Workers& workers() noexcept { return workers_; }

 private:
  void embed(std::span<const int> tokens);
  /// added_ to x_. \param norm of what is added; empty: none
  void add(const RowVector& norm);
  template <class Rows>
  const Matrix& classify(const Rows& rows);
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
