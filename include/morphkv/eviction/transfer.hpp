// SPDX-License-Identifier: Apache-2.0
/// \file
/// The tokens of a head, taken over by a head of another plan: another capacity, fewer or more
/// recent tokens and pins, another window.
#ifndef MORPHKV_EVICTION_TRANSFER_HPP
#define MORPHKV_EVICTION_TRANSFER_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/block.hpp"
#include "morphkv/eviction/eviction_head.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/pins.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/eviction/step.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// What the layout of a head's state and its counters depend on: saved beside a state.
struct SavedPlan {
  std::uint32_t schedule = 0;
  std::uint32_t capacity = 0;
  std::uint32_t slots = 0;
  std::uint32_t recent = 0;
  std::uint32_t pins = 0;
  std::uint32_t carries_scores = 0;
  std::uint32_t distance = 0;
  std::uint32_t window = 0;  ///< of a score that has one, and its panes
  std::uint32_t panes = 0;
  ScoreMemory score{};

  friend bool operator==(const SavedPlan& a, const SavedPlan& b) noexcept {
    return std::memcmp(&a, &b, sizeof a) == 0;
  }
};
static_assert(std::has_unique_object_representations_v<SavedPlan>);

template <Score S>
[[nodiscard]] SavedPlan saved_plan(const EvictionPlan<S>& plan) noexcept {
  SavedPlan saved{.schedule = static_cast<std::uint32_t>(plan.rules.schedule),
                  .capacity = plan.rules.capacity,
                  .slots = plan.rules.slots,
                  .recent = plan.rules.recent,
                  .pins = plan.rules.pins,
                  .carries_scores = plan.rules.carries_scores ? 1U : 0U,
                  .distance = distance_of(plan.score),
                  .score = plan.score.memory()};
  if constexpr (requires { plan.score.with_window(0, 0); }) {
    saved.window = plan.score.window;
    saved.panes = plan.score.panes;
  }
  return saved;
}

/// `plan` with what was saved of another.
/// \throws std::invalid_argument if a policy of this kind has no such plan, naming what differs
template <Score S>
[[nodiscard]] EvictionPlan<S> plan_of(const SavedPlan& saved, EvictionPlan<S> plan) {
  const auto check = [](bool valid, const char* name, std::uint32_t value,
                        const std::string& allowed) {
    require(valid, std::string(name) + " of the snapshot", value, allowed);
  };
  const auto same = [&](const char* name, std::uint32_t value, std::uint32_t own) {
    check(value == own, name, value, "as in this one: " + std::to_string(own));
  };
  const SavedPlan own = saved_plan(plan);
  same("schedule of a head", saved.schedule, own.schedule);
  same("carried scores", saved.carries_scores, own.carries_scores);
  check(saved.slots <= max_head_slots, "slots of a head", saved.slots,
        "at most " + std::to_string(max_head_slots));
  const std::string at_most = "at most " + std::to_string(saved.slots);
  check(saved.capacity <= saved.slots, "capacity of a head", saved.capacity, at_most);
  check(saved.recent <= saved.slots, "recent tokens", saved.recent, at_most);
  check(saved.pins <= saved.slots, "pins", saved.pins, at_most);
  check(saved.distance == 0 || saved.distance < saved.recent || !plan.rules.carries_scores,
        "distance", saved.distance, "below the recent tokens");
  plan.rules.capacity = saved.capacity;
  plan.rules.slots = saved.slots;
  plan.rules.recent = saved.recent;
  plan.rules.pins = saved.pins;
  if constexpr (requires { plan.score.distance = 0; }) plan.score.distance = saved.distance;
  if constexpr (requires { plan.score.with_window(0, 0); }) {
    check(saved.window > 0, "window", saved.window, "at least 1");
    plan.score = plan.score.with_window(saved.window, saved.panes);
  }
  const ScoreMemory score = plan.score.memory();
  same("64-bit numbers of a score", saved.score.rows64, score.rows64);
  same("32-bit numbers of a score", saved.score.rows32, score.rows32);
  same("16-bit numbers of a score", saved.score.rows16, score.rows16);
  return plan;
}

/// Whoever calls decides what is written.
template <Score S>
[[nodiscard]] HeadView view_of(const EvictionHead<S>& head) noexcept {
  return HeadView(const_cast<std::byte*>(head.state_bytes().data()), layout_of(head.plan()));
}

/// The state of a head with another plan.
struct Transfer {
  std::vector<Slot> sources;       ///< [slots in use]: the slot that each token had before
  AlignedBuffer<std::byte> state;  ///< its layout is layout_of() the plan
};

/// What a head of plan `to_plan` takes over from a head of another plan of the same kind of policy.
///
/// Where tokens evict each other, it is as if the head's next selection had to shrink it: all
/// tokens stay if they fit. Otherwise sinks and a protected prompt, the recent tokens of the new
/// plan and as many pins as there is room for stay, with the tokens that score highest; of equal
/// scores the newest ones. Elsewhere all tokens have to fit: into the capacity while blocks are cut
/// to it (a policy that evicts from prompts alone, before the first generated token), else into the
/// slots.
///
/// The recent tokens are the newest ones held: where there are fewer than the plan asks for, it is
/// as if no others had come. The numbers of the scores are taken over; those of tokens that a
/// shorter distance begins to score are 0, and a window of another length continues from
/// RecentWindow::resume. (Where that window was longer, the score of a token that was recent may
/// count weights of the one that its slot held before: the lowest ones of its time.)
///
/// It allocates. O(slots log slots), and O(slots x window) for another window.
/// \throws std::invalid_argument if what must stay does not fit, naming the option; std::bad_alloc
template <Score S>
[[nodiscard]] Transfer transfer(const EvictionHead<S>& from_head, const EvictionPlan<S>& to_plan) {
  const EvictionPlan<S>& from_plan = from_head.plan();
  const HeadView from = view_of(from_head);
  const EvictionRules& rules = to_plan.rules;
  const HeadState& before = *from.head;

  std::vector<Slot> order;  // by position
  for (Slot slot = 0; slot < before.size; ++slot) {
    if (from.positions[slot] != no_position) order.push_back(slot);
  }
  std::sort(order.begin(), order.end(),
            [&](Slot a, Slot b) { return from.positions[a] < from.positions[b]; });
  const auto live = static_cast<std::uint32_t>(order.size());

  const bool is_over = rules.schedule == Schedule::after_attention && before.awaits_row != 0;
  const std::uint32_t limit = cuts_block(rules, before) && !is_over ? rules.capacity : rules.slots;
  const std::uint32_t competing = live - (std::min)(live, rules.recent);
  Transfer result;
  std::vector<Slot>& kept = result.sources;
  std::vector<Slot> others;
  for (std::uint32_t rank = 0; rank < live; ++rank) {
    const bool stays = rank >= competing || test_bit(from.permanent, order[rank]);
    (stays ? kept : others).push_back(order[rank]);
  }
  if (!rules.evicts()) {
    require(live <= limit, limit == rules.slots ? "slots of a head" : "capacity of a head", limit,
            "at least the tokens of the snapshot, " + std::to_string(live));
  } else if (kept.size() > limit) {
    require(false, "capacity of a head", rules.capacity,
            "at least the protected tokens of the snapshot, " + std::to_string(kept.size()));
  }

  std::vector<std::uint32_t> pin_ranks(before.size, BlockOutcome::no_pin);
  const auto room = limit - (std::min)(limit, static_cast<std::uint32_t>(kept.size()));
  const std::uint32_t pins =
      (std::min)({before.pins, room, pins_left(rules, before.arrived - before.pinned_at)});
  for (std::uint32_t pin = 0; pin < pins; ++pin) pin_ranks[from.pins[pin]] = pin;

  // As elsewhere, a token that has not attended scores by a row of zeros when others are ranked.
  if (live > limit) {
    EvictionHead<S> copy = from_head;
    const HeadView scored = view_of(copy);
    if (before.awaits_row != 0) skip_row(SequentialTeam{}, from_plan, scored, *scored.head);
    const std::uint32_t newest = newest_row(scored.head->rows);
    (void)from_plan.score.with_row(scored.scores, newest, [&](const auto& row) {
      const auto key_of = [&](Slot slot) {
        return std::tuple(pin_ranks[slot] != BlockOutcome::no_pin, row.value(slot),
                          from.positions[slot]);
      };
      std::ranges::nth_element(others, others.begin() + (live - limit), {}, key_of);
      return no_slot;
    });
    others.erase(others.begin(), others.begin() + (live - limit));
  }
  kept.insert(kept.end(), others.begin(), others.end());
  std::sort(kept.begin(), kept.end());

  const HeadLayout layout = layout_of(to_plan);
  result.state = AlignedBuffer<std::byte>(layout.bytes);
  const HeadView to(result.state.data(), layout);
  HeadState state = before;
  bool is_resumed = false;  // the numbers of another window do not fit
  if constexpr (requires { to_plan.score.with_window(0, 0); }) {
    is_resumed = rules.carries_scores && (to_plan.score.window != from_plan.score.window ||
                                          to_plan.score.panes != from_plan.score.panes);
  }
  HeadView committed = to;
  if (is_resumed) committed.scores.layout = {};
  EvictionRules but_recent = rules;  // those are found below
  but_recent.recent = 0;
  commit_block(
      SequentialTeam{}, but_recent,
      {.columns = {.held = before.size, .arrived = before.arrived, .first = before.newest + 1},
       .sources = kept.data(),
       .size = static_cast<std::uint32_t>(kept.size()),
       .scores = from.scores,
       .rows = before.rows,
       .pins = pins,
       .pin_ranks = pin_ranks.data()},
      from, [](std::uint32_t) { return no_slot; }, committed, state);
  state.quota = rules.quota();
  state.awaits_row = before.awaits_row;

  std::vector<Slot> by_age;  // where the tokens lie now, the newest first
  for (std::size_t rank = live; rank-- > 0;) {
    const auto at = std::lower_bound(kept.begin(), kept.end(), order[rank]);
    if (at != kept.end() && *at == order[rank]) {
      by_age.push_back(static_cast<Slot>(at - kept.begin()));
    }
  }
  const std::uint32_t recent = rules.held_recent();
  const auto held = static_cast<std::uint32_t>(by_age.size());
  if (held < recent) {  // tokens that would be recent are gone: these are all that have come
    state.arrived = held;
    state.pinned_at = held - (std::min)(held, before.arrived - before.pinned_at);
  }
  for (std::uint32_t back = 0; back < (std::min)(recent, held); ++back) {
    to.arrivals[(state.arrived - 1 - back) % (recent + 1)] = by_age[back];
    set_bit(to.protection, by_age[back]);
  }

  if (rules.carries_scores) {
    const std::uint32_t end = (std::min)(distance_of(from_plan.score), held);
    for (std::uint32_t back = distance_of(to_plan.score); back < end; ++back) {
      to_plan.score.start(to.scores, by_age[back], state.rows);
    }
  }
  if constexpr (requires { to_plan.score.with_window(0, 0); }) {
    if (is_resumed) {
      for (Slot slot = 0; slot < kept.size(); ++slot) {
        to_plan.score.resume(to.scores, slot, from_plan.score, from.scores, kept[slot],
                             before.rows);
      }
      state.rows = to_plan.score.resumed_rows(from_plan.score, before.rows);
    }
  }
  *to.head = state;
  return result;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_TRANSFER_HPP
