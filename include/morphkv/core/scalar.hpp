// SPDX-License-Identifier: Apache-2.0
/// \file
/// The element types of keys and values.
#ifndef MORPHKV_CORE_SCALAR_HPP
#define MORPHKV_CORE_SCALAR_HPP

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>

#include "morphkv/core/config.hpp"
#include "morphkv/core/e4m3.hpp"

// Eigen/Core is included where numbers of these types are converted: whoever drives a policy alone
// does without it.
namespace Eigen {
struct half;
struct bfloat16;
}  // namespace Eigen

namespace morphkv { inline namespace MORPHKV_ABI {

/// What a cache stores number by number: float, Eigen::half (IEEE binary16), Eigen::bfloat16, or
/// E4M3 times a scale per head (CacheShape::key_scales, value_scales). Sums are in float.
/// On CPUs with bfloat16 dot products, attention over a bfloat16 cache rounds its weights to
/// bfloat16 for the output (not for the row that is observed), as it does its values.
template <class T>
concept Scalar = std::same_as<T, float> || std::same_as<T, Eigen::half> ||
    std::same_as<T, Eigen::bfloat16> || std::same_as<T, E4M3>;

/// Of these the types in 16 bits, which callers may pass to a cache that stores them.
template <class T>
concept SixteenBits = std::same_as<T, Eigen::half> || std::same_as<T, Eigen::bfloat16>;

/// What an engine passes to and receives from a cache of `Stored`: float, or the same type in 16
/// bits.
template <class T, class Stored>
concept ElementOf = std::same_as<T, float> ||(std::same_as<T, Stored>&& SixteenBits<T>);

/// Whether every number is finite once it is rounded to T (E4M3 has no infinity: every finite
/// number is); for quantised numbers, below 524,032 in magnitude, so that the scale of any block
/// is. By bits and without a branch, so that compilers use vectors.
template <class T, ElementOf<T> E>
[[nodiscard]] bool are_finite(std::span<const E> numbers) noexcept {
  using Bits = std::conditional_t<std::same_as<E, float>, std::int32_t, std::int16_t>;
  // The least magnitude that becomes infinity: for floats half a step above the greatest T. The
  // greatest scale is 65504, and the scale of a block at most an eighth of its numbers.
  constexpr auto limit = static_cast<Bits>(std::same_as<E, Eigen::half>       ? 0x7c00
                                           : std::same_as<E, Eigen::bfloat16> ? 0x7f80
                                           : std::same_as<T, Eigen::half>     ? 0x477ff000
                                           : std::same_as<T, Eigen::bfloat16> ? 0x7f7f8000
                                           : std::same_as<T, float> || std::same_as<T, E4M3>
                                               ? 0x7f800000
                                               : std::bit_cast<std::int32_t>(65504.0F * 8));
  Bits bad = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    Bits bits = 0;
    std::memcpy(&bits, numbers.data() + i, sizeof bits);
    bad = static_cast<Bits>(bad | ((bits & std::numeric_limits<Bits>::max()) >= limit ? 1 : 0));
  }
  return bad == 0;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_SCALAR_HPP
