// SPDX-License-Identifier: Apache-2.0
/// \file
/// Whether a row may vote.
#ifndef MORPHKV_KERNELS_ROW_CHECK_HPP
#define MORPHKV_KERNELS_ROW_CHECK_HPP

#include <cstddef>

namespace morphkv::inline v0::kernels {

/// The greatest weight of a row: 1, and room for the rounding of a softmax. 255 rows of it still
/// fit the 32-bit sums of a window.
inline constexpr float greatest_weight = 1.0F + 1.0F / 1024;

/// Whether every weight is a number from 0 to greatest_weight.
[[nodiscard]] inline bool is_valid_row(const float* row, std::size_t slots) noexcept {
  bool valid = true;
  for (std::size_t s = 0; s < slots; ++s) {
    valid &= row[s] >= 0.0F && row[s] <= greatest_weight;  // both false for NaN
  }
  return valid;
}

}  // namespace morphkv::inline v0::kernels

#endif  // MORPHKV_KERNELS_ROW_CHECK_HPP
