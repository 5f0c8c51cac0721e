// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest keys, unsigned integers, by their digits: here on the host, and on a
/// device in cuda/top_k.cuh.
#ifndef MORPHKV_KERNELS_TOP_K_HPP
#define MORPHKV_KERNELS_TOP_K_HPP

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "morphkv/core/config.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels {

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

}}}  // namespace morphkv::v0::kernels

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {

/// Calls emit(index) for the `count` highest keys, ascending. Of equal keys the higher index (the
/// newer token) stays. Floats are ranked by their ranked_key(). It needs no memory. O(keys).
template <std::unsigned_integral Key, class Emit>
void top_k(std::span<const Key> keys, std::size_t count, const Emit& emit) {
  if (count == 0 || keys.empty()) return;
  Key all = keys[0];
  Key some = keys[0];
  for (const Key key : keys) {
    all &= key;
    some |= key;
  }
  auto search = DigitSearch<Key>::of(static_cast<std::uint32_t>(count));
  std::size_t equals = keys.size();
  while (!search.is_done() && equals > search.k) {  // else all that agree stay
    search.next_digit();
    if (search.digit(all) == search.digit(some)) {  // of all keys
      search.found(search.digit(all), 0);
      continue;
    }
    std::array<std::uint32_t, 256> bins{};
    for (const Key key : keys) bins[search.digit(key)] += search.agrees(key) ? 1U : 0U;
    std::uint32_t above = 0;
    std::uint32_t digit = 255;
    while (above + bins[digit] < search.k) above += bins[digit--];
    search.found(digit, above);
    equals = bins[digit];
  }
  std::size_t dropped = equals > search.k ? equals - search.k : 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] < search.prefix) continue;
    if (dropped > 0 && keys[i] == search.prefix) {
      --dropped;
    } else {
      emit(static_cast<std::uint32_t>(i));
    }
  }
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_TOP_K_HPP
