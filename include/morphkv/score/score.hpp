// SPDX-License-Identifier: Apache-2.0
/// \file
/// What ranks tokens: the concept that every score meets, and what its searches look at.
#ifndef MORPHKV_SCORE_SCORE_HPP
#define MORPHKV_SCORE_SCORE_HPP

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace v0 {

/// The slots among which a victim is sought: those below `slots` whose protection bit is clear.
struct Candidates {
  std::size_t slots = 0;
  const std::uint64_t* protected_bits = nullptr;
  const Position* positions = nullptr;
};

/// A score: one object a head, one number a slot, fed with the head's attention rows. The higher
/// the number, the more a token is wanted. Columns and slots are the same thing, except while a
/// prompt is judged, when there is a column for each of its tokens too.
///
/// Rows reach a score checked: every weight is from 0 to kernels::greatest_weight.
// clang-format off
template <class S>
concept Score =
    std::copyable<S> && std::totally_ordered<typename S::Value> &&
    requires(S score, const S& constant, std::span<const float> row, const Candidates& candidates,
             Slot slot, std::span<const Slot> sources, std::size_t count,
             std::span<const Position> positions, std::span<typename S::Value> values) {
      /// One token's row, shorter than the columns while slots are still free.
      /// Returns the slot with the lowest score; of equal ones that with the lowest position;
      /// no_slot if every slot is protected.
      { score.push(row, candidates) } noexcept -> std::same_as<Slot>;
      /// A token that paid no attention: time passes, and nobody is voted for.
      { score.skip() } noexcept;
      /// The slot that push would return now, with no new row.
      { constant.least(candidates) } noexcept -> std::same_as<Slot>;
      /// A new token takes this slot over.
      { score.renew(slot) } noexcept;
      /// Undoes the newest `count` tokens (a push or skip, and the renew before it).
      { score.pop(count) } noexcept;
      /// Forgets everything.
      { score.clear() } noexcept;
      /// How many of the newest rows matter; so many of a prompt's last queries vote.
      { constant.voters() } -> std::same_as<std::size_t>;
      /// The scores of the first `values.size()` columns, which hold tokens at these positions.
      { constant.values(positions, values) };
      /// The same score over `count` columns: column c is column sources[c] of this one, or empty
      /// where there is none or it is no_slot.
      { constant.remapped(sources, count) } -> std::same_as<S>;
      { constant.memory() } -> std::same_as<MemoryUsage>;
    };
// clang-format on

/// The candidate with the lowest value; of equal ones that with the lowest position; no_slot if
/// there is none. `value_at(slot)` gives the values. O(slots).
template <class ValueAt>
[[nodiscard]] Slot least_wanted(const Candidates& candidates, const ValueAt& value_at) noexcept {
  Slot found = no_slot;
  for (Slot slot = 0; slot < candidates.slots; ++slot) {
    if (test_bit(candidates.protected_bits, slot)) continue;
    if (found == no_slot || value_at(slot) < value_at(found) ||
        (value_at(slot) == value_at(found) &&
         candidates.positions[slot] < candidates.positions[found])) {
      found = slot;
    }
  }
  return found;
}

/// The candidate with exactly this value and the lowest position.
template <class Value, class ValueAt>
[[nodiscard]] Slot oldest_with(Value value, const Candidates& candidates,
                               const ValueAt& value_at) noexcept {
  Slot found = no_slot;
  for (Slot slot = 0; slot < candidates.slots; ++slot) {
    if (value_at(slot) != value || test_bit(candidates.protected_bits, slot)) continue;
    if (found == no_slot || candidates.positions[slot] < candidates.positions[found]) found = slot;
  }
  return found;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_SCORE_HPP
