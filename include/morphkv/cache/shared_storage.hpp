// SPDX-License-Identifier: Apache-2.0
/// \file
/// One pool of slots for all heads and layers.
#ifndef MORPHKV_CACHE_SHARED_STORAGE_HPP
#define MORPHKV_CACHE_SHARED_STORAGE_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv { inline namespace v0 {

/// What `KVCache<T, Policy, SharedStorage<T>>` needs to know beside the policy's options.
struct SharedBudget {
  double min_ratio = 0.75;  ///< of the capacity: the least that every head keeps
  double max_ratio = 2;  ///< times the capacity: the most that one head may have. Tables and scores
                         ///< are as long; where heads are small, more costs more than it brings
};

/// One allocation of keys and one of values, whose rows pass from head to head while tokens come.
/// A head finds its rows through a table: its slots are pages of one row. When a token changes its
/// slot or its head, a number moves and no key does.
///
/// Memory beside the rows: 4 bytes a slot that a head may have. Copies are independent.
template <Scalar T>
class SharedStorage {
 public:
  /// \param capacity rows that every head has at first
  /// \param most     slots that a head may have
  SharedStorage(const CacheShape& shape, std::size_t capacity, std::size_t most)
      : kv_heads_(shape.kv_heads),
        head_dim_(shape.head_dim),
        most_(most),
        keys_(shape.heads() * capacity * head_dim_),
        values_(keys_.size()),
        rows_(shape.heads() * most) {
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
  [[nodiscard]] std::size_t slots(std::size_t, std::size_t) const noexcept { return most_; }
  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.keys = keys_.bytes(), .values = values_.bytes(), .positions = rows_.bytes()};
  }

  /// The giver's row of `slot` becomes the taker's row of `new_slot`; in its place the giver has
  /// the row of its slot `last`. Heads are counted through all layers.
  void pass(std::size_t giver, std::size_t slot, std::size_t last, std::size_t taker,
            std::size_t new_slot) noexcept {
    table(taker)[new_slot] = table(giver)[slot];
    table(giver)[slot] = table(giver)[last];
  }

 private:
  template <class E>
  [[nodiscard]] KvView<E> rows(E* data, std::size_t layer, std::size_t head) const noexcept {
    return {.data = data,
            .stride = head_dim_,
            .pages = table(layer * kv_heads_ + head),
            .page_rows = 1,
            .page_stride = head_dim_};
  }
  [[nodiscard]] std::int32_t* table(std::size_t head) noexcept {
    return rows_.data() + head * most_;
  }
  [[nodiscard]] const std::int32_t* table(std::size_t head) const noexcept {
    return rows_.data() + head * most_;
  }

  std::size_t kv_heads_;
  std::size_t head_dim_;
  std::size_t most_;
  AlignedBuffer<T> keys_;  ///< [rows][head_dim]
  AlignedBuffer<T> values_;
  AlignedBuffer<std::int32_t> rows_;  ///< [layers][kv_heads][most_]: the row of every slot
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_SHARED_STORAGE_HPP
