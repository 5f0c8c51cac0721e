// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys and values in memory of the cache's own.
#ifndef MORPHKV_CACHE_OWNED_STORAGE_HPP
#define MORPHKV_CACHE_OWNED_STORAGE_HPP

#include <cstddef>
#include <span>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv { inline namespace v0 {

/// One allocation for the keys of all layers and one for the values. A head's slots lie in one
/// piece, [slot][head_dim], and begin on a cache line. Copies are independent.
/// Thread safety: that of a container.
template <Scalar T>
class OwnedStorage {
 public:
  static constexpr bool is_contiguous = true;

  /// \param slots of every head, [layers][kv_heads]
  OwnedStorage(const CacheShape& shape, std::span<const std::size_t> slots)
      : kv_heads_(shape.kv_heads), head_dim_(shape.head_dim), slots_(slots.begin(), slots.end()) {
    std::size_t elements = 0;
    for (const std::size_t count : slots_) {
      offsets_.push_back(elements);
      elements += elements_of(count);
    }
    keys_ = AlignedBuffer<T>(elements);
    values_ = AlignedBuffer<T>(elements);
  }

  [[nodiscard]] KvView<T> keys(std::size_t layer, std::size_t head) noexcept {
    return {.data = keys_.data() + offsets_[index(layer, head)], .stride = head_dim_};
  }
  [[nodiscard]] KvView<const T> keys(std::size_t layer, std::size_t head) const noexcept {
    return {.data = keys_.data() + offsets_[index(layer, head)], .stride = head_dim_};
  }
  [[nodiscard]] KvView<T> values(std::size_t layer, std::size_t head) noexcept {
    return {.data = values_.data() + offsets_[index(layer, head)], .stride = head_dim_};
  }
  [[nodiscard]] KvView<const T> values(std::size_t layer, std::size_t head) const noexcept {
    return {.data = values_.data() + offsets_[index(layer, head)], .stride = head_dim_};
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
    const std::size_t aligned =
        shape.head_dim % line == 0 ? 0 : (line + shape.head_dim - 1) / shape.head_dim;
    return slots + 1 + aligned;
  }

  /// Divides a layer's memory anew; keys and values that lay there are lost.
  /// \param slots [kv_heads]; they need no more elements than the layer's slots did
  void divide(std::size_t layer, std::span<const std::size_t> slots) noexcept {
    std::size_t offset = offsets_[index(layer, 0)];
    for (std::size_t head = 0; head < kv_heads_; ++head) {
      offsets_[index(layer, head)] = offset;
      slots_[index(layer, head)] = slots[head];
      offset += elements_of(slots[head]);
    }
    MORPHKV_ASSERT(offset <= (index(layer, kv_heads_) < offsets_.size()
                                  ? offsets_[index(layer, kv_heads_)]
                                  : keys_.size()));
  }

 private:
  [[nodiscard]] std::size_t index(std::size_t layer, std::size_t head) const noexcept {
    return layer * kv_heads_ + head;
  }
  [[nodiscard]] std::size_t elements_of(std::size_t slots) const noexcept {
    return aligned_stride<T>(slots * head_dim_);
  }

  std::size_t kv_heads_;
  std::size_t head_dim_;
  std::vector<std::size_t> slots_;    ///< [layers][kv_heads]
  std::vector<std::size_t> offsets_;  ///< of each head's first element
  AlignedBuffer<T> keys_;
  AlignedBuffer<T> values_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_OWNED_STORAGE_HPP
