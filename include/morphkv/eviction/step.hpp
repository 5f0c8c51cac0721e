// SPDX-License-Identifier: Apache-2.0
/// \file
/// One step of eviction for one head, by a team of threads.
///
/// A team shares the slots: thread i serves slots begin(), begin() + stride(), ... below
/// end(slots), and always the same ones. least(x) is the least x of the team, in all of its
/// threads; it orders the memory that they wrote before it. All threads of a team call these
/// functions, with the same arguments. On the host a team is one thread, on a device a block or a
/// cluster of blocks.
#ifndef MORPHKV_EVICTION_STEP_HPP
#define MORPHKV_EVICTION_STEP_HPP

#include <cstdint>
#include <type_traits>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/score/score.hpp"

#if defined(__CUDA_ARCH__)
#define MORPHKV_CUDA_UNROLL _Pragma("unroll")
#else
#define MORPHKV_CUDA_UNROLL
#endif

namespace morphkv { inline namespace MORPHKV_ABI {

/// One thread alone.
struct SequentialTeam {
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr std::uint32_t begin() noexcept { return 0; }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr std::uint32_t end(
      std::uint32_t slots) noexcept {
    return slots;
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr std::uint32_t stride() noexcept { return 1; }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr bool is_leader() noexcept { return true; }
  template <class T>
  [[nodiscard]] MORPHKV_HOST_DEVICE T least(T x) const noexcept {
    return x;
  }
};

/// The lowest score of the unprotected slots that a thread has seen.
template <class Value>
struct LowestSeen {
  static constexpr Value none = static_cast<Value>(~Value{0});  ///< no score is that high
  Value value = none;
  Slot slot = no_slot;  ///< the first that has it
  bool ties = false;    ///< others have it too

  MORPHKV_HOST_DEVICE void see(Slot seen, bool competes, Value score) noexcept {
    if (!competes) return;
    if (score < value || slot == no_slot) {
      value = score;
      slot = seen;
      ties = false;
    } else if (score == value) {
      ties = true;
    }
  }
};

/// What a team found to be evicted next: of the lowest scores that with the lowest position.
struct Lowest {
  std::uint64_t value = ~std::uint64_t{0};
  std::uint64_t age = ~std::uint64_t{0};  ///< position, and in the low half the slot

  [[nodiscard]] MORPHKV_HOST_DEVICE bool goes_before(const Lowest& other) const noexcept {
    return value < other.value || (value == other.value && age < other.age);
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE Slot slot() const noexcept {
    return age == ~std::uint64_t{0} ? no_slot : static_cast<Slot>(age & 0xffffffffU);
  }
};

/// Slots whose reads a thread of a device has under way at once: their latency, and not the bytes,
/// is what a row would cost.
inline constexpr unsigned slots_at_once = 8;

/// The unprotected slot with the lowest score; of equal ones that with the lowest position; none if
/// every slot is protected. `seen` is what the thread has seen of its slots, all of them. Positions
/// are read of the lowest alone.
template <class Team, class Row>
MORPHKV_HOST_DEVICE Lowest lowest_slot(const Team& team, const Candidates& candidates,
                                       const Row& row,
                                       const LowestSeen<typename Row::Value>& seen) {
  const typename Row::Value lowest = team.least(seen.value);
  // Of two slots with the same score the one with the lower position has the lower key.
  const auto age_key = [&](Slot slot) {
    return std::uint64_t{static_cast<std::uint32_t>(candidates.positions[slot])} << 32U | slot;
  };
  std::uint64_t oldest = Lowest{}.age;
  if (seen.slot != no_slot && seen.value == lowest) {
    oldest = age_key(seen.slot);
    const std::uint32_t stride = team.stride();
    const std::uint32_t end =
        seen.ties ? team.end(static_cast<std::uint32_t>(candidates.slots)) : seen.slot;
    for (Slot first = seen.slot; first < end; first += slots_at_once * stride) {
      std::uint64_t key[slots_at_once];
      MORPHKV_CUDA_UNROLL
      for (unsigned i = 0; i < slots_at_once; ++i) {
        const Slot slot = first + i * stride;
        key[i] = Lowest{}.age;
        if (slot >= end) continue;
        const std::uint64_t age = age_key(slot);
        if (row.value(slot) == lowest && candidates.contain(slot)) key[i] = age;
      }
      MORPHKV_CUDA_UNROLL
      for (const std::uint64_t age : key) {
        if (age < oldest) oldest = age;
      }
    }
  }
  return {lowest, team.least(oldest)};
}

/// Pushes a row, and calls see(slot, competes, score) for every slot; one competes that is a
/// candidate.
MORPHKV_CALLS_FUNCTION
template <class Team, class Row, class WeightAt, class See>
MORPHKV_HOST_DEVICE void push_row(const Team& team, const Candidates& candidates, const Row& row,
                                  const WeightAt& weight_at, const See& see) {
  const std::uint32_t end = team.end(static_cast<std::uint32_t>(candidates.slots));
  const std::uint32_t stride = team.stride();
  for (Slot first = team.begin(); first < end; first += slots_at_once * stride) {
    decltype(row.fetch(first)) before[slots_at_once] = {};
    float weight[slots_at_once] = {};
    bool competes[slots_at_once] = {};
    MORPHKV_CUDA_UNROLL
    for (unsigned i = 0; i < slots_at_once; ++i) {
      const Slot slot = first + i * stride;
      if (slot >= end) continue;
      before[i] = row.fetch(slot);
      weight[i] = weight_at(slot);
      competes[i] = candidates.contain(slot);
    }
    MORPHKV_CUDA_UNROLL
    for (unsigned i = 0; i < slots_at_once; ++i) {
      const Slot slot = first + i * stride;
      if (slot < end) see(slot, competes[i], row.push(slot, weight[i], before[i]));
    }
  }
}

/// The victim by the scores as they are. O(slots).
template <class Team, Score S>
MORPHKV_HOST_DEVICE Slot find_victim(const Team& team, const EvictionPlan<S>& plan,
                                     const HeadView& view, const HeadState& state) {
  return plan.score.with_row(view.scores, newest_row(state.rows), [&](const auto& row) {
    LowestSeen<typename std::remove_cvref_t<decltype(row)>::Value> seen;
    const Candidates candidates = view.candidates(state.size);
    const std::uint32_t end = team.end(state.size);
    for (Slot slot = team.begin(); slot < end; slot += team.stride()) {
      seen.see(slot, candidates.contain(slot), row.value(slot));
    }
    return lowest_slot(team, candidates, row, seen).slot();
  });
}

/// A token without an attention row: a row of zeros. Any thread may write any slot afterwards.
template <class Team, Score S>
MORPHKV_HOST_DEVICE void skip_row(const Team& team, const EvictionPlan<S>& plan,
                                  const HeadView& view, HeadState& state) {
  (void)plan.score.with_row(view.scores, state.rows, [&](const auto& row) {
    push_row(
        team, view.candidates(state.size), row, [](Slot) { return 0.0F; }, [](Slot, bool, auto) {});
    return no_slot;
  });
  (void)team.least(std::uint32_t{0});  // all slots are read before place() writes one
  ++state.rows;
  state.awaits_row = 0;
}

/// What place() would report, but where no victim is known: then whether there is one. O(slots /
/// 64) in that case, else constant time.
[[nodiscard]] MORPHKV_HOST_DEVICE inline Status can_place(const EvictionRules& rules,
                                                          const HeadView& view, Position position,
                                                          const HeadState& state) noexcept {
  if (position <= state.newest) return Status::position_backwards;
  if (position > max_position) return Status::position_too_large;
  if (has_free_slot(state)) return Status::ok;
  if (rules.schedule == Schedule::sliding) return Status::ok;
  if (!rules.evicts()) return Status::full;
  const bool found = state.victim != no_slot || count_candidates(view, state.size, 1) > 0;
  return found ? Status::ok : Status::nothing_to_evict;
}

/// Whether place() needs no more than `state` to know the slot: then known_slot(). In constant
/// time; of a token that can be placed.
[[nodiscard]] MORPHKV_HOST_DEVICE inline bool knows_slot(const HeadState& state) noexcept {
  return state.awaits_row == 0 && (has_free_slot(state) || state.victim != no_slot);
}
[[nodiscard]] MORPHKV_HOST_DEVICE inline Slot known_slot(const HeadState& state) noexcept {
  return has_free_slot(state) ? free_slot(state) : state.victim;
}

/// Records the next token in the slot that was found for it. The leader alone writes memory; any
/// thread may ask for the state alone.
/// \return the position that was there, in the leader; no_position in other threads
template <Score S>
MORPHKV_HOST_DEVICE Position place_in(const EvictionPlan<S>& plan, const HeadView& view,
                                      bool leader, Slot slot, Position position, HeadState& state) {
  const Position evicted = place_token(plan.rules, view, leader, slot, position, state);
  const std::uint32_t distance = distance_of(plan.score);
  if (leader && plan.rules.evicts() && state.arrived > distance) {
    const std::uint32_t arrival = state.arrived - 1 - distance;
    plan.score.start(view.scores, slot_of_arrival(plan.rules, view, arrival), state.rows);
  }
  return evicted;
}

/// The slot of the next token. `state` changes in every thread; the leader has written the head's
/// memory, but for its HeadState, and `Placement::evicted` is known to the leader alone. Where the
/// status is not ok, nothing has changed. Constant time, unless no victim is known.
template <class Team, Score S>
MORPHKV_HOST_DEVICE Placement place(const Team& team, const EvictionPlan<S>& plan,
                                    const HeadView& view, Position position, HeadState& state) {
  const Status status = can_place(plan.rules, view, position, state);
  if (status != Status::ok) return {status, no_slot, no_position};
  if (state.awaits_row != 0) skip_row(team, plan, view, state);
  Slot slot = known_slot(state);
  if (!has_free_slot(state) && plan.rules.schedule == Schedule::sliding) {
    slot = slot_of_arrival(plan.rules, view, state.arrived - plan.rules.capacity);
  } else if (slot == no_slot) {
    slot = find_victim(team, plan, view, state);
  }
  return {Status::ok, slot, place_in(plan, view, team.is_leader(), slot, position, state)};
}

/// Whether every weight is a number from 0 to max_weight, and not minus zero; false for NaN.
MORPHKV_CALLS_FUNCTION
template <class Team, class WeightAt>
MORPHKV_HOST_DEVICE bool is_valid_row(const Team& team, std::uint32_t size,
                                      const WeightAt& weight_at) {
  std::uint32_t valid = 1;
  const std::uint32_t end = team.end(size);
  for (Slot slot = team.begin(); slot < end; slot += team.stride()) {
    const float weight = weight_at(slot);
    if (!is_valid_weight(weight)) valid = 0;
  }
  return team.least(valid) != 0;
}

/// The end of a row: `victim` goes next, or at once.
MORPHKV_HOST_DEVICE inline void finish_row(bool leader, const EvictionRules& rules,
                                           const HeadView& view, Slot victim, HeadState& state) {
  state.victim = victim;
  ++state.rows;
  state.awaits_row = 0;
  if (rules.schedule == Schedule::after_attention && victim != no_slot &&
      state.size > rules.capacity) {
    if (leader) view.positions[victim] = no_position;
    state.hole = victim;
    state.victim = no_slot;
  }
}

/// The row of the newest token: the score moves. What the team's slots hold to be evicted next.
/// After place(), an operation that orders the team's memory comes first.
/// \pre the weights are valid, and state.awaits_row != 0
MORPHKV_CALLS_FUNCTION
template <class Team, Score S, class WeightAt>
MORPHKV_HOST_DEVICE Lowest push_weights(const Team& team, const EvictionPlan<S>& plan,
                                        const HeadView& view, const HeadState& state,
                                        const WeightAt& weight_at) {
  return plan.score.with_row(view.scores, state.rows, [&](const auto& row) {
    LowestSeen<typename std::remove_cvref_t<decltype(row)>::Value> seen;
    const Candidates candidates = view.candidates(state.size);
    push_row(team, candidates, row, weight_at,
             [&](Slot slot, bool competes, auto value) { seen.see(slot, competes, value); });
    return lowest_slot(team, candidates, row, seen);
  });
}

/// push_weights(), and the next victim is known.
MORPHKV_CALLS_FUNCTION
template <class Team, Score S, class WeightAt>
MORPHKV_HOST_DEVICE void observe(const Team& team, const EvictionPlan<S>& plan,
                                 const HeadView& view, HeadState& state,
                                 const WeightAt& weight_at) {
  const Slot victim = push_weights(team, plan, view, state, weight_at).slot();
  finish_row(team.is_leader(), plan.rules, view, victim, state);
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_STEP_HPP
