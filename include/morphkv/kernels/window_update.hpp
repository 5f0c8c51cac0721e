// SPDX-License-Identifier: Apache-2.0
/// \file
/// The window's update: one pass over the slots a step, which also finds the least score.
///
/// All functions take a row of weights from 0 to kernels::greatest_weight, one a slot, and return
/// the least score among the slots whose protection bit is clear, or the greatest value of its type
/// if there is none; `protected_bits` may be null, and then nothing is sought. kernels::oldest_with
/// finds whose score it is. Weights are rounded to binary16, to nearest, ties to even; every
/// version gives the same bits. O(slots); no memory but the arguments'.
#ifndef MORPHKV_KERNELS_WINDOW_UPDATE_HPP
#define MORPHKV_KERNELS_WINDOW_UPDATE_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/avx2/window_update.hpp"
#include "morphkv/kernels/avx512/window_update.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/neon/window_update.hpp"
#include "morphkv/kernels/portable/window_update.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {

/// sums += row - oldest, in units of 2^-24; then oldest = row.
inline std::uint32_t slide_sum(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, std::uint16_t* oldest,
                               std::uint32_t* sums) noexcept {
  MORPHKV_DISPATCH(slide_sum(row, slots, protected_bits, oldest, sums));
}

/// pane += row and sums += row, in units of 2^-24.
inline std::uint32_t add_to_pane(const float* row, std::size_t slots,
                                 const std::uint64_t* protected_bits, std::uint32_t* pane,
                                 std::uint32_t* sums) noexcept {
  MORPHKV_DISPATCH(add_to_pane(row, slots, protected_bits, pane, sums));
}

/// newest = row, prefix = max(prefix, row); the score is max(prefix, suffix), or prefix where
/// `suffix` is null.
inline std::uint16_t slide_max(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, const std::uint16_t* suffix,
                               std::uint16_t* newest, std::uint16_t* prefix) noexcept {
  MORPHKV_DISPATCH(slide_max(row, slots, protected_bits, suffix, newest, prefix));
}

/// rows[r] = max over rows r ... count - 1, for every r: the flip of a two-stack window.
/// `stride` elements lie between two rows. O(count slots).
inline void suffix_max(std::uint16_t* rows, std::size_t stride, std::size_t count,
                       std::size_t slots) noexcept {
  MORPHKV_DISPATCH(suffix_max(rows, stride, count, slots));
}

/// scores = row.
inline float replace_row(const float* row, std::size_t slots, const std::uint64_t* protected_bits,
                         float* scores) noexcept {
  MORPHKV_DISPATCH(replace_row(row, slots, protected_bits, scores));
}

/// sums += row, in units of 2^-40, each rounded half up. Sums stay below 2^63.
inline std::uint64_t add_row(const float* row, std::size_t slots,
                             const std::uint64_t* protected_bits, std::uint64_t* sums) noexcept {
  MORPHKV_DISPATCH(add_row(row, slots, protected_bits, sums));
}

}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD

#endif  // MORPHKV_KERNELS_WINDOW_UPDATE_HPP
