// SPDX-License-Identifier: Apache-2.0
/// \file
/// One bit per slot, in the layout that the kernels read.
#ifndef MORPHKV_CORE_BIT_MASK_HPP
#define MORPHKV_CORE_BIT_MASK_HPP

#include <cstddef>
#include <cstdint>

namespace morphkv { inline namespace v0 {

/// Whether bit `index` is set in a mask of 64-bit words, lowest bit first.
[[nodiscard]] inline bool test_bit(const std::uint64_t* words, std::size_t index) noexcept {
  return ((words[index / 64] >> (index % 64)) & 1U) != 0;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_BIT_MASK_HPP
