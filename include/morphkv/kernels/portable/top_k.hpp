// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest scores in standard C++, and the way that all versions go.
///
/// Scores become unsigned keys of the same order. A sample brackets the k-th highest key; one pass
/// counts the keys above the bracket and collects those inside it, few, among which the k-th is
/// found by the same means and then by bisection; a last pass emits the indices in their order. Two
/// passes over the scores, and nothing is ever sorted.
#ifndef MORPHKV_KERNELS_PORTABLE_TOP_K_HPP
#define MORPHKV_KERNELS_PORTABLE_TOP_K_HPP

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "morphkv/kernels/dispatch.hpp"

namespace morphkv { inline namespace v0 { namespace kernels {

/// What the fast selection ranks.
template <class S>
concept RankedScore = std::same_as<S, float> || std::same_as<S, std::uint32_t>;

/// Numbers of 32 bits that top_k needs to work on `count` scores.
[[nodiscard]] constexpr std::size_t top_k_workspace(std::size_t count) noexcept {
  return 2 * count + 64;
}

}}}  // namespace morphkv::v0::kernels

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::portable {

/// What one pass over scores found, with respect to a bracket of keys.
struct Split {
  std::size_t above = 0;
  std::size_t inside = 0;
  bool ordered = true;  ///< no score is NaN
};

/// Two keys, and those between them.
struct Bracket {
  std::uint32_t low = 0;
  std::uint32_t high = ~std::uint32_t{0};
};

/// Keys order as the numbers do; the two zeros are one.
[[nodiscard]] inline std::uint32_t key_of(float score) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);
  return (bits >> 31U) != 0 ? ~bits : bits | 0x80000000U;
}
[[nodiscard]] inline std::uint32_t key_of(std::uint32_t score) noexcept { return score; }

/// The number behind a key, the nearest one for a key that has none.
[[nodiscard]] inline float score_of(std::uint32_t key) noexcept {
  key = (std::clamp)(key, 0x007fffffU, 0xff800000U);  // minus infinity, infinity
  return std::bit_cast<float>((key >> 31U) != 0 ? key & 0x7fffffffU : ~key);
}

template <RankedScore S>
inline constexpr std::uint32_t max_key = ~std::uint32_t{0};
template <>
inline constexpr std::uint32_t max_key<float> = 0xff800000U;  // infinity

using Pivots = std::array<std::uint32_t, 3>;
using Counts = std::array<std::size_t, 3>;

/// The passes over scores and keys, one element at a time.
struct Passes {
  /// The patterns of scores become keys, in place. \return the minimum and the maximum
  template <RankedScore S>
  static Bracket to_keys(std::uint32_t* patterns, std::size_t count) noexcept {
    Bracket range{~std::uint32_t{0}, 0};
    for (std::size_t i = 0; i < count; ++i) {
      patterns[i] = key_of(std::bit_cast<S>(patterns[i]));
      range = {(std::min)(range.low, patterns[i]), (std::max)(range.high, patterns[i])};
    }
    return range;
  }

  /// Collects the keys from `low` to `high` in `inside`, which may be written a vector beyond them.
  template <RankedScore S>
  static Split split(const S* scores, std::size_t count, std::uint32_t low, std::uint32_t high,
                     std::uint32_t* inside) noexcept {
    Split result;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t key = key_of(scores[i]);
      if constexpr (std::same_as<S, float>) result.ordered &= scores[i] == scores[i];
      inside[result.inside] = key;
      result.inside += key >= low && key <= high ? 1U : 0U;
      result.above += key > high ? 1U : 0U;
    }
    return result;
  }

  /// How many keys are at least as high as each of some pivots.
  static Counts count_from(const std::uint32_t* keys, std::size_t count,
                           const Pivots& pivots) noexcept {
    Counts found{};
    for (std::size_t i = 0; i < count; ++i) {
      found[0] += keys[i] >= pivots[0] ? 1U : 0U;
      found[1] += keys[i] >= pivots[1] ? 1U : 0U;
      found[2] += keys[i] >= pivots[2] ? 1U : 0U;
    }
    return found;
  }

  /// The index of the score with key `key` before which there are `skip` others, from `begin` on.
  template <RankedScore S>
  static std::size_t find(const S* scores, std::size_t begin, std::uint32_t key,
                          std::size_t skip) noexcept {
    for (std::size_t i = begin;; ++i) {
      if (key_of(scores[i]) != key) continue;
      if (skip-- == 0) return i;
    }
  }

  /// Appends the indices from `begin` to `end` whose keys are at least `pivot` to the `filled`
  /// ones; there is room for `room` in all. \return how many there are then
  template <RankedScore S>
  static std::size_t emit(const S* scores, std::size_t begin, std::size_t end, std::uint32_t pivot,
                          std::uint32_t* indices, std::size_t filled, std::size_t room) noexcept {
    for (std::size_t i = begin; i < end && filled < room; ++i) {
      indices[filled] = static_cast<std::uint32_t>(i);
      filled += key_of(scores[i]) >= pivot ? 1U : 0U;
    }
    return filled;
  }
};

/// So few keys are bisected as they are.
inline constexpr std::size_t few_keys = 1024;

/// A key that `rank` of the keys reach, and up to `slack` more if that is found sooner, or the
/// `rank`-th highest of them, from 1, where equal ones leave no such key. That one is known to lie
/// from `low` to `high`. Three pivots at a time: what limits it is the wait for a count, not the
/// counting.
template <class P>
[[nodiscard]] std::uint32_t bisect(const std::uint32_t* keys, std::size_t count, std::size_t rank,
                                   std::size_t slack, std::uint32_t low,
                                   std::uint32_t high) noexcept {
  while (low < high) {
    const std::uint32_t quarter = (high - low) / 4;
    const std::uint32_t first = low + quarter + 1;
    const std::uint32_t pivots[] = {low, first, first + quarter, first + 2 * quarter, high + 1};
    // A table and no branches: which quarter it is cannot be predicted.
    std::size_t reached = 0;
    std::size_t from = 0;
    for (const std::size_t n : P::count_from(keys, count, {pivots[1], pivots[2], pivots[3]})) {
      reached += n >= rank ? 1U : 0U;
      from = n >= rank ? n : from;
    }
    low = pivots[reached];
    if (from >= rank && from <= rank + slack) return low;
    high = pivots[reached + 1] - 1;
  }
  return low;
}

/// Between which keys the `rank`-th highest of many most likely lies: by a sample, 2.6 standard
/// deviations to each side and what is left to chance, another half of one on average.
template <class P, RankedScore S>
[[nodiscard]] Bracket bracket(const S* scores, std::size_t count, std::size_t rank) noexcept {
  constexpr std::size_t size = 256;
  std::uint32_t sample[size];
  const std::size_t step = count / size;
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t hash = static_cast<std::uint32_t>(i * 0x9E3779B1U);
    const std::size_t jitter = hash * step >> 32U;
    sample[i] = std::bit_cast<std::uint32_t>(scores[i * step + jitter]);
  }
  const Bracket seen = P::template to_keys<S>(sample, size);
  const double share = static_cast<double>(rank) / static_cast<double>(count);
  const double expected = share * static_cast<double>(size);
  const double margin = 2.6 * std::sqrt(expected * (1 - share));
  constexpr std::size_t slack = 4;
  Bracket result;
  if (expected + margin < static_cast<double>(size)) {
    const auto below = static_cast<std::size_t>(expected + margin);
    result.low = bisect<P>(sample, size, below, slack, seen.low, seen.high);
  }
  if (expected - margin >= 1 + slack) {
    const auto above = static_cast<std::size_t>(expected - margin) - slack;
    result.high =
        bisect<P>(sample, size, above, slack, (std::max)(result.low, seen.low), seen.high);
  }
  return result;
}

/// See kernels::top_k.
template <class P = Passes, RankedScore S>
[[nodiscard]] bool top_k(const S* scores, std::size_t count, std::size_t wanted,
                         std::uint32_t* indices, std::uint32_t* workspace) noexcept {
  wanted = (std::min)(wanted, count);
  if (wanted == 0 || wanted == count) {
    std::iota(indices, indices + wanted, 0U);
    return P::split(scores, count, ~std::uint32_t{0}, ~std::uint32_t{0}, workspace).ordered;
  }
  Bracket range;
  if (count > few_keys) range = bracket<P>(scores, count, wanted);
  Split split = P::split(scores, count, range.low, range.high, workspace);
  if (!split.ordered) return false;
  if (wanted <= split.above || wanted > split.above + split.inside) {  // the sample misled us
    range = {};
    split = P::split(scores, count, range.low, range.high, workspace);
  }
  const std::size_t rank = wanted - split.above;  // among those inside
  std::uint32_t threshold = 0;
  if (split.inside <= few_keys || range.low == range.high) {
    threshold = bisect<P>(workspace, split.inside, rank, 0, range.low, range.high);
  } else {
    const Bracket inner = bracket<P>(workspace, split.inside, rank);
    std::uint32_t* few = workspace + split.inside;
    const Split again = P::split(workspace, split.inside, inner.low, inner.high, few);
    const bool found = rank > again.above && rank <= again.above + again.inside;
    threshold = found ? bisect<P>(few, again.inside, rank - again.above, 0, inner.low, inner.high)
                      : bisect<P>(workspace, split.inside, rank, 0, range.low, range.high);
  }
  // Of those at the threshold the newest stay: the first ones are left out.
  const std::size_t from = P::count_from(workspace, split.inside, {threshold})[0];
  if (from == rank) {
    P::emit(scores, 0, count, threshold, indices, 0, wanted);
    return true;
  }
  const std::size_t first = P::find(scores, 0, threshold, from - rank);
  const std::size_t before =
      threshold == max_key<S> ? 0 : P::emit(scores, 0, first, threshold + 1, indices, 0, wanted);
  P::emit(scores, first, count, threshold, indices, before, wanted);
  return true;
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_TOP_K_HPP
