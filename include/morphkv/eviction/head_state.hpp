// SPDX-License-Identifier: Apache-2.0
/// \file
/// What one head remembers, as plain bytes of host or device: which token is in which slot, which
/// tokens are protected, and the numbers of its score. A head's state holds no pointer, so that it
/// can be copied, saved and moved.
#ifndef MORPHKV_EVICTION_HEAD_STATE_HPP
#define MORPHKV_EVICTION_HEAD_STATE_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

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

/// The layout of a head under these rules. A head that never evicts has no numbers of a score.
[[nodiscard]] constexpr HeadLayout layout_of(const EvictionRules& rules,
                                             const ScoreMemory& score) noexcept {
  constexpr std::size_t line = 64;
  const auto on_line = [](std::size_t bytes) { return (bytes + line - 1) / line * line; };
  HeadLayout layout;
  layout.stride = score_stride(rules.slots);
  layout.arrivals_size = rules.held_recent() + 1;
  if (rules.evicts()) layout.score = score;
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

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_HEAD_STATE_HPP
