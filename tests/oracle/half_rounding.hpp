// SPDX-License-Identifier: Apache-2.0
/// \file
/// IEEE binary16 rounding, from the standard's definition.
#ifndef MORPHKV_TESTS_ORACLE_HALF_ROUNDING_HPP
#define MORPHKV_TESTS_ORACLE_HALF_ROUNDING_HPP

#include <algorithm>
#include <cmath>

namespace morphkv::oracle {

/// A number of magnitude below 65520, rounded to 11 significant bits (fewer below 2^-14), nearest,
/// ties to even.
inline double round_to_half(double number) {
  if (number == 0) return 0;
  const int exponent = std::max(std::ilogb(number), -14);
  return std::ldexp(std::nearbyint(std::ldexp(number, 10 - exponent)), exponent - 10);
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_HALF_ROUNDING_HPP
