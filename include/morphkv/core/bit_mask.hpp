// SPDX-License-Identifier: Apache-2.0
/// \file
/// One bit per slot, in the layout that the kernels read, and the slots that such bits leave.
#ifndef MORPHKV_CORE_BIT_MASK_HPP
#define MORPHKV_CORE_BIT_MASK_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Whether bit `index` is set in a mask of 64-bit words, lowest bit first.
[[nodiscard]] MORPHKV_HOST_DEVICE inline bool test_bit(const std::uint64_t* words,
                                                       std::size_t index) noexcept {
  return ((words[index / 64] >> (index % 64)) & 1U) != 0;
}

MORPHKV_HOST_DEVICE inline void set_bit(std::uint64_t* words, std::size_t index,
                                        bool value = true) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << (index % 64);
  words[index / 64] = value ? words[index / 64] | bit : words[index / 64] & ~bit;
}

/// The slots among which a victim is searched: those below `slots` whose protection bit is clear;
/// none where there are no bits.
struct Candidates {
  std::size_t slots = 0;
  const std::uint64_t* protected_bits = nullptr;
  const Position* positions = nullptr;

  [[nodiscard]] MORPHKV_HOST_DEVICE bool contain(Slot slot) const noexcept {
    return protected_bits != nullptr && slot < slots && !test_bit(protected_bits, slot);
  }
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_BIT_MASK_HPP
