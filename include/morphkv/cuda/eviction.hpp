// SPDX-License-Identifier: Apache-2.0
/// \file
/// One step of eviction for one head, by a team of threads: ScoredEviction of the portable library.
///
/// A team shares the slots: thread i serves slots begin(), begin() + stride(), ... below
/// end(slots), and always the same ones. least(x) is the least x of the team, in all of its
/// threads; it orders the memory that they wrote before it. All threads of a team call these
/// functions, with the same arguments. On the device a team is a block or a cluster of blocks; a
/// SequentialTeam is one thread, which is how the tests run this code without a device.
#ifndef MORPHKV_CUDA_EVICTION_HPP
#define MORPHKV_CUDA_EVICTION_HPP

#include <cstdint>
#include <type_traits>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/cuda/head_state.hpp"
#include "morphkv/cuda/head_table.hpp"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/cuda/scores.hpp"

#if defined(__CUDA_ARCH__)
#define MORPHKV_CUDA_UNROLL _Pragma("unroll")
#else
#define MORPHKV_CUDA_UNROLL
#endif

namespace morphkv { inline namespace v0 { namespace cuda {

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

/// Of two slots with the same score the one with the lower position has the lower key.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint64_t age_key(Position position,
                                                                  Slot slot) noexcept {
  return std::uint64_t{static_cast<std::uint32_t>(position)} << 32U | slot;
}

/// The least score of the unprotected slots that a thread has seen.
template <class Value>
struct LeastSeen {
  static constexpr Value none = static_cast<Value>(~Value{0});  ///< no score is that high
  Value value = none;
  Slot slot = no_slot;  ///< the first that has it
  bool ties = false;    ///< others have it too

  MORPHKV_HOST_DEVICE void see(Slot seen, Value score) noexcept {
    if (score < value) {
      value = score;
      slot = seen;
      ties = false;
    } else if (score == value) {
      ties = true;
    }
  }
};

/// The unprotected slot with the lowest score; of equal ones that with the lowest position; no_slot
/// if there is none. `seen` is what the thread has seen of its slots, all of them;
/// score.value(slot) gives a score again. Positions are read of the lowest alone.
template <class Team, class Score>
MORPHKV_HOST_DEVICE Slot least_wanted(const Team& team, const HeadView& view, std::uint32_t size,
                                      const Score& score,
                                      const LeastSeen<typename Score::Value>& seen) {
  const typename Score::Value lowest = team.least(seen.value);
  if (lowest == seen.none) return no_slot;
  std::uint64_t oldest = ~std::uint64_t{0};
  if (seen.value == lowest && !seen.ties) {
    oldest = age_key(view.positions[seen.slot], seen.slot);
  } else if (seen.value == lowest) {
    const std::uint32_t end = team.end(size);
    for (Slot slot = seen.slot; slot < end; slot += team.stride()) {
      if (score.value(slot) != lowest || view.is_protected(slot)) continue;
      const std::uint64_t key = age_key(view.positions[slot], slot);
      if (key < oldest) oldest = key;
    }
  }
  return static_cast<Slot>(team.least(oldest) & 0xffffffffU);
}

/// Pushes a row, and calls see(slot, score) for every slot. A thread has the reads of four slots
/// under way at once: their latency, and not the bytes, is what a row would cost.
template <class Team, class Score, class WeightAt, class See>
MORPHKV_HOST_DEVICE void push_row(const Team& team, std::uint32_t size, const Score& score,
                                  const WeightAt& weight_at, const See& see) {
  constexpr unsigned at_once = 4;
  const std::uint32_t end = team.end(size);
  const std::uint32_t stride = team.stride();
  for (Slot first = team.begin(); first < end; first += at_once * stride) {
    typename Score::Fetched before[at_once] = {};
    float weight[at_once] = {};
    MORPHKV_CUDA_UNROLL
    for (unsigned i = 0; i < at_once; ++i) {
      const Slot slot = first + i * stride;
      if (slot >= end) continue;
      before[i] = score.fetch(slot);
      weight[i] = weight_at(slot);
    }
    MORPHKV_CUDA_UNROLL
    for (unsigned i = 0; i < at_once; ++i) {
      const Slot slot = first + i * stride;
      if (slot < end) see(slot, score.push(slot, weight[i], before[i]));
    }
  }
}

/// The same with the scores as they are.
template <class Team>
MORPHKV_HOST_DEVICE Slot find_victim(const Team& team, const Policy& policy, const HeadView& view,
                                     const HeadState& state) {
  const std::uint32_t last_row = state.rows == 0 ? 0 : state.rows - 1;
  return with_score(policy, view, last_row, [&](const auto& score) {
    LeastSeen<decltype(score.value(0))> seen;
    const std::uint32_t end = team.end(state.size);
    for (Slot slot = team.begin(); slot < end; slot += team.stride()) {
      if (!view.is_protected(slot)) seen.see(slot, score.value(slot));
    }
    return least_wanted(team, view, state.size, score, seen);
  });
}

/// A token that paid no attention: a row of zeros.
template <class Team>
MORPHKV_HOST_DEVICE void skip_row(const Team& team, const Policy& policy, const HeadView& view,
                                  HeadState& state) {
  with_score(policy, view, state.rows, [&](const auto& score) {
    push_row(
        team, state.size, score, [](Slot) { return 0.0F; }, [](Slot, auto) {});
  });
  ++state.rows;
  state.awaits_row = 0;
}

/// The slot of the next token, and whether it may come: what place() of a policy reports.
/// `state` changes in every thread; the leader has written the head's memory, but for its
/// HeadState, and `Placement::evicted` is known to the leader alone. Where the status is not ok,
/// nothing has changed. Constant time, unless no victim is known.
template <class Team>
MORPHKV_HOST_DEVICE Placement place(const Team& team, const Policy& policy, const HeadView& view,
                                    Position position, HeadState& state) {
  if (position <= state.newest) return {Status::position_backwards, no_slot, no_position};
  const bool free = has_free_slot(policy, state);
  if (!free) {
    if (!policy.evicts()) return {Status::full, no_slot, no_position};
    if (state.victim == no_slot && !has_candidate(view, state.size)) {
      return {Status::nothing_to_evict, no_slot, no_position};
    }
  }
  if (state.awaits_row != 0) skip_row(team, policy, view, state);
  Slot slot = state.victim;
  if (free) {
    slot = free_slot(state);
  } else if (slot == no_slot) {
    slot = find_victim(team, policy, view, state);
  }
  const Position evicted = place_token(policy, view, team.is_leader(), slot, position, state);
  if (team.is_leader() && policy.evicts()) {
    with_score(policy, view, state.rows, [&](const auto& score) { score.renew(view, slot); });
  }
  return {Status::ok, slot, evicted};
}

/// Whether every weight is a number from 0 to greatest_weight; false for NaN.
template <class Team, class WeightAt>
MORPHKV_HOST_DEVICE bool is_valid_row(const Team& team, std::uint32_t size,
                                      const WeightAt& weight_at) {
  std::uint32_t valid = 1;
  const std::uint32_t end = team.end(size);
  for (Slot slot = team.begin(); slot < end; slot += team.stride()) {
    const float weight = weight_at(slot);
    if (!(weight >= 0.0F && weight <= greatest_weight)) valid = 0;
  }
  return team.least(valid) != 0;
}

/// The row of the newest token: the score moves, and the next victim is known. After place(), an
/// operation that orders the team's memory comes first.
/// \pre the weights are valid, and state.awaits_row != 0
template <class Team, class WeightAt>
MORPHKV_HOST_DEVICE void observe(const Team& team, const Policy& policy, const HeadView& view,
                                 HeadState& state, const WeightAt& weight_at) {
  state.victim = with_score(policy, view, state.rows, [&](const auto& score) {
    LeastSeen<decltype(score.value(0))> seen;
    push_row(team, state.size, score, weight_at, [&](Slot slot, auto value) {
      if (!view.is_protected(slot)) seen.see(slot, value);
    });
    return least_wanted(team, view, state.size, score, seen);
  });
  ++state.rows;
  state.awaits_row = 0;
  if (policy.schedule == Schedule::after_attention && state.victim != no_slot &&
      state.size > policy.capacity) {
    if (team.is_leader()) view.positions[state.victim] = no_position;
    state.hole = state.victim;
    state.victim = no_slot;
  }
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_EVICTION_HPP
