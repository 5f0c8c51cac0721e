// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention weights as integers, so that sums of them are exact: the same on every machine.
#ifndef MORPHKV_CORE_WEIGHT_UNITS_HPP
#define MORPHKV_CORE_WEIGHT_UNITS_HPP

#include <cmath>
#include <cstdint>
#include <cstring>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace v0 {

/// The maximum weight of a row: 1, and a margin for the rounding of a softmax. 255 rows of it fit
/// the 32-bit sums of a window.
inline constexpr float max_weight = 1.0F + 1.0F / 1024;
inline constexpr std::uint32_t max_weight_bits = 0x3f802000U;  ///< its pattern

/// Whether a weight is a number from 0 to max_weight; false for NaN and for minus zero.
[[nodiscard]] MORPHKV_HOST_DEVICE inline bool is_valid_weight(float weight) noexcept {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &weight, sizeof bits);
  return bits <= max_weight_bits;
}

/// Where sums of fine_units() stop: 2^22 weights of 1.
inline constexpr std::uint64_t max_units = std::uint64_t{1} << 62U;

/// The number behind the binary16 pattern of a finite non-negative weight, in units of 2^-24:
/// exact, since that is the spacing of binary16's denormals. 1.0 is 2^24 units.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t half_units(std::uint16_t bits) noexcept {
  const std::uint32_t exponent = bits >> 10U;
  const std::uint32_t mantissa = bits & 0x3ffU;
  return exponent == 0 ? mantissa : (0x400U | mantissa) << (exponent - 1U);
}

/// A weight in units of 2^-40, rounded half up. Never a call: see the namespaces of the kernels.
[[nodiscard, gnu::always_inline]] MORPHKV_HOST_DEVICE inline std::uint64_t fine_units(
    float weight) noexcept {
  return static_cast<std::uint64_t>(std::floor(static_cast<double>(weight) * 0x1p40 + 0.5));
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_WEIGHT_UNITS_HPP
