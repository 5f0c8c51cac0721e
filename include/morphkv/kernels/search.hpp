// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores: who has the least.
#ifndef MORPHKV_KERNELS_SEARCH_HPP
#define MORPHKV_KERNELS_SEARCH_HPP

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/types.hpp"
#include "morphkv/kernels/avx2/search.hpp"
#include "morphkv/kernels/avx512/search.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/neon/search.hpp"
#include "morphkv/kernels/portable/search.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {

/// Of the slots whose protection bit is clear and whose value is `value`, the one with the lowest
/// position; no_slot if there is none. O(slots).
template <class Value>
[[nodiscard]] Slot oldest_with(Value value, const Value* values, std::size_t slots,
                               const std::uint64_t* protected_bits,
                               const Position* positions) noexcept {
  if constexpr (std::same_as<Value, std::uint32_t> || std::same_as<Value, float>) {
    MORPHKV_DISPATCH(oldest_with(value, values, slots, protected_bits, positions));
  } else {
    return portable::oldest_with(value, values, slots, protected_bits, positions);
  }
}

/// The same for the values max(prefix[slot], suffix[slot]).
[[nodiscard]] inline Slot oldest_with_max(std::uint16_t value, const std::uint16_t* prefix,
                                          const std::uint16_t* suffix, std::size_t slots,
                                          const std::uint64_t* protected_bits,
                                          const Position* positions) noexcept {
  MORPHKV_DISPATCH(oldest_with_max(value, prefix, suffix, slots, protected_bits, positions));
}

}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD

#endif  // MORPHKV_KERNELS_SEARCH_HPP
