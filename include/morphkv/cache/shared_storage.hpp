// SPDX-License-Identifier: Apache-2.0
/// \file
/// One pool of slots for all heads and layers.
#ifndef MORPHKV_CACHE_SHARED_STORAGE_HPP
#define MORPHKV_CACHE_SHARED_STORAGE_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The bounds of a head where all heads share one total of slots, beside the policy's options.
///
/// A head whose slot passes to another between two of its own tokens holds one recent token less
/// than the policy's window: the token that would have left the window with its next one.
struct SharedBudget {
  double min_ratio = 0.75;  ///< of the capacity: slots that every head keeps
  double max_ratio = 2;     ///< times the capacity: slots that one head may have. Tables and scores
                            ///< are as long; where heads are small, more costs more than it brings

  friend constexpr bool operator==(const SharedBudget&, const SharedBudget&) = default;
};

/// One allocation of keys and one of values, whose pages pass from head to head while tokens come.
/// A head's slots fill pages of up to 64 rows, in small caches fewer, which it finds through a
/// table: attention reads a page in one piece. Where a slot passes from one head to another, the
/// donor's last row moves to it, and a page passes when it holds no row any more.
///
/// Memory beside the rows: at most a page less one row per head (3 % of the rows), 4 bytes per page
/// and 4 per page that a head may have. Copies are independent.
template <Storable T>
class SharedStorage {
 public:
  /// \param capacity rows that every head has at first
  /// \param max_slots slots that a head may have
  /// \throws std::invalid_argument if the rows of all heads are more than a table entry can number
  SharedStorage(const CacheShape& shape, std::size_t capacity, std::size_t max_slots)
      : kv_heads_(checked(shape, capacity).kv_heads),
        row_(row_sizes<T>(shape)),
        max_slots_(max_slots),
        page_rows_(std::bit_floor(std::clamp<std::size_t>(capacity / 32, 1, 64))),
        max_pages_((max_slots + page_rows_ - 1) / page_rows_),
        keys_(page_count(shape, capacity) * page_rows_ * row_.key),
        values_(page_count(shape, capacity) * page_rows_ * row_.value),
        pages_(shape.heads() * max_pages_),
        free_(page_count(shape, capacity)) {
    std::int32_t page = 0;
    for (std::size_t head = 0; head < shape.heads(); ++head) {
      for (std::size_t slot = 0; slot < capacity; slot += page_rows_) table(head, slot) = page++;
    }
    while (static_cast<std::size_t>(page) < free_.size()) free_[free_count_++] = page++;
  }

  [[nodiscard]] KvView<T> keys(std::size_t layer, std::size_t head) noexcept {
    return rows(keys_.data(), row_.key, layer * kv_heads_ + head);
  }
  [[nodiscard]] KvView<const T> keys(std::size_t layer, std::size_t head) const noexcept {
    return rows(keys_.data(), row_.key, layer * kv_heads_ + head);
  }
  [[nodiscard]] KvView<T> values(std::size_t layer, std::size_t head) noexcept {
    if (row_.value == 0) return keys(layer, head);
    return rows(values_.data(), row_.value, layer * kv_heads_ + head);
  }
  [[nodiscard]] KvView<const T> values(std::size_t layer, std::size_t head) const noexcept {
    if (row_.value == 0) return keys(layer, head);
    return rows(values_.data(), row_.value, layer * kv_heads_ + head);
  }
  [[nodiscard]] std::size_t slots(std::size_t, std::size_t) const noexcept { return max_slots_; }
  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.keys = keys_.bytes(),
            .values = values_.bytes(),
            .positions = pages_.bytes() + free_.bytes()};
  }

  /// Slot `slot` of head `from` is gone and slot `last` takes its place; head `to` has one slot
  /// more, `new_slot`. Heads are numbered through all layers.
  /// \pre `last` is the last slot in use of `from`, and `new_slot` the first free one of `to`
  void pass(std::size_t from, Slot slot, Slot last, std::size_t to, Slot new_slot) noexcept {
    if (slot != last) {
      const auto move_row = [&](T* data, std::size_t dim) noexcept {
        const KvView<T> view = rows(data, dim, from);
        std::copy_n(view[last], dim, view[slot]);
      };
      move_row(keys_.data(), row_.key);
      move_row(values_.data(), row_.value);
    }
    if (last % page_rows_ == 0) free_[free_count_++] = table(from, last);
    if (new_slot % page_rows_ == 0) table(to, new_slot) = free_[--free_count_];
  }

 private:
  [[nodiscard]] static const CacheShape& checked(const CacheShape& shape, std::size_t capacity) {
    (void)row_sizes<T>(shape);
    const std::size_t most = std::numeric_limits<std::int32_t>::max() / shape.heads();
    require(capacity <= most, "capacity", capacity,
            "at most " + std::to_string(most) + " where all heads share their slots");
    return shape;
  }

  /// Enough for heads whose last page holds a single row, whatever their sizes are.
  [[nodiscard]] std::size_t page_count(const CacheShape& shape, std::size_t capacity) const {
    return shape.heads() * (capacity + page_rows_ - 1) / page_rows_;
  }

  template <class E>
  [[nodiscard]] KvView<E> rows(E* data, std::size_t dim, std::size_t head) const noexcept {
    return {.data = data,
            .stride = dim,
            .pages = pages_.data() + head * max_pages_,
            .page_rows = page_rows_,
            .page_stride = page_rows_ * dim};
  }
  /// The page of a slot.
  [[nodiscard]] std::int32_t& table(std::size_t head, std::size_t slot) noexcept {
    return pages_[head * max_pages_ + slot / page_rows_];
  }

  std::size_t kv_heads_;
  RowSizes row_;
  std::size_t max_slots_;
  std::size_t page_rows_;
  std::size_t max_pages_;  ///< of one head
  AlignedBuffer<T> keys_;  ///< [pages][page_rows_][row_.key]
  AlignedBuffer<T> values_;
  AlignedBuffer<std::int32_t> pages_;  ///< [layers][kv_heads][max_pages_]
  AlignedBuffer<std::int32_t> free_;   ///< the first free_count_ are pages of no head
  std::size_t free_count_ = 0;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_SHARED_STORAGE_HPP
