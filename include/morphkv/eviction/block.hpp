// SPDX-License-Identifier: Apache-2.0
/// \file
/// A block of tokens that arrives together: which of its queries score, which tokens stay, and the
/// state of the head afterwards. Functions of host and device; teams are those of step.hpp.
///
/// The columns of a block are the head's slots in use, then the block's tokens.
#ifndef MORPHKV_EVICTION_BLOCK_HPP
#define MORPHKV_EVICTION_BLOCK_HPP

#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/pins.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

struct BlockColumns {
  std::uint32_t held = 0;     ///< columns that are slots
  std::uint32_t tokens = 0;   ///< of the block
  std::uint32_t arrived = 0;  ///< tokens of the sequence before the block
  Position first = 0;         ///< position of the block's first token

  [[nodiscard]] MORPHKV_HOST_DEVICE std::uint32_t size() const noexcept { return held + tokens; }
};

/// Queries of a block that score: its last ones.
template <Score S>
[[nodiscard]] MORPHKV_HOST_DEVICE std::uint32_t scoring_queries(const S& score,
                                                                std::uint32_t tokens) noexcept {
  const std::uint32_t queries = score.scoring_queries();
  return queries < tokens ? queries : tokens;
}

/// Starts the column that query `query` of a block is the first to score. `from` is the head before
/// the block, `columns` the numbers of the columns.
template <Score S>
MORPHKV_HOST_DEVICE void start_column(const EvictionPlan<S>& plan, const BlockColumns& block,
                                      const HeadView& from, const ScoreView& columns,
                                      std::uint32_t query, std::uint32_t rows) {
  const std::uint32_t distance = distance_of(plan.score);
  if (block.arrived + query < distance) return;
  const std::uint32_t column =
      query >= distance ? block.held + query - distance
                        : slot_of_arrival(plan.rules, from, block.arrived + query - distance);
  plan.score.start(columns, column, rows);
}

/// Whether no score can evict a token of a block that arrives as number `arrival`.
[[nodiscard]] MORPHKV_HOST_DEVICE inline bool is_permanent_arrival(const EvictionRules& rules,
                                                                   std::uint32_t arrival) noexcept {
  return rules.protect_prompt || arrival < rules.sinks;
}

/// Whether a block is cut to the capacity.
[[nodiscard]] MORPHKV_HOST_DEVICE inline bool cuts_block(const EvictionRules& rules,
                                                         const HeadState& state) noexcept {
  return rules.evicts() || rules.schedule == Schedule::sliding ||
         (rules.schedule == Schedule::after_prompt && state.generates == 0);
}

/// `arrived` of the head when the pins that it has after a block were given: see min_pinning_block.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint32_t pinned_at_after(
    const BlockColumns& block, const HeadState& before) noexcept {
  return block.tokens < min_pinning_block ? before.pinned_at : block.arrived + block.tokens;
}
/// Tokens that a block pins, of `candidates`, of which all but the recent ones compete for `room`
/// slots.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint32_t count_pins(const EvictionRules& rules,
                                                                  const BlockColumns& block,
                                                                  const HeadState& before,
                                                                  std::uint32_t candidates,
                                                                  std::uint32_t room) noexcept {
  if (rules.pins == 0) return 0;
  const std::uint32_t arrived = block.arrived + block.tokens;
  const std::uint32_t left = pins_left(rules, arrived - pinned_at_after(block, before));
  const std::uint32_t limit = candidates < room ? candidates : room;
  return left < limit ? left : limit;
}

/// The average or the maximum of the values around rank `centre`, `at(rank)` for ranks below
/// `count`. An average counts places beyond the ends as zeros. O(kernel).
MORPHKV_CALLS_FUNCTION
template <class At>
[[nodiscard]] MORPHKV_HOST_DEVICE double pooled(const EvictionRules& rules, std::uint32_t count,
                                                std::uint32_t centre, const At& at) noexcept {
  if (rules.pooling == Pooling::average) {
    return average_around(count, rules.pooling_kernel, centre, at);
  }
  const std::uint32_t reach = rules.pooling_kernel / 2;
  const std::uint32_t begin = centre < reach ? 0 : centre - reach;
  const std::uint32_t end = count - centre > reach ? centre + reach + 1 : count;
  double highest = at(begin);
  for (std::uint32_t rank = begin + 1; rank < end; ++rank) {
    const double value = at(rank);
    if (value > highest) highest = value;
  }
  return highest;
}

/// What a head keeps of a block's columns.
struct BlockOutcome {
  BlockColumns columns{};
  const std::uint32_t* sources = nullptr;  ///< [size]: the column of each slot; no_slot: the hole
  std::uint32_t size = 0;                  ///< slots in use after the block
  ScoreView scores{};                      ///< the numbers of the columns
  std::uint32_t rows = 0;                  ///< rows that these have seen
  std::uint32_t pins = 0;                  ///< tokens that are pinned
  /// [columns] the rank of each pinned token, from 0 for the one that is released last; `no_pin`
  /// for other tokens. Null where pins are 0.
  const std::uint32_t* pin_ranks = nullptr;

  static constexpr std::uint32_t no_pin = ~std::uint32_t{0};
};

/// Writes the state of a head after a block. All threads of a team.
/// \param from the head before the block. Its memory must not be that of `to`.
/// \param slot_of slot_of(token) is the slot of one of the block's last recent tokens
/// \param state before the block, after it on return; the caller writes it to `to`
MORPHKV_CALLS_FUNCTION
template <class Team, class SlotOf>
MORPHKV_HOST_DEVICE void commit_block(const Team& team, const EvictionRules& rules,
                                      const BlockOutcome& outcome, const HeadView& from,
                                      const SlotOf& slot_of, const HeadView& to, HeadState& state) {
  const BlockColumns& block = outcome.columns;
  const auto begin = team.begin();
  const auto end = team.end(outcome.size);
  Slot hole = no_slot;
  for (Slot slot = begin; slot < end; slot += team.stride()) {
    const std::uint32_t column = outcome.sources[slot];
    if (column == no_slot) {
      to.positions[slot] = no_position;
      hole = slot;
    } else {
      to.positions[slot] = column < block.held
                               ? from.positions[column]
                               : block.first + static_cast<Position>(column - block.held);
    }
  }
  for_each_row(to.scores, outcome.scores, [&](auto* row, const auto* columns) {
    for (Slot slot = begin; slot < end; slot += team.stride()) {
      const std::uint32_t column = outcome.sources[slot];
      row[slot] = 0;
      if (column != no_slot) row[slot] = columns[column];
    }
  });
  const std::uint32_t words = (outcome.size + 63) / 64;
  for (std::uint32_t word = begin; word < words; word += team.stride()) {
    std::uint64_t permanent = 0;
    std::uint64_t pinned = 0;
    for (std::uint32_t bit = 0; bit < 64 && 64 * word + bit < outcome.size; ++bit) {
      const std::uint32_t column = outcome.sources[64 * word + bit];
      if (column == no_slot) continue;
      const bool stays = column < block.held
                             ? test_bit(from.permanent, column)
                             : is_permanent_arrival(rules, block.arrived + column - block.held);
      if (stays) permanent |= std::uint64_t{1} << bit;
      if (outcome.pins == 0 || outcome.pin_ranks[column] == BlockOutcome::no_pin) continue;
      pinned |= std::uint64_t{1} << bit;
      to.pins[outcome.pin_ranks[column]] = 64 * word + bit;
    }
    to.permanent[word] = permanent;
    to.protection[word] = permanent | pinned;
    if (rules.pins > 0) to.pinned[word] = pinned;
  }
  hole = team.least(hole);  // and the words are written
  // Where there is a hole, more tokens than the recent ones are left.
  const std::uint32_t recent =
      rules.held_recent() < outcome.size ? rules.held_recent() : outcome.size;
  const std::uint32_t arrived = block.arrived + block.tokens;
  for (std::uint32_t back = 0; team.is_leader() && back < recent; ++back) {
    const std::uint32_t arrival = arrived - 1 - back;
    const Slot slot = back < block.tokens ? slot_of(block.tokens - 1 - back)
                                          : slot_of_arrival(rules, from, arrival);
    to.arrivals[arrival % (rules.held_recent() + 1)] = slot;
    set_bit(to.protection, slot);
  }
  state.pins = outcome.pins;
  state.pinned_at = pinned_at_after(block, state);
  state.newest = block.first + static_cast<Position>(block.tokens) - 1;
  state.size = outcome.size;
  state.arrived = arrived;
  state.rows = outcome.rows;
  state.victim = no_slot;
  state.hole = hole;
  state.awaits_row = 0;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_BLOCK_HPP
