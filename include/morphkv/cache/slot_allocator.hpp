// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which head frees a slot, where all heads share one total of slots.
#ifndef MORPHKV_CACHE_SLOT_ALLOCATOR_HPP
#define MORPHKV_CACHE_SLOT_ALLOCATOR_HPP

#include <bit>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "morphkv/core/types.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The lowest of one value per head, in a tournament tree: every node knows the winner of the
/// leaves below it. O(log heads) per changed value, O(1) per search. It allocates in its
/// constructor alone.
class LowestValue {
 public:
  static constexpr double none = std::numeric_limits<double>::infinity();

  explicit LowestValue(std::size_t heads)
      : values_(std::bit_ceil(heads), none), winners_(values_.size()) {
    for (std::size_t node = values_.size(); --node > 0;) play(node);
  }

  /// \param value not NaN
  void set(std::size_t head, double value) noexcept {
    values_[head] = value;
    for (std::size_t node = (values_.size() + head) / 2; node > 0; node /= 2) play(node);
  }
  [[nodiscard]] double operator[](std::size_t head) const noexcept { return values_[head]; }

  /// The head with the lowest value; of equal values the lowest head.
  [[nodiscard]] std::size_t head() const noexcept { return winner(1); }

 private:
  [[nodiscard]] std::size_t winner(std::size_t node) const noexcept {
    return node < values_.size() ? winners_[node] : node - values_.size();
  }
  void play(std::size_t node) noexcept {
    const std::size_t left = winner(2 * node);
    const std::size_t right = winner(2 * node + 1);
    winners_[node] = values_[right] < values_[left] ? right : left;
  }

  std::vector<double> values_;  ///< the leaves: the heads, up to a power of two
  std::vector<std::size_t>
      winners_;  ///< of the inner nodes, from 1; the children of n are 2 n, 2 n + 1
};

/// Passes a full head the slot of the token with the lowest score of all heads: of equal scores its
/// own head's, then that of the lowest head. A head takes part if every slot of it is in use, its
/// newest token was observed, and it has more than `min_capacity` slots.
///
/// Heads are numbered through all layers. Thread safety: none.
template <class Policy>
class SlotAllocator {
  static_assert(SharingPolicy<Policy>);

 public:
  SlotAllocator(std::size_t heads, std::size_t min_capacity)
      : min_capacity_(min_capacity), own_(heads, LowestValue::none), offers_(heads) {}

  /// Call it when a head has observed a row or committed a block. O(log heads), and O(slots)
  /// where the policy does not know its victim.
  void update(std::size_t head, Policy& policy) noexcept {
    set(head, policy.find_cheapest().value, policy.capacity() > min_capacity_);
  }

  /// Call it before a token is placed: if all slots of `head` are in use, makes one free in
  /// it, or leaves the policy to replace a token of its own. O(log heads), and O(slots) where a
  /// slot passes from another head, whose next victim is then searched.
  template <class Storage>
  void reserve(std::size_t head, std::span<Policy> policies, Storage& storage) noexcept {
    Policy& policy = policies[head];
    if (policy.has_free_slot()) return;
    const std::size_t donor = policy.capacity() < policy.slots() ? cheapest_for(head) : head;
    set(head, LowestValue::none, false);  // until its new token is observed
    if (donor == head) return;
    const Slot slot = policies[donor].find_cheapest().slot;
    const Slot last = policies[donor].release_slot(slot);
    storage.pass(donor, slot, last, head, static_cast<Slot>(policy.size()));
    policy.add_slot();
    update(donor, policies[donor]);
  }

 private:
  void set(std::size_t head, double value, bool is_offered) noexcept {
    own_[head] = value;
    offers_.set(head, is_offered ? value : LowestValue::none);
  }

  [[nodiscard]] std::size_t cheapest_for(std::size_t head) const noexcept {
    const std::size_t lowest = offers_.head();
    return offers_[lowest] < own_[head] ? lowest : head;
  }

  std::size_t min_capacity_;
  std::vector<double> own_;  ///< the lowest score of every head
  LowestValue offers_;       ///< the same where other heads may have the slot
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_SLOT_ALLOCATOR_HPP
