// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pooling: neighbours smooth a score along a prompt.
#ifndef MORPHKV_KERNELS_POOLING_HPP
#define MORPHKV_KERNELS_POOLING_HPP

#include <cstddef>

#include "morphkv/kernels/avx2/pooling.hpp"
#include "morphkv/kernels/avx512/pooling.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/neon/pooling.hpp"
#include "morphkv/kernels/portable/pooling.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {

/// out[j] = sum of row[j - width / 2 ... j + width / 2] / width; what lies beyond the ends counts
/// as zero. `width` is odd; `out` and `row` do not overlap. Every version gives the same bits.
/// O(count width).
inline void pool_average(const float* row, std::size_t count, std::size_t width,
                         float* out) noexcept {
  MORPHKV_DISPATCH(pool_average(row, count, width, out));
}

/// out[j] = max of row[j - width / 2 ... j + width / 2] within the row. No NaN.
inline void pool_max(const float* row, std::size_t count, std::size_t width, float* out) noexcept {
  MORPHKV_DISPATCH(pool_max(row, count, width, out));
}

}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD

#endif  // MORPHKV_KERNELS_POOLING_HPP
