// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where the slots of one KV head lie in memory.
#ifndef MORPHKV_CORE_SLOT_LAYOUT_HPP
#define MORPHKV_CORE_SLOT_LAYOUT_HPP

#include <cstddef>
#include <cstdint>

namespace morphkv::inline v0 {

/// Where a slot's key begins, in elements from the pointer to the keys that goes with the layout;
/// its value lies likewise from the pointer to the values. A key is head_dim elements, contiguous.
/// Slots lie in one piece or in pages of a pool:
///
///     one piece    slot * stride
///     pages        pages[slot / page_size] * page_stride + slot % page_size * stride
///
/// Nothing is owned: the page table is the caller's.
struct SlotLayout {
  std::size_t stride = 0;               ///< elements between two slots, at least head_dim
  const std::int32_t* pages = nullptr;  ///< numbers of the pages in the pool; null for one piece
  std::size_t page_size = 1;            ///< slots of a page
  std::size_t page_stride = 0;          ///< elements between the starts of two pages

  [[nodiscard]] constexpr std::size_t offset(std::size_t slot) const noexcept {
    if (pages == nullptr) return slot * stride;
    return static_cast<std::size_t>(pages[slot / page_size]) * page_stride +
           slot % page_size * stride;
  }
};

}  // namespace morphkv::inline v0

#endif  // MORPHKV_CORE_SLOT_LAYOUT_HPP
