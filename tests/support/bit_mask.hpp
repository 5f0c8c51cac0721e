// SPDX-License-Identifier: Apache-2.0
/// \file
/// One bit per slot, to be protected in a test.
#ifndef MORPHKV_TESTS_SUPPORT_BIT_MASK_HPP
#define MORPHKV_TESTS_SUPPORT_BIT_MASK_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/bit_mask.hpp"

namespace morphkv::testing {

/// A fixed number of bits, all clear at first, in whole 64-byte lines of words.
class BitMask {
 public:
  explicit BitMask(std::size_t bits) : words_(aligned_stride<std::uint64_t>((bits + 63) / 64)) {}

  [[nodiscard]] bool test(std::size_t index) const { return test_bit(data(), index); }
  void set(std::size_t index) { words_[index / 64] |= bit(index); }
  void clear(std::size_t index) { words_[index / 64] &= ~bit(index); }
  void clear() { std::fill_n(words_.data(), words_.size(), std::uint64_t{0}); }
  [[nodiscard]] const std::uint64_t* data() const { return words_.data(); }

 private:
  [[nodiscard]] static std::uint64_t bit(std::size_t index) {
    return std::uint64_t{1} << (index % 64);
  }

  AlignedBuffer<std::uint64_t> words_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_BIT_MASK_HPP
