// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which token is in which slot of one head, and which slots are protected.
///
/// Slots 0 ... size - 1 are in use; at most one of them, the hole, holds a token that has been
/// evicted already and waits for the next one. A HeadState is passed by reference and changed in
/// every thread's own copy, so that all threads of a team know it; the memory of the head is
/// written by the leader alone.
#ifndef MORPHKV_EVICTION_SLOT_TABLE_HPP
#define MORPHKV_EVICTION_SLOT_TABLE_HPP

#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/pins.hpp"
#include "morphkv/eviction/rules.hpp"

namespace morphkv { inline namespace v0 {

[[nodiscard]] MORPHKV_HOST_DEVICE inline bool has_free_slot(const HeadState& state) noexcept {
  return state.hole != no_slot || state.size < state.quota;
}

/// The hole, or a slot that was never used. \pre has_free_slot(state)
[[nodiscard]] MORPHKV_HOST_DEVICE inline Slot free_slot(const HeadState& state) noexcept {
  return state.hole != no_slot ? state.hole : state.size;
}

/// Slots in use that are not protected, counted as far as `limit`. O(slots / 64).
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint32_t count_candidates(
    const HeadView& view, std::uint32_t size, std::uint32_t limit) noexcept {
  std::uint32_t count = 0;
  for (std::uint32_t slot = 0; slot < size && count < limit; slot += 64) {
    const std::uint32_t left = size - slot;
    std::uint64_t open = ~view.protection[slot / 64];
    if (left < 64) open &= (std::uint64_t{1} << left) - 1;
    for (; open != 0 && count < limit; open &= open - 1) ++count;
  }
  return count;
}

/// The slot of the token that arrived as number `arrival`, one of the newest. \pre arrival >= 0
[[nodiscard]] MORPHKV_HOST_DEVICE inline Slot slot_of_arrival(const EvictionRules& rules,
                                                              const HeadView& view,
                                                              std::uint32_t arrival) noexcept {
  return view.arrivals[arrival % (rules.held_recent() + 1)];
}

/// The arriving token is protected; the one that is no longer recent is not, unless it is permanent
/// or pinned. By the leader.
MORPHKV_HOST_DEVICE inline void protect_arrival(const EvictionRules& rules, const HeadView& view,
                                                std::uint32_t arrived, Slot slot) noexcept {
  const std::uint32_t recent = rules.held_recent();
  view.arrivals[arrived % (recent + 1)] = slot;
  if (arrived < rules.sinks) set_bit(view.permanent, slot);
  if (recent > 0 || arrived < rules.sinks) set_bit(view.protection, slot);
  if (recent == 0 || arrived < recent) return;
  const Slot left_behind = slot_of_arrival(rules, view, arrived - recent);
  if (!test_bit(view.permanent, left_behind) &&
      !(rules.pins > 0 && test_bit(view.pinned, left_behind))) {
    set_bit(view.protection, left_behind, false);
  }
}

/// Releases pins, the lowest first, until at most `left` are left. By the leader; `state` changes
/// in every thread.
MORPHKV_HOST_DEVICE inline void release_pins(const EvictionRules& rules, const HeadView& view,
                                             bool leader, std::uint32_t left,
                                             HeadState& state) noexcept {
  for (; state.pins > left; --state.pins) {
    if (!leader) continue;
    const Slot slot = view.pins[state.pins - 1];
    set_bit(view.pinned, slot, false);
    const std::uint32_t recent = rules.held_recent();
    const bool is_recent =
        recent > 0 && (state.arrived < recent ||
                       view.positions[slot] >=
                           view.positions[slot_of_arrival(rules, view, state.arrived - recent)]);
    if (!is_recent) set_bit(view.protection, slot, false);
  }
}

/// Puts the next token into a free slot or over a victim.
/// \return the position that was there, in the leader; no_position in other threads
MORPHKV_HOST_DEVICE inline Position place_token(const EvictionRules& rules, const HeadView& view,
                                                bool leader, Slot slot, Position position,
                                                HeadState& state) noexcept {
  const bool grows = slot == state.size;
  Position before = no_position;
  if (leader) {
    if (!grows) before = view.positions[slot];
    view.positions[slot] = position;
    protect_arrival(rules, view, state.arrived, slot);
  }
  if (grows) ++state.size;
  if (slot == state.hole) state.hole = no_slot;
  state.newest = position;
  ++state.arrived;
  if (state.pins > 0) {
    release_pins(rules, view, leader, pins_left(rules, state.arrived - state.pinned_at), state);
  }
  state.awaits_row = rules.evicts() ? 1 : 0;
  state.generates = 1;
  state.victim = no_slot;
  return before;
}

/// The token in `slot` is gone, and the token in the last slot in use moves there.
/// O(recent and pinned tokens). One thread.
/// \return the slot that it moved from, which is no longer in use
/// \pre there is no hole, and the token in `slot` is not protected
MORPHKV_HOST_DEVICE inline Slot remove_token(const EvictionRules& rules, const HeadView& view,
                                             Slot slot, HeadState& state) noexcept {
  const Slot last = --state.size;
  const bool is_protected = test_bit(view.protection, last);
  view.positions[slot] = view.positions[last];
  set_bit(view.permanent, slot, test_bit(view.permanent, last));
  set_bit(view.protection, slot, is_protected);
  for_each_row(view.scores, view.scores, [&](auto* row, const auto*) { row[slot] = row[last]; });
  view.positions[last] = no_position;
  set_bit(view.permanent, last, false);
  if (rules.pins > 0) {
    set_bit(view.pinned, slot, test_bit(view.pinned, last));
    set_bit(view.pinned, last, false);
  }
  set_bit(view.protection, last, false);
  for (std::uint32_t a = 0; slot != last && a <= rules.held_recent(); ++a) {
    if (view.arrivals[a] == last) view.arrivals[a] = slot;
  }
  for (std::uint32_t p = 0; slot != last && p < state.pins; ++p) {
    if (view.pins[p] == last) view.pins[p] = slot;
  }
  state.victim = no_slot;
  return last;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_SLOT_TABLE_HPP
