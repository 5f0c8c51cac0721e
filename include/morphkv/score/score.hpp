// SPDX-License-Identifier: Apache-2.0
/// \file
/// What ranks tokens: the concept that every score meets, and the plain memory that it works on.
///
/// A score is a small struct of parameters. Its numbers lie in plain memory, one column per slot,
/// so that the same functions run on the host and on a device, and so that a head's state can be
/// copied, saved and moved as bytes.
#ifndef MORPHKV_SCORE_SCORE_HPP
#define MORPHKV_SCORE_SCORE_HPP

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The numbers that a score keeps per slot, by width.
struct ScoreMemory {
  std::uint32_t rows64 = 0;
  std::uint32_t rows32 = 0;
  std::uint32_t rows16 = 0;

  /// Bytes for `stride` slots.
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::size_t bytes(std::size_t stride) const noexcept {
    return stride * (8 * std::size_t{rows64} + 4 * std::size_t{rows32} + 2 * std::size_t{rows16});
  }
};

/// Slots rounded up to 16 bytes of the narrowest number: more would cost small heads slots.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t score_stride(std::size_t slots) noexcept {
  return static_cast<std::uint32_t>((slots + 7) / 8 * 8);
}

/// The memory of one head's score: rows of `stride` numbers, the widest first. Nothing is owned.
struct ScoreView {
  std::byte* memory = nullptr;
  ScoreMemory layout{};
  std::uint32_t stride = 0;
  const Position* positions = nullptr;  ///< [slots]

  [[nodiscard]] MORPHKV_HOST_DEVICE std::uint64_t* row64(std::size_t index) const noexcept {
    return reinterpret_cast<std::uint64_t*>(memory) + index * stride;
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE std::uint32_t* row32(std::size_t index) const noexcept {
    return reinterpret_cast<std::uint32_t*>(row64(layout.rows64)) + index * stride;
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE float* row_float(std::size_t index) const noexcept {
    return reinterpret_cast<float*>(row32(index));
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE std::uint16_t* row16(std::size_t index) const noexcept {
    return reinterpret_cast<std::uint16_t*>(row32(layout.rows32)) + index * stride;
  }
};

/// Calls function(row, row of `from`) for every row of numbers of `view`, which `from` has too.
MORPHKV_CALLS_FUNCTION
template <class Function>
MORPHKV_HOST_DEVICE void for_each_row(const ScoreView& view, const ScoreView& from,
                                      const Function& function) {
  for (std::uint32_t r = 0; r < view.layout.rows64; ++r) function(view.row64(r), from.row64(r));
  for (std::uint32_t r = 0; r < view.layout.rows32; ++r) function(view.row32(r), from.row32(r));
  for (std::uint32_t r = 0; r < view.layout.rows16; ++r) function(view.row16(r), from.row16(r));
}

/// An unsigned integer that orders as the number does. The two zeros are one. No NaN.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint32_t ranked_key(float score) noexcept {
  auto bits = __builtin_bit_cast(std::uint32_t, score);
  if (bits == 0x80000000U) bits = 0;
  return (bits >> 31U) != 0 ? ~bits : bits | 0x80000000U;
}

/// The number behind ranked_key().
[[nodiscard]] MORPHKV_HOST_DEVICE inline float from_ranked_key(std::uint32_t key) noexcept {
  return __builtin_bit_cast(float, (key >> 31U) != 0 ? key & 0x7fffffffU : ~key);
}

/// An unsigned integer that orders as a non-negative double does: its pattern.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint64_t double_key(double number) noexcept {
  return __builtin_bit_cast(std::uint64_t, number);
}
[[nodiscard]] MORPHKV_HOST_DEVICE inline double from_double_key(std::uint64_t key) noexcept {
  return __builtin_bit_cast(double, key);
}

/// One attention row passes over the slots: what a score does with each. `push` takes the weight of
/// a slot, from 0 to max_weight, and returns its new score; `value` returns the score again.
/// `fetch` only reads, so that a device thread can have the reads of several slots under way before
/// its first write. The functions of different slots are independent of each other.
template <class R>
concept ScoreRow = std::unsigned_integral<typename R::Value> &&
    requires(const R& row, Slot slot, float weight) {
  { row.push(slot, weight, row.fetch(slot)) } -> std::same_as<typename R::Value>;
  { row.value(slot) } -> std::same_as<typename R::Value>;
};

namespace detail {
struct AcceptRow {
  MORPHKV_HOST_DEVICE Slot operator()(const ScoreRow auto&) const { return no_slot; }
};
}  // namespace detail

/// A score: plain parameters of host and device. The higher a value, the longer its token stays.
///
/// A ScoreRow may also have `Slot push_row(std::span<const float>, const Candidates&) const`, the
/// vectorised form of a whole row on the host. It must give the bits that `push` gives. It returns
/// the candidate with the lowest score; of equal scores the one with the lowest position; no_slot
/// if every slot is protected. `Slot lowest(const Candidates&) const` is the search alone.
// clang-format off
template <class S>
concept Score =
    std::is_trivially_copyable_v<S> && std::unsigned_integral<typename S::Value> &&
    requires(const S& score, const ScoreView& view, std::uint32_t rows, Slot slot) {
      { score.memory() } -> std::same_as<ScoreMemory>;
      /// The number behind a value: comparable between heads, and with the means of several.
      { score.number(typename S::Value{}) } -> std::same_as<double>;
      /// How many of a block's last queries score its tokens.
      { score.scoring_queries() } -> std::same_as<std::uint32_t>;
      /// Calls function(row) with the ScoreRow of row number `rows`, counted from 0.
      { score.with_row(view, rows, detail::AcceptRow{}) } -> std::same_as<Slot>;
      /// The token in `slot` is scored from row number `rows` on; what the slot held is void.
      { score.start(view, slot, rows) };
    };
// clang-format on

/// The number of the newest of `rows` rows, by which with_row() reads scores; 0 if there is none.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t newest_row(std::uint32_t rows) noexcept {
  return rows == 0 ? 0 : rows - 1;
}

/// Tokens between a token and the first query that scores it; 0 unless a score says otherwise.
template <class S>
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t distance_of(const S& score) noexcept {
  if constexpr (requires { score.distance; }) {
    return score.distance;
  } else {
    return 0;
  }
}

/// Calls function(row) with the ScoreRow of a block's query: score.with_block_row, where a score
/// treats the rows of blocks in another way, or score.with_row.
MORPHKV_CALLS_FUNCTION
template <class S, class Function>
MORPHKV_HOST_DEVICE auto with_block_row(const S& score, const ScoreView& view, std::uint32_t rows,
                                        const Function& function) {
  if constexpr (requires { score.with_block_row(view, rows, function); }) {
    return score.with_block_row(view, rows, function);
  } else {
    return score.with_row(view, rows, function);
  }
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_SCORE_HPP
