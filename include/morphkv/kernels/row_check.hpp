// SPDX-License-Identifier: Apache-2.0
/// \file
/// Whether an attention row is valid.
#ifndef MORPHKV_KERNELS_ROW_CHECK_HPP
#define MORPHKV_KERNELS_ROW_CHECK_HPP

#include <cstddef>

#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/search.hpp"

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD {

/// Whether every weight is a number from 0 to max_weight: false for NaN and for minus zero,
/// whose pattern would rank above all others. O(slots).
[[nodiscard]] inline bool is_valid_row(const float* row, std::size_t slots) noexcept {
  MORPHKV_DISPATCH(is_valid_row(row, slots));
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_ROW_CHECK_HPP
