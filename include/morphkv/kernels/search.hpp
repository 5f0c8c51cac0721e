// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores: the lowest one, and whose it is; and whether a row is valid.
///
/// All searches look at the slots whose protection bit is clear. The lowest value is the greatest
/// one of its type (infinity for floats) if there is no such slot, or if `protected_bits` is null.
/// No value may be NaN. Every instruction set gives the same result. O(slots).
#ifndef MORPHKV_KERNELS_SEARCH_HPP
#define MORPHKV_KERNELS_SEARCH_HPP

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/portable.hpp"
#include "morphkv/kernels/window_update.hpp"

namespace morphkv { inline namespace v0 { namespace kernels {

// What is searched, where it is not a row of values: one number per slot of each of these.
struct Means {
  const std::uint64_t* sums;
  const std::uint32_t* births;
  std::uint32_t step;
};
using MaximaOf = std::array<const std::uint16_t*, 3>;
struct Draws {
  const std::uint32_t* positions;
  std::uint32_t key;
};

}}}  // namespace morphkv::v0::kernels

#define MORPHKV_ISA portable
#include "morphkv/kernels/vector/search.hpp"
#undef MORPHKV_ISA
#define MORPHKV_LOOPS "morphkv/kernels/vector/search.hpp"
#include "morphkv/kernels/isa/for_each.hpp"

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD {

using morphkv::max_weight;

/// A bijection of 32 bits without visible structure: two rounds of multiply and shift, with the
/// constants of Wellons, "hash-prospector" (2018), lowbias32.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t random_mix(std::uint32_t x) noexcept {
  x = (x ^ (x >> 16U)) * 0x7feb352dU;
  x = (x ^ (x >> 15U)) * 0x846ca68bU;
  return x ^ (x >> 16U);
}
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t random_draw(Position position,
                                                                      std::uint32_t key) noexcept {
  return random_mix(static_cast<std::uint32_t>(position) ^ key);
}

/// Whether every weight of a row is a number from 0 to max_weight: false for NaN and for minus
/// zero, whose pattern would rank above all others.
[[nodiscard]] inline bool is_valid_row(const float* row, std::size_t slots) noexcept {
  MORPHKV_DISPATCH(is_valid_row(row, slots));
}

/// What scores are made of.
template <class V>
concept ScoreValue =
    std::same_as<V, float> || std::same_as<V, std::uint32_t> || std::same_as<V, std::uint64_t>;

/// The lowest value.
template <ScoreValue Value>
[[nodiscard]] Value lowest(const Value* values, std::size_t slots,
                           const std::uint64_t* protected_bits) noexcept {
  MORPHKV_DISPATCH(lowest<Value>(values, slots, protected_bits));
}

/// The lowest of the values sums[slot] / max(step - births[slot], 1), the operands rounded to
/// double and their quotient rounded once.
[[nodiscard]] inline double lowest_mean(const std::uint64_t* sums, const std::uint32_t* births,
                                        std::uint32_t step, std::size_t slots,
                                        const std::uint64_t* protected_bits) noexcept {
  const Means means{sums, births, step};
  MORPHKV_DISPATCH(lowest<double>(means, slots, protected_bits));
}

/// Of the slots whose value is `value`, the one with the lowest position; no_slot if there is none.
template <ScoreValue Value>
[[nodiscard]] Slot oldest_with(Value value, const Value* values, std::size_t slots,
                               const std::uint64_t* protected_bits,
                               const Position* positions) noexcept {
  MORPHKV_DISPATCH(oldest_with(value, values, slots, protected_bits, positions));
}

/// The same for the maxima of three rows of binary16 patterns.
[[nodiscard]] inline Slot oldest_with_max(std::uint16_t value, const MaximaOf& rows,
                                          std::size_t slots, const std::uint64_t* protected_bits,
                                          const Position* positions) noexcept {
  MORPHKV_DISPATCH(oldest_with(value, rows, slots, protected_bits, positions));
}

/// The slot with the lowest random_draw(position, key), of equal ones the oldest; no_slot if there
/// is none. Two passes.
[[nodiscard]] inline Slot lowest_draw_slot(const Position* positions, std::uint32_t key,
                                           std::size_t slots,
                                           const std::uint64_t* protected_bits) noexcept {
  const Draws draws{reinterpret_cast<const std::uint32_t*>(positions), key};
  const auto lowest_draw = [&]() noexcept -> std::uint32_t {
    MORPHKV_DISPATCH(lowest<std::uint32_t>(draws, slots, protected_bits));
  };
  const std::uint32_t draw = lowest_draw();
  MORPHKV_DISPATCH(oldest_with(draw, draws, slots, protected_bits, positions));
}

/// The same for the values of lowest_mean.
[[nodiscard]] inline Slot oldest_with_mean(double value, const std::uint64_t* sums,
                                           const std::uint32_t* births, std::uint32_t step,
                                           std::size_t slots, const std::uint64_t* protected_bits,
                                           const Position* positions) noexcept {
  const Means means{sums, births, step};
  MORPHKV_DISPATCH(oldest_with(value, means, slots, protected_bits, positions));
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_SEARCH_HPP
