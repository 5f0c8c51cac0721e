// SPDX-License-Identifier: Apache-2.0
/// \file
/// One pool of slots for all heads and layers.
#ifndef MORPHKV_CACHE_SHARED_STORAGE_HPP
#define MORPHKV_CACHE_SHARED_STORAGE_HPP

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace v0 {

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

/// One allocation of keys and one of values, whose rows pass from head to head while tokens come.
/// A head finds its rows through a table: its slots are pages of one row. When a token changes its
/// slot or a slot its head, a table entry moves and no key does.
///
/// Memory beside the rows: 4 bytes per slot that a head may have. Copies are independent.
template <Scalar T>
class SharedStorage {
 public:
  /// \param capacity rows that every head has at first
  /// \param max_slots slots that a head may have
  /// \throws std::invalid_argument if the rows of all heads are more than a table entry can number
  SharedStorage(const CacheShape& shape, std::size_t capacity, std::size_t max_slots)
      : kv_heads_(checked(shape, capacity).kv_heads),
        head_dim_(shape.head_dim),
        max_slots_(max_slots),
        keys_(shape.heads() * capacity * head_dim_),
        values_(keys_.size()),
        rows_(shape.heads() * max_slots) {
    std::int32_t row = 0;
    for (std::size_t head = 0; head < shape.heads(); ++head) {
      for (std::size_t slot = 0; slot < capacity; ++slot) table(head)[slot] = row++;
    }
  }

  [[nodiscard]] KvView<T> keys(std::size_t layer, std::size_t head) noexcept {
    return rows(keys_.data(), layer, head);
  }
  [[nodiscard]] KvView<const T> keys(std::size_t layer, std::size_t head) const noexcept {
    return rows(keys_.data(), layer, head);
  }
  [[nodiscard]] KvView<T> values(std::size_t layer, std::size_t head) noexcept {
    return rows(values_.data(), layer, head);
  }
  [[nodiscard]] KvView<const T> values(std::size_t layer, std::size_t head) const noexcept {
    return rows(values_.data(), layer, head);
  }
  [[nodiscard]] std::size_t slots(std::size_t, std::size_t) const noexcept { return max_slots_; }
  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.keys = keys_.bytes(), .values = values_.bytes(), .positions = rows_.bytes()};
  }

  /// The row of slot `slot` of head `from` becomes that of slot `new_slot` of head `to`; the row of
  /// slot `last` of `from` takes its place. Heads are numbered through all layers.
  void pass(std::size_t from, Slot slot, Slot last, std::size_t to, Slot new_slot) noexcept {
    table(to)[new_slot] = table(from)[slot];
    table(from)[slot] = table(from)[last];
  }

 private:
  [[nodiscard]] static const CacheShape& checked(const CacheShape& shape, std::size_t capacity) {
    validate(shape);
    const std::size_t most = std::numeric_limits<std::int32_t>::max() / shape.heads();
    require(capacity <= most, "capacity", capacity,
            "at most " + std::to_string(most) + " where all heads share their slots");
    return shape;
  }

  template <class E>
  [[nodiscard]] KvView<E> rows(E* data, std::size_t layer, std::size_t head) const noexcept {
    return {.data = data,
            .stride = head_dim_,
            .pages = table(layer * kv_heads_ + head),
            .page_rows = 1,
            .page_stride = head_dim_};
  }
  [[nodiscard]] std::int32_t* table(std::size_t head) noexcept {
    return rows_.data() + head * max_slots_;
  }
  [[nodiscard]] const std::int32_t* table(std::size_t head) const noexcept {
    return rows_.data() + head * max_slots_;
  }

  std::size_t kv_heads_;
  std::size_t head_dim_;
  std::size_t max_slots_;
  AlignedBuffer<T> keys_;  ///< [rows][head_dim]
  AlignedBuffer<T> values_;
  AlignedBuffer<std::int32_t> rows_;  ///< [layers][kv_heads][max_slots_]: the row of every slot
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_SHARED_STORAGE_HPP
