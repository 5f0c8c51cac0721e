// SPDX-License-Identifier: Apache-2.0
/// \file
/// A comparison for loops over millions of numbers.
#ifndef MORPHKV_TESTS_SUPPORT_IS_NEAR_HPP
#define MORPHKV_TESTS_SUPPORT_IS_NEAR_HPP

#include <cmath>

namespace morphkv::testing {

/// Whether a number is what ASSERT_NEAR accepts, in a fraction of its time: the macro is left to
/// speak of the first one that is not.
inline bool is_near(double actual, double expected, double tolerance) {
  return std::abs(actual - expected) <= tolerance;
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_IS_NEAR_HPP
