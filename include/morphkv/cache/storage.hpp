// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a cache asks of the memory of its keys and values.
#ifndef MORPHKV_CACHE_STORAGE_HPP
#define MORPHKV_CACHE_STORAGE_HPP

#include <concepts>
#include <cstddef>
#include <span>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

// clang-format off

/// Where the keys and values of every head lie. The views of a head's keys and values have the same
/// strides and pages. OwnedStorage, EngineStorage, SharedStorage, PooledStorage and TieredStorage
/// are the library's own.
template <class S, class T>
concept CacheStorage =
    Storable<T> && std::movable<S> &&
    requires(S storage, const S& constant, std::size_t layer, std::size_t head) {
      { storage.keys(layer, head) } noexcept -> std::same_as<KvView<T>>;
      { storage.values(layer, head) } noexcept -> std::same_as<KvView<T>>;
      { constant.keys(layer, head) } noexcept -> std::convertible_to<KvView<const T>>;
      { constant.values(layer, head) } noexcept -> std::convertible_to<KvView<const T>>;
      /// Slots that the head has memory for now.
      { constant.slots(layer, head) } noexcept -> std::same_as<std::size_t>;
      /// Bytes that the storage owns.
      { constant.memory() } noexcept -> std::same_as<MemoryUsage>;
    };

/// A storage that the cache makes from the slots of every head, [layers][kv_heads].
template <class S>
concept OwningStorage =
    std::constructible_from<S, const CacheShape&, std::span<const std::size_t>>;

/// A storage whose rows of a head lie in one piece, [slot][head_dim].
template <class S>
concept ContiguousStorage = requires { requires S::is_contiguous; };

/// A storage whose memory of a layer can be divided anew between the layer's heads.
template <class S>
concept DivisibleStorage =
    requires(S storage, const CacheShape& shape, std::size_t count,
             std::span<const std::size_t> slots) {
      /// The slots to make it with, so that it can be divided when a head has `count` on average.
      { S::divisible_slots(shape, count) } -> std::same_as<std::size_t>;
      { storage.divide(count, slots) } noexcept;
    };

/// A storage in which a slot passes from head to head. Made from the shape, the slots that every
/// head has at first, and the slots that one head may have.
template <class S>
concept SharingStorage =
    std::constructible_from<S, const CacheShape&, std::size_t, std::size_t> &&
    requires(S storage, std::size_t head, Slot slot) {
      { storage.pass(head, slot, slot, head, slot) } noexcept;
    };

/// A storage whose slots from hot_slots() on are in another format: `keys` and `values` are those of
/// the slots before them, and all_keys() and all_values() are TieredViews.
template <class S>
concept TieringStorage =
    requires(S storage, const S& constant, std::size_t layer, std::size_t head, Slot slot) {
      { constant.hot_slots() } noexcept -> std::same_as<std::size_t>;
      storage.all_keys(layer, head).cold;
      storage.all_values(layer, head).cold;
      constant.all_keys(layer, head).cold;
      constant.all_values(layer, head).cold;
      /// Copies a token, rounded, to one of these slots.
      { storage.demote(layer, head, slot, slot) } noexcept;
    };

/// A storage that may have more slots later than now: a step that needs one that it does not have
/// reports Status::no_memory.
template <class S>
concept GrowingStorage = requires(const S& constant) {
  { constant.can_grow() } noexcept -> std::same_as<bool>;
};

/// A storage that is asked before a slot is written, since it takes memory for it then, or ends the
/// sharing of what lies there. First all slots of a call are claimed; if the claims are granted, the
/// cache makes each slot writable before it writes it, and that cannot fail.
template <class S>
concept ClaimedStorage =
    requires(S storage, std::size_t layer, Slot slot, std::span<const std::size_t> slots) {
      /// Told once, before anything else: the slots that every head may have, [layers][kv_heads].
      { storage.reserve(slots) };
      /// no_slot: one in use that is not known yet; claimed after those that are.
      { storage.claim(layer, slot) } noexcept;
      /// Ends the claims of a call. False: there is no memory, and nothing has changed.
      { storage.grant() } noexcept -> std::same_as<bool>;
      { storage.make_writable(layer, slot) } noexcept;
      /// Slots from `slot` on are in use in no head of the layer.
      { storage.shrink(layer, std::size_t{slot}) } noexcept;
      /// Whether a copy of the other storage can take this one's place.
      { storage.can_become(storage) } noexcept -> std::same_as<bool>;
    };
// clang-format on

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_STORAGE_HPP
