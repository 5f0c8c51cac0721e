// SPDX-License-Identifier: Apache-2.0
/// \file
/// One bit a slot, in the layout that the kernels read.
#ifndef MORPHKV_CORE_BIT_MASK_HPP
#define MORPHKV_CORE_BIT_MASK_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/aligned_buffer.hpp"

namespace morphkv { inline namespace v0 {

/// Whether bit `index` is set in a mask of 64-bit words, lowest bit first.
[[nodiscard]] inline bool test_bit(const std::uint64_t* words, std::size_t index) noexcept {
  return ((words[index / 64] >> (index % 64)) & 1U) != 0;
}

/// A fixed number of bits, all clear at first.
class BitMask {
 public:
  BitMask() = default;
  explicit BitMask(std::size_t bits) : words_(aligned_stride<std::uint64_t>((bits + 63) / 64)) {}

  [[nodiscard]] bool test(std::size_t index) const noexcept { return test_bit(data(), index); }
  void set(std::size_t index) noexcept { words_[index / 64] |= bit(index); }
  void clear(std::size_t index) noexcept { words_[index / 64] &= ~bit(index); }
  void clear() noexcept { std::fill_n(words_.data(), words_.size(), std::uint64_t{0}); }
  /// How many bits are set.
  [[nodiscard]] std::size_t count() const noexcept {
    std::size_t total = 0;
    for (const std::uint64_t word : words_.span()) {
      total += static_cast<std::size_t>(std::popcount(word));
    }
    return total;
  }
  void assign(const BitMask& other) noexcept {
    std::copy_n(other.words_.data(), words_.size(), words_.data());
  }

  /// Whole 64-byte lines of words; bits past the size are clear.
  [[nodiscard]] const std::uint64_t* data() const noexcept { return words_.data(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return words_.bytes(); }

 private:
  [[nodiscard]] static constexpr std::uint64_t bit(std::size_t index) noexcept {
    return std::uint64_t{1} << (index % 64);
  }

  AlignedBuffer<std::uint64_t> words_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_BIT_MASK_HPP
