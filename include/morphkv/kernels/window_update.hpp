// SPDX-License-Identifier: Apache-2.0
/// \file
/// Updates of scores by one attention row, in one pass over the slots that also finds the lowest
/// score.
///
/// All functions take a row of weights from 0 to kernels::max_weight, one per slot, and return
/// the lowest score among the slots whose protection bit is clear, or the greatest value of its
/// type (infinity for floats) if there is none; with null `protected_bits` nothing is searched for.
/// kernels::oldest_with finds whose score it is. Weights are rounded to binary16, to nearest, ties
/// to even, where a function says so; every instruction set gives the same bits. O(slots); no
/// memory but the arguments'.
#ifndef MORPHKV_KERNELS_WINDOW_UPDATE_HPP
#define MORPHKV_KERNELS_WINDOW_UPDATE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/portable.hpp"

namespace morphkv { inline namespace v0 { namespace kernels {

/// Rows of binary16 patterns that slide_max works on, one number per slot; null where a row of
/// weights does not touch one. RecentWindow says what they are.
struct MaxWindowRows {
  std::uint16_t* newest = nullptr;             ///< max(newest, row), or row where a pane opens
  std::uint16_t* prefix = nullptr;             ///< max(prefix, row), or row where a block opens
  const std::uint16_t* middle = nullptr;       ///< read only
  const std::uint16_t* old = nullptr;          ///< read only
  std::uint16_t* suffix = nullptr;             ///< max(suffix, next_suffix)
  const std::uint16_t* next_suffix = nullptr;  ///< read only
  bool opens_pane = false;
  bool opens_block = false;
};

}}}  // namespace morphkv::v0::kernels

#define MORPHKV_ISA portable
#include "morphkv/kernels/vector/window_update.hpp"
#undef MORPHKV_ISA
#define MORPHKV_LOOPS "morphkv/kernels/vector/window_update.hpp"
#include "morphkv/kernels/isa/for_each.hpp"

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD {

/// sums += half(row) - oldest, in units of 2^-24; then oldest = half(row).
inline std::uint32_t slide_sum(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, std::uint16_t* oldest,
                               std::uint32_t* sums) noexcept {
  MORPHKV_DISPATCH(slide_sum(row, slots, protected_bits, oldest, sums));
}

/// pane += half(row) and sums += half(row), in units of 2^-24.
inline std::uint32_t add_to_pane(const float* row, std::size_t slots,
                                 const std::uint64_t* protected_bits, std::uint32_t* pane,
                                 std::uint32_t* sums) noexcept {
  MORPHKV_DISPATCH(add_to_pane(row, slots, protected_bits, pane, sums));
}

/// The window of maxima takes a row: see MaxWindowRows. The score is the maximum of prefix, middle
/// and old.
inline std::uint16_t slide_max(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits,
                               const MaxWindowRows& rows) noexcept {
  MORPHKV_DISPATCH(slide_max(row, slots, protected_bits, rows));
}

/// scores = row.
inline float replace_row(const float* row, std::size_t slots, const std::uint64_t* protected_bits,
                         float* scores) noexcept {
  MORPHKV_DISPATCH(replace_row(row, slots, protected_bits, scores));
}

/// scores = max(decay * scores, row). Scores and decay are not negative.
inline float decay_max(const float* row, std::size_t slots, const std::uint64_t* protected_bits,
                       float decay, float* scores) noexcept {
  MORPHKV_DISPATCH(decay_max(row, slots, protected_bits, decay, scores));
}

/// sums = min(sums + row, max_units), in units of 2^-40, each rounded half up.
inline std::uint64_t add_row(const float* row, std::size_t slots,
                             const std::uint64_t* protected_bits, std::uint64_t* sums) noexcept {
  MORPHKV_DISPATCH(add_row(row, slots, protected_bits, sums));
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_WINDOW_UPDATE_HPP
