// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention weights as 16-bit patterns and as integers.
#ifndef MORPHKV_CORE_HALF_BITS_HPP
#define MORPHKV_CORE_HALF_BITS_HPP

#include <Eigen/Core>
#include <cstdint>

namespace morphkv::inline v0 {

/// The IEEE binary16 pattern of a weight, rounded to nearest, ties to even. Patterns of
/// non-negative numbers order as the numbers do.
[[nodiscard]] inline std::uint16_t to_half_bits(float weight) noexcept {
  return Eigen::numext::bit_cast<std::uint16_t>(Eigen::half(weight));
}

/// The number behind a pattern.
[[nodiscard]] inline float from_half_bits(std::uint16_t bits) noexcept {
  return static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(bits));
}

/// The number behind the pattern of a finite non-negative weight, in units of 2^-24: exact, since
/// that is the spacing of binary16's denormals. 1.0 is 2^24 units.
[[nodiscard]] constexpr std::uint32_t half_units(std::uint16_t bits) noexcept {
  const std::uint32_t exponent = bits >> 10U;
  const std::uint32_t mantissa = bits & 0x3ffU;
  return exponent == 0 ? mantissa : (0x400U | mantissa) << (exponent - 1U);
}

}  // namespace morphkv::inline v0

#endif  // MORPHKV_CORE_HALF_BITS_HPP
