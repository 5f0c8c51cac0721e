// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rows of keys or values that stay, brought together.
#ifndef MORPHKV_KERNELS_GATHER_HPP
#define MORPHKV_KERNELS_GATHER_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/avx2/gather.hpp"
#include "morphkv/kernels/avx512/gather.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/neon/gather.hpp"
#include "morphkv/kernels/portable/gather.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {

/// Copies row rows[i] of `from` to row i of `to`, for every i below `count`. Rows of `from` lie
/// `stride` bytes apart, those of `to` one after the other; the two do not overlap. A large result
/// on a cache line bypasses the caches. O(count row_bytes).
inline void gather_rows(const void* from, std::size_t stride, const std::uint32_t* rows,
                        std::size_t count, std::size_t row_bytes, void* to) noexcept {
  MORPHKV_DISPATCH(gather_rows(from, stride, rows, count, row_bytes, to));
}

/// Moves row rows[i] to row i, in place. `rows` ascends, so no row is lost before it has moved.
inline void compact_rows(void* data, std::size_t stride, const std::uint32_t* rows,
                         std::size_t count, std::size_t row_bytes) noexcept {
  MORPHKV_DISPATCH(compact_rows(data, stride, rows, count, row_bytes));
}

}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD

#endif  // MORPHKV_KERNELS_GATHER_HPP
