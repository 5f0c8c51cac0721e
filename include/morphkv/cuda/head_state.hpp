// SPDX-License-Identifier: Apache-2.0
/// \file
/// What one head remembers, as bytes on the device: which token lies where, who is protected, and
/// the memory of its score.
///
/// The state of a layer is one piece of memory: the cells one after another, cell = sequence *
/// kv_heads + head, StateLayout::bytes each. Its meaning is that of SlotTable and of the scores in
/// the portable library; reset_state() is its beginning.
#ifndef MORPHKV_CUDA_HEAD_STATE_HPP
#define MORPHKV_CUDA_HEAD_STATE_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/cuda/policy.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

/// The numbers of a head. 32 bytes.
struct HeadState {
  Position newest = no_position;  ///< the greatest position that has come
  std::uint32_t size = 0;         ///< slots in use: attention runs over 0 ... size - 1
  std::uint32_t arrived = 0;      ///< tokens that have come since the sequence began
  std::uint32_t rows = 0;         ///< rows that the score has seen
  Slot victim = no_slot;          ///< to be overwritten next, if known
  Slot hole = no_slot;            ///< its token has been evicted; the next token's slot
  std::uint32_t awaits_row = 0;   ///< the newest token has not attended yet
  Status status = Status::ok;     ///< of the last step
};
static_assert(sizeof(HeadState) == 32);

/// Where the parts of a head's state lie, in bytes from its beginning; each begins on 128 bytes.
///
/// | part | elements |
/// |---|---|
/// | HeadState | 1 |
/// | positions | int32 [slots]; no_position in the hole |
/// | permanent | a bit a slot in words of 32, lowest first: sinks, a protected prompt |
/// | protected | likewise: those, and the recent tokens |
/// | arrivals | uint32 [held_recent + 1]: the slots of the newest tokens, by order of arrival |
/// | ring | window_sum: uint16 [window][stride], rows in turn. window_max: uint16 [2 B][stride] |
/// | scores | window_sum: uint32 [stride]; window_max: uint16 [2][stride]; running_sum: uint64
/// [stride]; last_row: float [stride] |
struct StateLayout {
  std::uint32_t stride = 0;  ///< columns of a row: the slots, rounded up to 64
  std::size_t positions = 0;
  std::size_t permanent = 0;
  std::size_t protection = 0;
  std::size_t arrivals = 0;
  std::size_t ring = 0;
  std::size_t scores = 0;
  std::size_t bytes = 0;  ///< of a head
};

/// Rows of the ring: those of the window, and for maxima two blocks of them; see MaxWindow.
[[nodiscard]] constexpr std::uint32_t ring_rows(const Policy& policy) noexcept {
  if (policy.score == ScoreKind::window_sum) return policy.window;
  return policy.score == ScoreKind::window_max ? (policy.window + 1) / 2 * 2 : 0;
}

/// Bytes a column of the scores.
[[nodiscard]] constexpr std::size_t score_bytes(ScoreKind kind) noexcept {
  switch (kind) {
    case ScoreKind::window_sum:
    case ScoreKind::window_max:
    case ScoreKind::last_row:
      return 4;
    case ScoreKind::running_sum:
      return 8;
    case ScoreKind::none:
    case ScoreKind::age:
      break;
  }
  return 0;
}

[[nodiscard]] constexpr StateLayout layout_of(const Policy& policy) noexcept {
  constexpr std::size_t line = 128;
  const auto after = [](std::size_t begin, std::size_t bytes) {
    return (begin + bytes + line - 1) / line * line;
  };
  StateLayout layout;
  layout.stride = (policy.slots + 63) / 64 * 64;
  const std::size_t bits = layout.stride / 8;
  layout.positions = after(0, sizeof(HeadState));
  layout.permanent = after(layout.positions, sizeof(Position) * layout.stride);
  layout.protection = after(layout.permanent, bits);
  layout.arrivals = after(layout.protection, bits);
  layout.ring = after(layout.arrivals, sizeof(Slot) * (policy.held_recent() + std::size_t{1}));
  layout.scores =
      after(layout.ring, sizeof(std::uint16_t) * layout.stride * std::size_t{ring_rows(policy)});
  layout.bytes = after(layout.scores, score_bytes(policy.score) * layout.stride);
  return layout;
}

/// Bytes of the state of `sequences` sequences of a layer; it begins on 128 bytes.
[[nodiscard]] constexpr std::size_t state_bytes(const Policy& policy, std::size_t sequences,
                                                std::size_t kv_heads) noexcept {
  return layout_of(policy).bytes * sequences * kv_heads;
}

/// The state of one head. Nothing is owned.
struct HeadView {
  HeadState* head = nullptr;
  Position* positions = nullptr;
  std::uint32_t* permanent = nullptr;
  std::uint32_t* protection = nullptr;
  Slot* arrivals = nullptr;
  std::byte* ring = nullptr;
  std::byte* scores = nullptr;
  std::uint32_t stride = 0;

  HeadView() = default;
  MORPHKV_HOST_DEVICE HeadView(void* state, const StateLayout& layout, std::size_t cell) noexcept
      : stride(layout.stride) {
    std::byte* begin = static_cast<std::byte*>(state) + cell * layout.bytes;
    head = reinterpret_cast<HeadState*>(begin);
    positions = reinterpret_cast<Position*>(begin + layout.positions);
    permanent = reinterpret_cast<std::uint32_t*>(begin + layout.permanent);
    protection = reinterpret_cast<std::uint32_t*>(begin + layout.protection);
    arrivals = reinterpret_cast<Slot*>(begin + layout.arrivals);
    ring = begin + layout.ring;
    scores = begin + layout.scores;
  }

  [[nodiscard]] MORPHKV_HOST_DEVICE bool is_protected(Slot slot) const noexcept {
    return test_bit(protection, slot);
  }

  [[nodiscard]] MORPHKV_HOST_DEVICE static bool test_bit(const std::uint32_t* words,
                                                         std::uint32_t index) noexcept {
    return ((words[index / 32] >> (index % 32)) & 1U) != 0;
  }
  MORPHKV_HOST_DEVICE static void set_bit(std::uint32_t* words, std::uint32_t index) noexcept {
    words[index / 32] |= 1U << (index % 32);
  }
  MORPHKV_HOST_DEVICE static void clear_bit(std::uint32_t* words, std::uint32_t index) noexcept {
    words[index / 32] &= ~(1U << (index % 32));
  }
};

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_HEAD_STATE_HPP
