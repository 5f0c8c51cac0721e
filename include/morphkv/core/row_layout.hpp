// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where the rows of one KV head lie in memory.
#ifndef MORPHKV_CORE_ROW_LAYOUT_HPP
#define MORPHKV_CORE_ROW_LAYOUT_HPP

#include <cstddef>
#include <cstdint>

namespace morphkv::inline v0 {

/// Where row `slot` of a head's keys begins, counted in elements from the pointer that goes with
/// the layout; its values lie likewise from theirs. Rows are head_dim elements, contiguous, and lie
/// in one piece or in pages of a pool:
///
///     one piece    slot * stride
///     pages        pages[slot / page_rows] * page_stride + slot % page_rows * stride
///
/// Nothing is owned: the table of pages is the caller's.
struct RowLayout {
  std::size_t stride = 0;               ///< elements between two rows, at least head_dim
  const std::int32_t* pages = nullptr;  ///< numbers of the pages in the pool; null for one piece
  std::size_t page_rows = 1;            ///< rows of a page
  std::size_t page_stride = 0;          ///< elements between the starts of two pages

  [[nodiscard]] constexpr std::size_t offset(std::size_t slot) const noexcept {
    if (pages == nullptr) return slot * stride;
    return static_cast<std::size_t>(pages[slot / page_rows]) * page_stride +
           slot % page_rows * stride;
  }
};

}  // namespace morphkv::inline v0

#endif  // MORPHKV_CORE_ROW_LAYOUT_HPP
