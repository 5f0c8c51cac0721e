// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention weights as binary16 patterns and as integers, whose sums are exact: the same bits on
/// every machine, host or device.
#ifndef MORPHKV_CORE_WEIGHT_UNITS_HPP
#define MORPHKV_CORE_WEIGHT_UNITS_HPP

#include <cmath>
#include <cstdint>

#include "morphkv/core/config.hpp"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace morphkv { inline namespace MORPHKV_ABI {

/// The maximum weight of a row: 1, and a margin for the rounding of a softmax. 255 rows of it fit
/// the 32-bit sums of a window.
inline constexpr float max_weight = 1.0F + 1.0F / 1024;
inline constexpr std::uint32_t max_weight_bits = 0x3f802000U;  ///< its pattern

/// Whether a weight is a number from 0 to max_weight; false for NaN and for minus zero.
[[nodiscard]] MORPHKV_HOST_DEVICE inline bool is_valid_weight(float weight) noexcept {
  return __builtin_bit_cast(std::uint32_t, weight) <= max_weight_bits;
}

/// The IEEE binary16 pattern of a weight from 0 to max_weight, rounded to nearest, ties to even.
/// Minus zero becomes zero. Patterns of non-negative numbers order as the numbers do.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint16_t to_half_bits(float weight) noexcept {
#if defined(__CUDA_ARCH__)
  return static_cast<std::uint16_t>(__half_as_ushort(__float2half_rn(weight)) & 0x7fffU);
#else
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, weight) & 0x7fffffffU;
  const std::uint32_t exponent = bits >> 23U;
  constexpr std::uint32_t min_normal = 113;       // of binary16: 2^-14
  constexpr std::uint32_t half_a_denormal = 102;  // 2^-25
  if (exponent < half_a_denormal) return 0;
  // The significand to round, and how many of its bits are dropped. A carry moves into the
  // exponent, where it belongs.
  const bool normal = exponent >= min_normal;
  const std::uint32_t significand =
      normal ? bits - ((min_normal - 1) << 23U) : (bits & 0x7fffffU) | 0x800000U;
  const std::uint32_t dropped = normal ? 13 : 126 - exponent;
  const std::uint32_t even = (significand >> dropped) & 1U;
  return static_cast<std::uint16_t>((significand + (1U << (dropped - 1)) - 1 + even) >> dropped);
#endif
}

/// Where sums of fine_units() stop: 2^22 weights of 1.
inline constexpr std::uint64_t max_units = std::uint64_t{1} << 62U;

/// The number behind the binary16 pattern of a finite non-negative weight, in units of 2^-24:
/// exact, since that is the spacing of binary16's denormals. 1.0 is 2^24 units. Of another pattern,
/// which only a state from outside can hold, some number.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t half_units(std::uint16_t bits) noexcept {
  const std::uint32_t exponent = bits >> 10U;
  const std::uint32_t mantissa = bits & 0x3ffU;
  return exponent == 0 ? mantissa : (0x400U | mantissa) << ((exponent - 1U) & 31U);
}

/// A weight in units of 2^-40, rounded half up. Never a call: see the namespaces of the kernels.
MORPHKV_ALWAYS_INLINE [[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint64_t fine_units(
    float weight) noexcept {
  return static_cast<std::uint64_t>(std::floor(static_cast<double>(weight) * 0x1p40 + 0.5));
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_WEIGHT_UNITS_HPP
