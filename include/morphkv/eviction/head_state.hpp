// SPDX-License-Identifier: Apache-2.0
/// \file
/// What one head remembers, as plain bytes of host or device: which token is in which slot, which
/// tokens are protected, and the numbers of its score. A head's state holds no pointer, so that it
/// can be copied, saved and moved.
///
/// Slots 0 ... size - 1 are in use; at most one of them, the hole, holds a token that has been
/// evicted already and waits for the next one. Functions pass a HeadState by reference and change
/// it in every thread's own copy, so that all threads of a team know it; the memory of the head is
/// written by the leader alone.
#ifndef MORPHKV_EVICTION_HEAD_STATE_HPP
#define MORPHKV_EVICTION_HEAD_STATE_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/pins.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The counters of a head. 48 bytes.
struct HeadState {
  Position newest = no_position;  ///< the greatest position that has come
  std::uint32_t size = 0;         ///< slots in use: attention runs over 0 ... size - 1
  std::uint32_t quota = 0;        ///< slots that may be used
  std::uint32_t arrived = 0;      ///< tokens that have come since the sequence began
  std::uint32_t rows = 0;         ///< rows that the score has seen
  Slot victim = no_slot;          ///< to be overwritten next, where known
  Slot hole = no_slot;            ///< its token has been evicted; the next token's slot
  std::uint32_t awaits_row = 0;   ///< the newest token has no attention row yet
  std::uint32_t generates = 0;    ///< a token has come alone, so the first prompt is over
  Status status = Status::ok;     ///< of the last step, on a device
  std::uint32_t pins = 0;         ///< tokens that are pinned, see pins.hpp
  std::uint32_t pinned_at = 0;    ///< `arrived` when all pins were given
};
static_assert(sizeof(HeadState) == 48);

/// Where the parts of a head's state lie, in bytes from its beginning. The head, the positions and
/// the scores begin on cache lines.
///
/// | part | elements |
/// |---|---|
/// | HeadState | 1 |
/// | permanent | a bit per slot in words of 64, lowest first: sinks, a protected prompt |
/// | pinned | likewise: the pinned tokens; no words without pins |
/// | protection | likewise: all of these, and the recent tokens |
/// | arrivals | uint32 [arrivals_size]: the slots of the newest tokens, by order of arrival |
/// | pins | uint32 [rules.pins]: the slots of the pinned tokens, the one released last first |
/// | positions | int32 [stride]; no_position in the hole |
/// | scores | see ScoreView |
struct HeadLayout {
  std::uint32_t stride = 0;         ///< see score_stride
  std::uint32_t arrivals_size = 0;  ///< protected recent tokens, and one more
  ScoreMemory score{};
  std::size_t permanent = 0;
  std::size_t pinned = 0;
  std::size_t protection = 0;
  std::size_t arrivals = 0;
  std::size_t pins = 0;
  std::size_t positions = 0;
  std::size_t scores = 0;
  std::size_t bytes = 0;  ///< of a head
};

/// The layout of a head under these rules. A head has a score's numbers where they outlive a block.
[[nodiscard]] constexpr HeadLayout layout_of(const EvictionRules& rules,
                                             const ScoreMemory& score) noexcept {
  constexpr std::size_t line = 64;
  const auto on_line = [](std::size_t bytes) { return (bytes + line - 1) / line * line; };
  HeadLayout layout;
  layout.stride = score_stride(rules.slots);
  layout.arrivals_size = rules.held_recent() + 1;
  if (rules.carries_scores) layout.score = score;
  const std::size_t bits = (rules.slots + std::size_t{63}) / 64 * sizeof(std::uint64_t);
  layout.permanent = sizeof(HeadState);
  layout.pinned = layout.permanent + bits;
  layout.protection = layout.pinned + (rules.pins > 0 ? bits : 0);
  layout.arrivals = layout.protection + bits;
  layout.pins = layout.arrivals + sizeof(Slot) * layout.arrivals_size;
  layout.positions = on_line(layout.pins + sizeof(Slot) * rules.pins);
  layout.scores = on_line(layout.positions + sizeof(Position) * layout.stride);
  layout.bytes = on_line(layout.scores + layout.score.bytes(layout.stride));
  return layout;
}
template <Score S>
[[nodiscard]] constexpr HeadLayout layout_of(const EvictionPlan<S>& plan) noexcept {
  return layout_of(plan.rules, plan.score.memory());
}

/// The state of one head. Nothing is owned.
struct HeadView {
  HeadState* head = nullptr;
  std::uint64_t* permanent = nullptr;
  std::uint64_t* pinned = nullptr;  ///< where rules.pins > 0
  std::uint64_t* protection = nullptr;
  Slot* arrivals = nullptr;
  Slot* pins = nullptr;
  Position* positions = nullptr;
  ScoreView scores{};

  HeadView() = default;
  MORPHKV_HOST_DEVICE HeadView(void* state, const HeadLayout& layout,
                               std::size_t cell = 0) noexcept {
    std::byte* begin = static_cast<std::byte*>(state) + cell * layout.bytes;
    head = reinterpret_cast<HeadState*>(begin);
    permanent = reinterpret_cast<std::uint64_t*>(begin + layout.permanent);
    pinned = reinterpret_cast<std::uint64_t*>(begin + layout.pinned);
    protection = reinterpret_cast<std::uint64_t*>(begin + layout.protection);
    arrivals = reinterpret_cast<Slot*>(begin + layout.arrivals);
    pins = reinterpret_cast<Slot*>(begin + layout.pins);
    positions = reinterpret_cast<Position*>(begin + layout.positions);
    scores = {begin + layout.scores, layout.score, layout.stride, positions};
  }

  [[nodiscard]] MORPHKV_HOST_DEVICE Candidates candidates(std::uint32_t size) const noexcept {
    return {size, protection, positions};
  }
};

// --- Tokens and slots

[[nodiscard]] MORPHKV_HOST_DEVICE inline bool has_free_slot(const HeadState& state) noexcept {
  return state.hole != no_slot || state.size < state.quota;
}

/// The hole, or a slot that was never used. \pre has_free_slot(state)
[[nodiscard]] MORPHKV_HOST_DEVICE inline Slot free_slot(const HeadState& state) noexcept {
  return state.hole != no_slot ? state.hole : state.size;
}

/// Slots in use that are not protected, counted as far as `limit`. O(slots / 64). \pre limit > 0
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint32_t count_candidates(
    const HeadView& view, std::uint32_t size, std::uint32_t limit) noexcept {
  std::uint32_t count = 0;
  for (std::uint32_t slot = 0; slot < size; slot += 64) {
    const std::uint32_t left = size - slot;
    std::uint64_t open = ~view.protection[slot / 64];
    if (left < 64) open &= (std::uint64_t{1} << left) - 1;
    for (; open != 0; open &= open - 1) {
      if (++count == limit) return count;
    }
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
    const std::uint32_t first = state.arrived < recent ? 0 : state.arrived - recent;
    const bool is_recent =
        recent > 0 && view.positions[slot] >= view.positions[slot_of_arrival(rules, view, first)];
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
  // Every entry is written, so that a compiler can vectorise it.
  const auto rename = [&](Slot* slots, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) slots[i] = slots[i] == last ? slot : slots[i];
  };
  rename(view.arrivals, rules.held_recent() + 1);
  rename(view.pins, state.pins);
  state.victim = no_slot;
  return last;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_HEAD_STATE_HPP
