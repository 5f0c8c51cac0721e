// SPDX-License-Identifier: Apache-2.0
/// \file
/// One sequence of a model, with its cache under any policy.
#ifndef MORPHKV_TOOLS_LLAMA_SESSION_HPP
#define MORPHKV_TOOLS_LLAMA_SESSION_HPP

#include <cstddef>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama/model.hpp"
#include "llama/trace.hpp"
#include "llama/transformer.hpp"
#include "morphkv/cache/kv_cache.hpp"

namespace morphkv::llama {

/// \throws std::runtime_error if the cache has refused something.
inline void check(Status status) {
  if (status == Status::ok) return;
  throw std::runtime_error("the cache refused a token: " + std::string(to_string(status)));
}

[[nodiscard]] inline std::span<float> elements(Matrix& matrix) {
  return {matrix.data(), static_cast<std::size_t>(matrix.size())};
}
[[nodiscard]] inline std::span<const float> elements(const Matrix& matrix) {
  return {matrix.data(), static_cast<std::size_t>(matrix.size())};
}

/// Runs `model` over one sequence. An engine needs no more of the library than this: `prefill` for
/// a prompt, `append` and `attend` for a token.
///
/// Thread safety: none; sessions of one model are independent of each other.
template <EvictionPolicy Policy, Scalar Stored = float>
class Session {
 public:
  using Cache = KVCache<Stored, Policy>;

  /// \param threads that compute
  /// \pre `model` outlives the session.
  Session(const Model& model, const typename Policy::Options& options, std::size_t threads = 1)
      : transformer_(model, threads), cache_(model.shape(), options) {}

  /// Reads a prompt, or a later turn. The logits after its last token, until the next call.
  std::span<const float> prefill(std::span<const int> tokens) {
    forward(tokens);
    return transformer_.last_logits();
  }

  /// The same, with the logits after each token: [tokens, vocabulary].
  const Matrix& prefill_with_all_logits(std::span<const int> tokens) {
    forward(tokens);
    return transformer_.logits();
  }

  /// Reads the token that was written last. The logits after it, until the next call.
  std::span<const float> step(int token) { return prefill({&token, 1}); }

  /// Records the inputs of attention in `trace` from now on; null: no longer.
  void record(Trace* trace) noexcept { trace_ = trace; }

  [[nodiscard]] const Cache& cache() const noexcept { return cache_; }
  /// Tokens that were read.
  [[nodiscard]] std::size_t position() const noexcept { return position_; }

 private:
  void forward(std::span<const int> tokens) {
    positions_.resize(tokens.size());
    std::iota(positions_.begin(), positions_.end(), position_);
    transformer_.forward(tokens, positions_, [&](const AttentionBlock& block) { attend(block); });
    position_ += tokens.size();
  }

  /// The part of the library.
  void attend(const AttentionBlock& block) {
    if (trace_ != nullptr) trace_->add(block.layer, block.queries, block.keys, block.values);
    const auto q = elements(block.queries);
    const auto k = elements(block.keys);
    const auto v = elements(block.values);
    const auto out = elements(block.outputs);
    if (positions_.size() > 1 || position_ == 0) {
      check(cache_.prefill(block.layer, q, k, v, out, transformer_.workers()));
    } else {
      check(cache_.append(block.layer, k, v, static_cast<Position>(position_)));
      check(cache_.attend(block.layer, q, out, transformer_.workers()));
    }
  }

  Transformer transformer_;
  Cache cache_;
  Trace* trace_ = nullptr;
  std::size_t position_ = 0;
  std::vector<std::size_t> positions_;  ///< of the tokens that are being read
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_SESSION_HPP
