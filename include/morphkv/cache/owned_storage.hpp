// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys and values in memory of the cache's own.
#ifndef MORPHKV_CACHE_OWNED_STORAGE_HPP
#define MORPHKV_CACHE_OWNED_STORAGE_HPP

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// One allocation for the keys of all layers and one for the values, unless these lie in the keys.
/// A head's slots lie in one piece, [slot][head_dim], and begin on a cache line. Copies are
/// independent. Thread safety: that of a container.
template <Storable T>
class OwnedStorage {
 public:
  static constexpr bool is_contiguous = true;

  /// \param slots of every head, [layers][kv_heads]
  OwnedStorage(const CacheShape& shape, std::span<const std::size_t> slots)
      : kv_heads_(shape.kv_heads), row_(row_sizes<T>(shape)), slots_(slots.begin(), slots.end()) {
    Offsets end{};
    for (const std::size_t count : slots_) {
      offsets_.push_back(end);
      end = after(end, count);
    }
    keys_ = AlignedBuffer<T>(end.keys);
    values_ = AlignedBuffer<T>(end.values);
  }

  [[nodiscard]] KvView<T> keys(std::size_t layer, std::size_t head) noexcept {
    return {.data = keys_.data() + offsets_[index(layer, head)].keys, .stride = row_.key};
  }
  [[nodiscard]] KvView<const T> keys(std::size_t layer, std::size_t head) const noexcept {
    return {.data = keys_.data() + offsets_[index(layer, head)].keys, .stride = row_.key};
  }
  [[nodiscard]] KvView<T> values(std::size_t layer, std::size_t head) noexcept {
    if (row_.value == 0) return keys(layer, head);
    return {.data = values_.data() + offsets_[index(layer, head)].values, .stride = row_.value};
  }
  [[nodiscard]] KvView<const T> values(std::size_t layer, std::size_t head) const noexcept {
    if (row_.value == 0) return keys(layer, head);
    return {.data = values_.data() + offsets_[index(layer, head)].values, .stride = row_.value};
  }
  /// Slots that the head has memory for.
  [[nodiscard]] std::size_t slots(std::size_t layer, std::size_t head) const noexcept {
    return slots_[index(layer, head)];
  }
  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.keys = keys_.bytes(), .values = values_.bytes()};
  }

  /// Slots to make every head with, so that its layer can be divided when a head has `slots` on
  /// average: rounding a capacity may cost one more, and beginning on a cache line the others.
  [[nodiscard]] static std::size_t divisible_slots(const CacheShape& shape,
                                                   std::size_t slots) noexcept {
    constexpr std::size_t line = aligned_stride<T>(1);
    std::size_t aligned = 0;
    for (const std::size_t dim : {row_size<T>(shape.head_dim), row_size<T>(shape.output_dim())}) {
      if (dim % line != 0) aligned = std::max(aligned, (line + dim - 1) / dim);
    }
    return slots + 1 + aligned;
  }

  /// Divides a layer's memory anew; keys and values that lay there are lost.
  /// \param slots [kv_heads]; they need no more elements than the layer's slots did
  void divide(std::size_t layer, std::span<const std::size_t> slots) noexcept {
    Offsets end = offsets_[index(layer, 0)];
    for (std::size_t head = 0; head < kv_heads_; ++head) {
      offsets_[index(layer, head)] = end;
      slots_[index(layer, head)] = slots[head];
      end = after(end, slots[head]);
    }
    [[maybe_unused]] const bool is_last = index(layer, kv_heads_) == offsets_.size();
    MORPHKV_ASSERT(end.keys <= (is_last ? keys_.size() : offsets_[index(layer + 1, 0)].keys));
    MORPHKV_ASSERT(end.values <= (is_last ? values_.size() : offsets_[index(layer + 1, 0)].values));
  }

 private:
  [[nodiscard]] std::size_t index(std::size_t layer, std::size_t head) const noexcept {
    return layer * kv_heads_ + head;
  }
  /// A head's first elements.
  struct Offsets {
    std::size_t keys = 0;
    std::size_t values = 0;
  };
  [[nodiscard]] Offsets after(const Offsets& begin, std::size_t slots) const noexcept {
    return {begin.keys + aligned_stride<T>(slots * row_.key),
            begin.values + aligned_stride<T>(slots * row_.value)};
  }

  std::size_t kv_heads_;
  RowSizes row_;
  std::vector<std::size_t> slots_;  ///< [layers][kv_heads]
  std::vector<Offsets> offsets_;    ///< likewise
  AlignedBuffer<T> keys_;
  AlignedBuffer<T> values_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_OWNED_STORAGE_HPP
