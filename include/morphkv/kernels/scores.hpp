// SPDX-License-Identifier: Apache-2.0
/// \file
/// Passes over the scores of a head's slots: updates by one attention row, which also find the
/// lowest score, and searches: for the lowest one, and whose it is. And whether a row is valid.
///
/// An update takes a row of weights from 0 to kernels::max_weight, one per slot, and returns the
/// lowest score among the slots whose protection bit is clear. Weights are rounded to binary16, to
/// nearest, ties to even, where a function says so. The lowest score is the greatest value of its
/// type (infinity for floats) if there is no such slot, and where `protected_bits` is null. No
/// score may be NaN. Every instruction set gives the same bits. O(slots); no memory but the
/// arguments'.
#ifndef MORPHKV_KERNELS_SCORES_HPP
#define MORPHKV_KERNELS_SCORES_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/portable.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels {

/// Rows of binary16 patterns that slide_max works on, one number per slot; null where a row of
/// weights does not touch one. RecentWindow says what they are.
struct MaxWindowRows {
  std::uint16_t* newest = nullptr;             ///< max(newest, row), or row where a pane opens
  std::uint16_t* prefix = nullptr;             ///< max(prefix, row), or row where a block opens
  const std::uint16_t* middle = nullptr;       ///< read only
  const std::uint16_t* old = nullptr;          ///< read only
  std::uint16_t* suffix = nullptr;             ///< max(suffix, next_suffix)
  const std::uint16_t* next_suffix = nullptr;  ///< read only
  bool opens_pane = false;
  bool opens_block = false;
};

// What is searched, where it is not a row of numbers.

/// sums[slot] / max(step - births[slot], 1), the operands rounded to double and their quotient
/// rounded once.
struct Means {
  using Value = double;
  const std::uint64_t* sums;
  const std::uint32_t* births;
  std::uint32_t step;
};
/// The maxima of three rows of binary16 patterns.
struct Maxima {
  using Value = std::uint16_t;
  const std::uint16_t* a;
  const std::uint16_t* b;
  const std::uint16_t* c;
};
/// random_draw(positions[slot], key).
struct Draws {
  using Value = std::uint32_t;
  const Position* positions;
  std::uint32_t key;
};

namespace detail {
template <class Values>
struct ValueOf : Values {};
template <class V>
struct ValueOf<const V*> {
  using Value = V;
};
}  // namespace detail
template <class Values>
using ValueOf = typename detail::ValueOf<Values>::Value;

}}}  // namespace morphkv::v0::kernels

#ifndef MORPHKV_KERNELS_ELSEWHERE
#define MORPHKV_ISA portable
#include "morphkv/kernels/vector/scores.hpp"
#undef MORPHKV_ISA
#endif
#define MORPHKV_LOOPS "morphkv/kernels/vector/scores.hpp"
#include "morphkv/kernels/isa/for_each.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {

using morphkv::max_weight;

/// sums += half(row) - oldest, in units of 2^-24; then oldest = half(row).
template <class = void>
std::uint32_t slide_sum(std::span<const float> row, const std::uint64_t* protected_bits,
                        std::uint16_t* oldest, std::uint32_t* sums) noexcept
    MORPHKV_KERNEL_BODY(slide_sum(row, protected_bits, oldest, sums));

/// pane += half(row) and sums += half(row), in units of 2^-24.
template <class = void>
std::uint32_t add_to_pane(std::span<const float> row, const std::uint64_t* protected_bits,
                          std::uint32_t* pane, std::uint32_t* sums) noexcept
    MORPHKV_KERNEL_BODY(add_to_pane(row, protected_bits, pane, sums));

/// The window of maxima takes a row: see MaxWindowRows. The score is the maximum of prefix,
/// middle and old.
template <class = void>
std::uint16_t slide_max(std::span<const float> row, const std::uint64_t* protected_bits,
                        const MaxWindowRows& rows) noexcept
    MORPHKV_KERNEL_BODY(slide_max(row, protected_bits, rows));

/// scores = row.
template <class = void>
float replace_row(std::span<const float> row, const std::uint64_t* protected_bits,
                  float* scores) noexcept
    MORPHKV_KERNEL_BODY(replace_row(row, protected_bits, scores));

/// scores = max(decay * scores, row). Scores and decay are not negative.
template <class = void>
float decay_max(std::span<const float> row, const std::uint64_t* protected_bits, float decay,
                float* scores) noexcept
    MORPHKV_KERNEL_BODY(decay_max(row, protected_bits, decay, scores));

/// sums = min(sums + row, max_units), in units of 2^-40, each rounded half up.
template <class = void>
std::uint64_t add_row(std::span<const float> row, const std::uint64_t* protected_bits,
                      std::uint64_t* sums) noexcept
    MORPHKV_KERNEL_BODY(add_row(row, protected_bits, sums));

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
template <class = void>
[[nodiscard]] bool is_valid_row(const float* row, std::size_t slots) noexcept
    MORPHKV_KERNEL_BODY(is_valid_row(row, slots));

/// The lowest of the candidates' values: those of a row of float, uint32 or uint64,
template <class Value>
[[nodiscard]] Value lowest(const Value* values, const Candidates& c) noexcept
    MORPHKV_KERNEL_BODY(lowest(values, c));
/// or of Means, Maxima or Draws.
template <class Values>
[[nodiscard]] typename Values::Value lowest(const Values& values, const Candidates& c) noexcept
    MORPHKV_KERNEL_BODY(lowest(values, c));

/// Of the candidates whose value is `value`, the one with the lowest position; no_slot if there is
/// none.
template <class Value>
[[nodiscard]] Slot oldest_with(std::type_identity_t<Value> value, const Value* values,
                               const Candidates& c) noexcept
    MORPHKV_KERNEL_BODY(oldest_with(value, values, c));
template <class Values>
[[nodiscard]] Slot oldest_with(typename Values::Value value, const Values& values,
                               const Candidates& c) noexcept
    MORPHKV_KERNEL_BODY(oldest_with(value, values, c));

#ifdef MORPHKV_KERNEL_INSTANCE
MORPHKV_KERNEL_INSTANCE std::uint32_t slide_sum<>(std::span<const float>, const std::uint64_t*,
                                                  std::uint16_t*, std::uint32_t*) noexcept;
MORPHKV_KERNEL_INSTANCE std::uint32_t add_to_pane<>(std::span<const float>, const std::uint64_t*,
                                                    std::uint32_t*, std::uint32_t*) noexcept;
MORPHKV_KERNEL_INSTANCE std::uint16_t slide_max<>(std::span<const float>, const std::uint64_t*,
                                                  const MaxWindowRows&) noexcept;
MORPHKV_KERNEL_INSTANCE float replace_row<>(std::span<const float>, const std::uint64_t*,
                                            float*) noexcept;
MORPHKV_KERNEL_INSTANCE float decay_max<>(std::span<const float>, const std::uint64_t*, float,
                                          float*) noexcept;
MORPHKV_KERNEL_INSTANCE std::uint64_t add_row<>(std::span<const float>, const std::uint64_t*,
                                                std::uint64_t*) noexcept;
MORPHKV_KERNEL_INSTANCE bool is_valid_row<>(const float*, std::size_t) noexcept;
MORPHKV_KERNEL_INSTANCE float lowest(const float*, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE std::uint32_t lowest(const std::uint32_t*, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE std::uint64_t lowest(const std::uint64_t*, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Means::Value lowest(const Means&, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Maxima::Value lowest(const Maxima&, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Draws::Value lowest(const Draws&, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Slot oldest_with(float, const float*, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Slot oldest_with(std::uint32_t, const std::uint32_t*,
                                         const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Slot oldest_with(std::uint64_t, const std::uint64_t*,
                                         const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Slot oldest_with(Means::Value, const Means&, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Slot oldest_with(Maxima::Value, const Maxima&, const Candidates&) noexcept;
MORPHKV_KERNEL_INSTANCE Slot oldest_with(Draws::Value, const Draws&, const Candidates&) noexcept;
#endif

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_SCORES_HPP
