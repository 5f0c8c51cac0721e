// SPDX-License-Identifier: Apache-2.0
/// \file
/// IEEE binary16 rounding, from the standard's definition.
#ifndef MORPHKV_TESTS_ORACLE_HALF_ROUNDING_HPP
#define MORPHKV_TESTS_ORACLE_HALF_ROUNDING_HPP

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace morphkv::oracle {

/// A number of magnitude below 65520, rounded to 11 significant bits (fewer below 2^-14), nearest,
/// ties to even.
inline double round_to_half(double number) {
  if (number == 0) return 0;
  const int exponent = std::max(std::ilogb(number), -14);
  return std::ldexp(std::nearbyint(std::ldexp(number, 10 - exponent)), exponent - 10);
}

/// The number behind the pattern of a finite non-negative binary16.
inline double from_half_bits(std::uint16_t bits) {
  const int exponent = bits >> 10;
  const int mantissa = bits & 0x3ff;
  return exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_HALF_ROUNDING_HPP
