// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores: the lowest one, and whose it is.
///
/// All of them look at the slots whose protection bit is clear. The lowest value is the greatest
/// one of its type (infinity for floats) if there is no such slot, or if `protected_bits` is null.
/// No value may be NaN. Every instruction set gives the same result. O(slots).
#ifndef MORPHKV_KERNELS_SEARCH_HPP
#define MORPHKV_KERNELS_SEARCH_HPP

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/portable.hpp"
#include "morphkv/kernels/window_update.hpp"

#define MORPHKV_ISA portable
#include "morphkv/kernels/vector/search.hpp"
#undef MORPHKV_ISA
#define MORPHKV_LOOPS "morphkv/kernels/vector/search.hpp"
#include "morphkv/kernels/isa/for_each.hpp"

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD {

using morphkv::greatest_weight;

/// What scores are made of.
template <class V>
concept ScoreValue =
    std::same_as<V, float> || std::same_as<V, std::uint32_t> || std::same_as<V, std::uint64_t>;

/// The lowest value.
template <ScoreValue Value>
[[nodiscard]] Value lowest(const Value* values, std::size_t slots,
                           const std::uint64_t* protected_bits) noexcept {
  MORPHKV_DISPATCH(lowest(values, slots, protected_bits));
}

/// The lowest of the values max(prefix[slot], suffix[slot]).
[[nodiscard]] inline std::uint16_t lowest_max(const std::uint16_t* prefix,
                                              const std::uint16_t* suffix, std::size_t slots,
                                              const std::uint64_t* protected_bits) noexcept {
  MORPHKV_DISPATCH(lowest_max(prefix, suffix, slots, protected_bits));
}

/// The lowest of the values sums[slot] / max(step - births[slot], 1), the operands rounded to
/// double and their quotient rounded once.
[[nodiscard]] inline double lowest_mean(const std::uint64_t* sums, const std::uint32_t* births,
                                        std::uint32_t step, std::size_t slots,
                                        const std::uint64_t* protected_bits) noexcept {
  MORPHKV_DISPATCH(lowest_mean(sums, births, step, slots, protected_bits));
}

/// Of the slots whose value is `value`, the one with the lowest position; no_slot if there is none.
template <ScoreValue Value>
[[nodiscard]] Slot oldest_with(Value value, const Value* values, std::size_t slots,
                               const std::uint64_t* protected_bits,
                               const Position* positions) noexcept {
  MORPHKV_DISPATCH(oldest_with(value, values, slots, protected_bits, positions));
}

/// The same for the values of lowest_max.
[[nodiscard]] inline Slot oldest_with_max(std::uint16_t value, const std::uint16_t* prefix,
                                          const std::uint16_t* suffix, std::size_t slots,
                                          const std::uint64_t* protected_bits,
                                          const Position* positions) noexcept {
  MORPHKV_DISPATCH(oldest_with_max(value, prefix, suffix, slots, protected_bits, positions));
}

/// The same for the values of lowest_mean.
[[nodiscard]] inline Slot oldest_with_mean(double value, const std::uint64_t* sums,
                                           const std::uint32_t* births, std::uint32_t step,
                                           std::size_t slots, const std::uint64_t* protected_bits,
                                           const Position* positions) noexcept {
  MORPHKV_DISPATCH(oldest_with_mean(value, sums, births, step, slots, protected_bits, positions));
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_SEARCH_HPP
