// SPDX-License-Identifier: Apache-2.0
/// \file
/// How products of queries and keys become the logits of a softmax.
#ifndef MORPHKV_CORE_LOGITS_HPP
#define MORPHKV_CORE_LOGITS_HPP

#include <cstddef>
#include <limits>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Beyond these, logits of floats are all but equal, or the cap changes none.
inline constexpr float min_soft_cap = 1e-3F;
inline constexpr float max_soft_cap = 1e3F;

/// The logits of one KV head's group. Nothing is owned.
struct Logits {
  float scale = 1;  ///< of the products; usually 1 / sqrt(head_dim)
  /// c: a scaled product x becomes c tanh(x / c) (Gemma 2), an infinite one c or -c, and NaN stays
  /// NaN. From min_soft_cap to max_soft_cap; 0: none.
  float soft_cap = 0;
  /// [group]: a logit per query head that counts in the sum of the softmax and has no value
  /// (gpt-oss); minus infinity counts for nothing. Null: none.
  const float* sinks = nullptr;
  /// [group]: a query head's logits fall by its slope with each position that a token lies before
  /// the query (ALiBi, arXiv 2108.12409, section 3). After the cap. Null: none.
  const float* slopes = nullptr;

  /// The slope of a query head; 0 where there is none.
  [[nodiscard]] constexpr float slope(std::size_t head) const noexcept {
    return slopes == nullptr ? 0.0F : slopes[head];
  }
  /// The sink of a query head; minus infinity where there is none.
  [[nodiscard]] constexpr float sink(std::size_t head) const noexcept {
    return sinks == nullptr ? -std::numeric_limits<float>::infinity() : sinks[head];
  }
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_LOGITS_HPP
