// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which token lies in which slot: SlotTable of the portable library, on the state of a head.
///
/// A HeadState is passed by reference and changed in every thread's own copy, so that all of a
/// team know it; the memory of the head is written by the leader alone.
#ifndef MORPHKV_CUDA_HEAD_TABLE_HPP
#define MORPHKV_CUDA_HEAD_TABLE_HPP

#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/cuda/head_state.hpp"
#include "morphkv/cuda/policy.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

[[nodiscard]] MORPHKV_HOST_DEVICE inline bool has_free_slot(const Policy& policy,
                                                            const HeadState& state) noexcept {
  return state.hole != no_slot || state.size < policy.slots;
}

/// The hole, or a slot that was never used. \pre has_free_slot()
[[nodiscard]] MORPHKV_HOST_DEVICE inline Slot free_slot(const HeadState& state) noexcept {
  return state.hole != no_slot ? state.hole : state.size;
}

/// Whether a slot in use is not protected. O(slots / 32), in every thread.
[[nodiscard]] MORPHKV_HOST_DEVICE inline bool has_candidate(const HeadView& view,
                                                            std::uint32_t size) noexcept {
  for (std::uint32_t word = 0; word < size / 32; ++word) {
    if (view.protection[word] != ~0U) return true;
  }
  const std::uint32_t rest = (1U << (size % 32)) - 1;
  return rest != 0 && (view.protection[size / 32] & rest) != rest;
}

/// The arriving token is protected; the one that is no longer recent is not, unless it is
/// permanent. By the leader.
MORPHKV_HOST_DEVICE inline void protect_arrival(const Policy& policy, const HeadView& view,
                                                std::uint32_t arrived, Slot slot) noexcept {
  const std::uint32_t recent = policy.held_recent();
  view.arrivals[arrived % (recent + 1)] = slot;
  if (arrived < policy.sinks) HeadView::set_bit(view.permanent, slot);
  if (recent > 0 || arrived < policy.sinks) HeadView::set_bit(view.protection, slot);
  if (recent == 0 || arrived < recent) return;
  const Slot left_behind = view.arrivals[(arrived - recent) % (recent + 1)];
  if (!HeadView::test_bit(view.permanent, left_behind)) {
    HeadView::clear_bit(view.protection, left_behind);
  }
}

/// Puts the next token into a free slot or over a victim.
/// \return the position that lay there, in the leader; no_position in other threads
MORPHKV_HOST_DEVICE inline Position place_token(const Policy& policy, const HeadView& view,
                                                bool leader, Slot slot, Position position,
                                                HeadState& state) noexcept {
  const bool grows = slot == state.size;
  Position before = no_position;
  if (leader) {
    if (!grows) before = view.positions[slot];
    view.positions[slot] = position;
    protect_arrival(policy, view, state.arrived, slot);
  }
  if (grows) ++state.size;
  if (slot == state.hole) state.hole = no_slot;
  state.newest = position;
  ++state.arrived;
  state.awaits_row = policy.evicts() ? 1 : 0;
  state.victim = no_slot;
  return before;
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_HEAD_TABLE_HPP
