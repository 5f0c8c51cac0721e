// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys and values in two formats, in memory of the cache's own.
#ifndef MORPHKV_CACHE_TIERED_STORAGE_HPP
#define MORPHKV_CACHE_TIERED_STORAGE_HPP

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "morphkv/cache/owned_storage.hpp"
#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/tiered_view.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/convert.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The two tiers of every head, beside the policy's options.
struct Tiers {
  /// Slots of each head in the cache's type, for the tokens that rank highest; the others are in
  /// the storage's Cold. At least 1, and below the slots.
  std::size_t hot = 0;

  friend constexpr bool operator==(const Tiers&, const Tiers&) = default;
};

/// The first Tiers::hot slots of a head in T, the others in Cold: see eviction/tiers.hpp for which
/// token lies where. Each tier is an OwnedStorage. A token is rounded to T when it comes alone, and
/// to Cold when it moves; one of a block that goes to a cold slot is rounded to Cold alone.
/// T is not E4M3.
/// Copies are independent. Thread safety: different heads may be written at the same time.
template <Storable T, Quantised Cold>
class TieredStorage {
  static_assert(!std::same_as<T, E4M3>, "cold tokens do not have the scales of E4M3");

 public:
  /// \param slots of every head, [layers][kv_heads]
  /// \throws std::invalid_argument unless tiers.hot > 0 and every head has more slots, or if the
  ///         dimensions are no whole blocks
  TieredStorage(const CacheShape& shape, std::span<const std::size_t> slots, const Tiers& tiers)
      : hot_slots_(tiers.hot),
        head_dim_(shape.head_dim),
        value_dim_(shape.stored_value_dim()),
        hot_(shape, std::vector<std::size_t>(slots.size(), tiers.hot)),
        cold_(shape, cold_slots(slots, tiers.hot)) {}

  /// Of the hot slots alone.
  [[nodiscard]] KvView<T> keys(std::size_t layer, std::size_t head) noexcept {
    return hot_.keys(layer, head);
  }
  [[nodiscard]] KvView<const T> keys(std::size_t layer, std::size_t head) const noexcept {
    return hot_.keys(layer, head);
  }
  [[nodiscard]] KvView<T> values(std::size_t layer, std::size_t head) noexcept {
    return hot_.values(layer, head);
  }
  [[nodiscard]] KvView<const T> values(std::size_t layer, std::size_t head) const noexcept {
    return hot_.values(layer, head);
  }
  /// Of all slots.
  [[nodiscard]] TieredView<T, Cold> all_keys(std::size_t layer, std::size_t head) noexcept {
    return {hot_.keys(layer, head), cold_.keys(layer, head), hot_slots_};
  }
  [[nodiscard]] TieredView<const T, const Cold> all_keys(std::size_t layer,
                                                         std::size_t head) const noexcept {
    return {hot_.keys(layer, head), cold_.keys(layer, head), hot_slots_};
  }
  [[nodiscard]] TieredView<T, Cold> all_values(std::size_t layer, std::size_t head) noexcept {
    return {hot_.values(layer, head), cold_.values(layer, head), hot_slots_};
  }
  [[nodiscard]] TieredView<const T, const Cold> all_values(std::size_t layer,
                                                           std::size_t head) const noexcept {
    return {hot_.values(layer, head), cold_.values(layer, head), hot_slots_};
  }
  /// Slots that the head has memory for.
  [[nodiscard]] std::size_t slots(std::size_t layer, std::size_t head) const noexcept {
    return hot_slots_ + cold_.slots(layer, head);
  }
  /// Of them, those in T: the first ones.
  [[nodiscard]] std::size_t hot_slots() const noexcept { return hot_slots_; }
  [[nodiscard]] MemoryUsage memory() const noexcept {
    MemoryUsage usage = hot_.memory();
    usage += cold_.memory();
    return usage;
  }

  /// Writes the key and the value of a hot slot, rounded, to a cold one. O(head_dim + value_dim).
  void demote(std::size_t layer, std::size_t head, Slot from, Slot to) noexcept {
    const std::size_t cold = to - hot_slots_;
    convert(hot_.keys(layer, head)[from], head_dim_, cold_.keys(layer, head)[cold]);
    convert(hot_.values(layer, head)[from], value_dim_, cold_.values(layer, head)[cold]);
  }

 private:
  static void convert(const T* from, std::size_t count, Cold* to) noexcept {
    if constexpr (Quantised<T>) {
      for (std::size_t d = 0; d < count; d += T::numbers) {
        float numbers[T::numbers];
        kernels::convert(from++, T::numbers, numbers);
        kernels::convert(numbers, T::numbers, to++);
      }
    } else {
      kernels::convert(from, count, to);
    }
  }

  [[nodiscard]] static std::vector<std::size_t> cold_slots(std::span<const std::size_t> slots,
                                                           std::size_t hot) {
    std::vector<std::size_t> cold;
    for (const std::size_t count : slots) {
      require(hot > 0 && hot < count, "hot", hot,
              "at least 1, and below the slots of a head: " + std::to_string(count));
      cold.push_back(count - hot);
    }
    return cold;
  }

  std::size_t hot_slots_;
  std::size_t head_dim_;
  std::size_t value_dim_;  ///< 0 where values lie in the keys
  OwnedStorage<T> hot_;
  OwnedStorage<Cold> cold_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_TIERED_STORAGE_HPP
