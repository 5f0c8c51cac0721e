// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rotary position embedding, to rotate keys that are stored.
#ifndef MORPHKV_CORE_ROPE_HPP
#define MORPHKV_CORE_ROPE_HPP

#include <cmath>
#include <cstddef>
#include <span>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// How a model rotates keys (RoPE, arXiv 2104.09864, section 3.2.2): pair i of the rotated elements
/// by position * frequencies[i]. Nothing is owned.
struct Rope {
  std::span<const float> frequencies;  ///< [pairs], in radians per position
  std::size_t first = 0;        ///< element that the rotated ones begin at: they end a key of MLA
  bool has_neighbours = false;  ///< pairs are elements 2 i and 2 i + 1; else i and i + pairs

  /// Elements of a key that it needs at least.
  [[nodiscard]] std::size_t dims() const noexcept { return first + 2 * frequencies.size(); }

  /// Rotates a key by some positions more, in place. O(pairs).
  void rotate(float* key, Position by) const noexcept {
    const std::size_t pairs = frequencies.size();
    for (std::size_t i = 0; i < pairs; ++i) {
      float& a = key[first + (has_neighbours ? 2 * i : i)];
      float& b = key[first + (has_neighbours ? 2 * i + 1 : i + pairs)];
      const double angle = static_cast<double>(by) * static_cast<double>(frequencies[i]);
      const double c = std::cos(angle);
      const double s = std::sin(angle);
      const double x = static_cast<double>(a);
      const double y = static_cast<double>(b);
      a = static_cast<float>(x * c - y * s);
      b = static_cast<float>(x * s + y * c);
    }
  }
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_ROPE_HPP
