// SPDX-License-Identifier: Apache-2.0
/// \file
/// Two tiers of a head's slots: the first `hot` ones, where every token begins, and the cold
/// others, where a token goes before it is evicted (cf. ARKV, arXiv 2603.08727; RDKV, arXiv
/// 2605.08317).
///
/// What is evicted, and when, does not depend on the tiers. The next token always gets a hot slot:
/// if the slot that becomes free for it is cold, the hot token that ranks lowest moves there. Hot
/// tokens rank by
///
/// 1. whether they are permanent: sinks, a protected prompt,
/// 2. whether they are recent, as the policy protects them,
/// 3. their score, unless they are recent,
/// 4. their position: of equal tokens the oldest moves.
///
/// Of a block's tokens and the hot ones, those that rank highest stay hot. No token goes back.
#ifndef MORPHKV_EVICTION_TIERS_HPP
#define MORPHKV_EVICTION_TIERS_HPP

#include <algorithm>
#include <cstdint>
#include <utility>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A token changes its slot.
struct TokenMove {
  Slot from = no_slot;  ///< hot; no_slot: none moves
  Slot to = no_slot;    ///< cold
};

/// What a token ranks by among the hot ones.
template <class Value>
struct TierRank {
  bool is_permanent = false;
  bool is_recent = false;
  Value score{};
  Position position = 0;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 means a 0 that it generates itself.
  friend constexpr auto operator<=>(const TierRank&, const TierRank&) = default;
};

/// \param row of the score, in which the token has column `column`
template <class Row>
[[nodiscard]] TierRank<typename Row::Value> tier_rank(const Row& row, std::uint32_t column,
                                                      Position position, Position recent_from,
                                                      bool is_permanent) noexcept {
  const bool is_recent = position >= recent_from;
  return {is_permanent, is_recent, is_recent ? typename Row::Value{} : row.value(column), position};
}

/// The hot token that moves. O(hot). \pre each of the first `hot` slots holds a token
template <class Row>
[[nodiscard]] Slot lowest_hot(const EvictionRules& rules, const HeadView& view,
                              const HeadState& state, std::uint32_t hot, const Row& row) noexcept {
  const std::uint32_t recent = rules.held_recent();
  const std::uint32_t first = state.arrived < recent ? 0 : state.arrived - recent;
  const Position recent_from =
      recent == 0 ? state.newest + 1 : view.positions[slot_of_arrival(rules, view, first)];
  const auto rank = [&](Slot slot) {
    return tier_rank(row, slot, view.positions[slot], recent_from, test_bit(view.permanent, slot));
  };
  Slot lowest = 0;
  auto lowest_rank = rank(0);
  for (Slot slot = 1; slot < hot; ++slot) {
    const auto other = rank(slot);
    if (other >= lowest_rank) continue;
    lowest_rank = other;
    lowest = slot;
  }
  return lowest;
}

/// The token in slot `from` moves to slot `to`: a free one, or that of the victim, which then lies
/// in `from`. O(rows of the score + recent tokens + pins).
/// \pre `to` is state.size, the hole or the victim
inline void exchange_tokens(const EvictionRules& rules, const HeadView& view, Slot from, Slot to,
                            HeadState& state) noexcept {
  if (to == state.size) {
    view.positions[to] = no_position;
    ++state.size;
    state.hole = to;
  }
  std::swap(view.positions[from], view.positions[to]);
  for_each_row(view.scores, view.scores,
               [&](auto* row, const auto*) { std::swap(row[from], row[to]); });
  // No bit of a hole or a victim is set, nor of a slot that was never used.
  const auto move_bit = [&](std::uint64_t* bits) {
    set_bit(bits, to, test_bit(bits, from));
    set_bit(bits, from, false);
  };
  move_bit(view.permanent);
  move_bit(view.protection);
  if (rules.pins > 0) move_bit(view.pinned);
  std::replace(view.arrivals, view.arrivals + rules.held_recent() + 1, from, to);
  std::replace(view.pins, view.pins + state.pins, from, to);
  (state.hole == to ? state.hole : state.victim) = from;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_TIERS_HPP
