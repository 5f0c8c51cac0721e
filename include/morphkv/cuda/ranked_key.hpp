// SPDX-License-Identifier: Apache-2.0
/// \file
/// Scores as unsigned integers of the same order, for a selection by digits.
#ifndef MORPHKV_CUDA_RANKED_KEY_HPP
#define MORPHKV_CUDA_RANKED_KEY_HPP

#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

using morphkv::ranked_key;
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t ranked_key(std::uint32_t score) noexcept {
  return score;
}
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint64_t ranked_key(std::uint64_t score) noexcept {
  return score;
}

/// What a pass of a selection by digits looks for: the keys that agree with `prefix` above `shift`
/// bits, 8 bits a pass, the highest first. After the last pass `prefix` is the least key that
/// stays, and `k` of its equals do.
template <class Key>
struct DigitSearch {
  Key prefix;
  int shift;
  std::uint32_t k;

  /// For the `k` highest keys. (No constructor: the search lies in shared memory.)
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr DigitSearch of(std::uint32_t k) noexcept {
    return {0, 8 * static_cast<int>(sizeof(Key)), k};
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr bool is_done() const noexcept { return shift == 0; }
  MORPHKV_HOST_DEVICE constexpr void next_digit() noexcept { shift -= 8; }
  /// Whether a key's higher digits are those found so far.
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr bool agrees(Key key) const noexcept {
    const int above = shift + 8;
    return above == 8 * static_cast<int>(sizeof(Key)) || (key >> above) == (prefix >> above);
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t digit(Key key) const noexcept {
    return static_cast<std::uint32_t>(key >> shift) & 0xffU;
  }
  /// The digit of the least key that stays, above which there are `above` keys.
  MORPHKV_HOST_DEVICE constexpr void found(std::uint32_t digit, std::uint32_t above) noexcept {
    prefix |= static_cast<Key>(digit) << shift;
    k -= above;
  }
};

/// Of keys counted in their order, how many stay: all those above the least, and of the `equals`
/// that are its equal the last `k`.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t kept_before(std::uint32_t above,
                                                                      std::uint32_t equal,
                                                                      std::uint32_t equals,
                                                                      std::uint32_t k) noexcept {
  const std::uint32_t dropped = equals - k;
  return above + (equal > dropped ? equal - dropped : 0);
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_RANKED_KEY_HPP
