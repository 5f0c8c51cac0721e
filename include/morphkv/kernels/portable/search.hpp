// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores in standard C++: the reference for the vector versions, which leave
/// it the slots from `begin` on that do not fill a vector.
#ifndef MORPHKV_KERNELS_PORTABLE_SEARCH_HPP
#define MORPHKV_KERNELS_PORTABLE_SEARCH_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv { inline namespace v0 { namespace kernels {

using morphkv::greatest_weight;

}}}  // namespace morphkv::v0::kernels

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace portable {

/// Whether every weight is a number from 0 to greatest_weight. Minus zero is none: its pattern
/// would rank above all others.
[[nodiscard]] inline bool is_valid_row(const float* row, std::size_t slots,
                                       std::size_t begin = 0) noexcept {
  bool valid = true;
  for (std::size_t s = begin; s < slots; ++s) {
    valid &= !std::signbit(row[s]) && row[s] <= greatest_weight;  // false for NaN
  }
  return valid;
}

/// `slot`, if its token is older than the one found so far.
[[nodiscard]] inline Slot older(Slot found, Slot slot, const Position* positions) noexcept {
  return found == no_slot || positions[slot] < positions[found] ? slot : found;
}

/// See kernels::oldest_with. `found` is the oldest before slot `begin`. Not inlined, or GCC 12
/// warns of a loop that never runs where the number of slots is a constant.
template <class Value>
[[nodiscard, gnu::noinline]] Slot oldest_with(Value value, const Value* values, std::size_t slots,
                                              const std::uint64_t* protected_bits,
                                              const Position* positions, std::size_t begin = 0,
                                              Slot found = no_slot) noexcept {
  for (std::size_t s = begin; s < slots; ++s) {
    if (values[s] != value || test_bit(protected_bits, s)) continue;
    found = older(found, static_cast<Slot>(s), positions);
  }
  return found;
}

/// See kernels::oldest_with_max.
[[nodiscard, gnu::noinline]] inline Slot oldest_with_max(
    std::uint16_t value, const std::uint16_t* prefix, const std::uint16_t* suffix,
    std::size_t slots, const std::uint64_t* protected_bits, const Position* positions,
    std::size_t begin = 0, Slot found = no_slot) noexcept {
  for (std::size_t s = begin; s < slots; ++s) {
    if ((std::max)(prefix[s], suffix[s]) != value || test_bit(protected_bits, s)) continue;
    found = older(found, static_cast<Slot>(s), positions);
  }
  return found;
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_SEARCH_HPP
