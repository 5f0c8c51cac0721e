// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest keys over a vector vocabulary. Included once per vocabulary with
/// MORPHKV_ISA defined; see isa/for_each.hpp. Keys that do not fill a vector are left to the
/// vocabulary of one lane.
///
/// A sample brackets the k-th highest key; one pass counts the keys above the bracket and collects
/// those inside it, few, among which the k-th is found by the same means and then by bisection; a
/// last pass emits the indices in their order. Two passes over the keys, and nothing is ever
/// sorted.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

using detail::Bracket;
using detail::Counts;
using detail::Pivots;
using detail::Split;

/// The minimum and the maximum. \pre the keys fill vectors
inline Bracket range_of(const std::uint32_t* keys, std::size_t count) noexcept {
  U32s low = broadcast(~std::uint32_t{0});
  U32s high = broadcast(std::uint32_t{0});
  for (std::size_t i = 0; i < count; i += lanes) {
    low = min(low, load(keys + i));
    high = max(high, load(keys + i));
  }
  return {reduce_min(low), reduce_max(high)};
}

/// Collects the keys from `low` to `high` in `inside`, which may be written a vector beyond them.
inline Split split(const std::uint32_t* keys, std::size_t count, std::uint32_t low,
                   std::uint32_t high, std::uint32_t* inside) noexcept {
  const U32s lowest = broadcast(low);
  const U32s highest = broadcast(high);
  U32s up_to = broadcast(std::uint32_t{0});
  std::size_t found = 0;
  std::size_t i = 0;
  const auto collect = [&](const U32s& some) noexcept {
    const Lanes at = less_equal(some, highest);
    up_to = masked_increment(at, up_to);
    found += compress(inside + found, some, at & less_equal(lowest, some));
  };
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    collect(load(keys + i));
    collect(load(keys + i + lanes));
  }
  for (; i + lanes <= count; i += lanes) collect(load(keys + i));
  Split rest;
  if (i < count) rest = portable::split(keys + i, count - i, low, high, inside + found);
  return {i - reduce_add(up_to) + rest.above, found + rest.inside};
}

/// How many keys are at least as high as each of some pivots.
inline Counts count_from(const std::uint32_t* keys, std::size_t count,
                         const Pivots& pivots) noexcept {
  const U32s a = broadcast(pivots[0]);
  const U32s b = broadcast(pivots[1]);
  const U32s c = broadcast(pivots[2]);
  U32s from_a = broadcast(std::uint32_t{0});
  U32s from_b = from_a;
  U32s from_c = from_a;
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const U32s some = load(keys + i);
    from_a = masked_increment(less_equal(a, some), from_a);
    from_b = masked_increment(less_equal(b, some), from_b);
    from_c = masked_increment(less_equal(c, some), from_c);
  }
  Counts rest{};
  if (i < count) rest = portable::count_from(keys + i, count - i, pivots);
  return {rest[0] + reduce_add(from_a), rest[1] + reduce_add(from_b), rest[2] + reduce_add(from_c)};
}

/// The index of the key `key` before which there are `skip` others, from `begin` on.
inline std::size_t find(const std::uint32_t* keys, std::size_t begin, std::uint32_t key,
                        std::size_t skip) noexcept {
  const U32s wanted = broadcast(key);
  for (;; begin += lanes) {  // a vector that is read holds the index, or lies before it
    if constexpr (lanes > 1) {
      if (skip < lanes) return portable::find(keys, begin, key, skip);
    }
    const std::size_t here = popcount(equal(load(keys + begin), wanted));
    if (here > skip) return begin;  // of one lane
    skip -= here;
  }
}

/// Appends the indices from `begin` to `end` whose keys are at least `pivot` to the `filled` ones,
/// up to `most` in all. \return how many there are then
inline std::size_t emit(const std::uint32_t* keys, std::size_t begin, std::size_t end,
                        std::uint32_t pivot, std::uint32_t* indices, std::size_t filled,
                        std::size_t most) noexcept {
  const U32s pivots = broadcast(pivot);
  constexpr auto step = static_cast<std::uint32_t>(lanes);
  U32s index = iota() + static_cast<std::uint32_t>(begin);
  for (; begin + 2 * lanes <= end && filled + 2 * lanes <= most; begin += 2 * lanes) {
    const Lanes a = less_equal(pivots, load(keys + begin));
    const Lanes b = less_equal(pivots, load(keys + begin + lanes));
    filled += compress(indices + filled, index, a);
    index += step;
    filled += compress(indices + filled, index, b);
    index += step;
  }
  // Where a whole vector may not be written any more.
  for (; begin + lanes <= end && filled < most; begin += lanes) {
    std::uint32_t some[lanes];
    const std::size_t found = compress(some, index, less_equal(pivots, load(keys + begin)));
    const std::size_t fits = (std::min)(found, most - filled);
    std::copy_n(some, fits, indices + filled);
    filled += fits;
    index += step;
  }
  if (begin == end || filled == most) return filled;
  return portable::emit(keys, begin, end, pivot, indices, filled, most);
}

/// So few keys are bisected as they are.
inline constexpr std::size_t few_keys = 1024;

/// A key that `rank` of the keys reach, and up to `slack` more if that is found sooner, or the
/// `rank`-th highest of them, from 1, where equal ones leave no such key. That one is known to lie
/// from `low` to `high`. Three pivots at a time: what limits it is the wait for a count, not the
/// counting.
[[nodiscard]] inline std::uint32_t bisect(const std::uint32_t* keys, std::size_t count,
                                          std::size_t rank, std::size_t slack, std::uint32_t low,
                                          std::uint32_t high) noexcept {
  while (low < high) {
    const std::uint32_t quarter = (high - low) / 4;
    const std::uint32_t first = low + quarter + 1;
    const std::uint32_t pivots[] = {low, first, first + quarter, first + 2 * quarter, high + 1};
    // A table and no branches: which quarter it is cannot be predicted.
    std::size_t reached = 0;
    std::size_t from = 0;
    for (const std::size_t n : count_from(keys, count, {pivots[1], pivots[2], pivots[3]})) {
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
[[nodiscard]] inline Bracket bracket(const std::uint32_t* keys, std::size_t count,
                                     std::size_t rank) noexcept {
  constexpr std::size_t size = 256;
  std::uint32_t sample[size];
  const std::size_t step = count / size;
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t hash = static_cast<std::uint32_t>(i * 0x9E3779B1U);
    const std::size_t jitter = hash * step >> 32U;
    sample[i] = keys[i * step + jitter];
  }
  const Bracket seen = range_of(sample, size);
  const double share = static_cast<double>(rank) / static_cast<double>(count);
  const double expected = share * static_cast<double>(size);
  const double margin = 2.6 * std::sqrt(expected * (1 - share));
  constexpr std::size_t slack = 4;
  Bracket result;
  if (expected + margin < static_cast<double>(size)) {
    const auto below = static_cast<std::size_t>(expected + margin);
    result.low = bisect(sample, size, below, slack, seen.low, seen.high);
  }
  if (expected - margin >= 1 + slack) {
    const auto above = static_cast<std::size_t>(expected - margin) - slack;
    result.high = bisect(sample, size, above, slack, (std::max)(result.low, seen.low), seen.high);
  }
  return result;
}

/// See kernels::top_k.
inline void top_k(const std::uint32_t* keys, std::size_t count, std::size_t wanted,
                  std::uint32_t* indices, std::uint32_t* workspace) noexcept {
  wanted = (std::min)(wanted, count);
  if (wanted == 0 || wanted == count) {
    std::iota(indices, indices + wanted, 0U);
    return;
  }
  Bracket range;
  if (count > few_keys) range = bracket(keys, count, wanted);
  Split parts = split(keys, count, range.low, range.high, workspace);
  if (wanted <= parts.above || wanted > parts.above + parts.inside) {  // the sample misled us
    range = {};
    parts = split(keys, count, range.low, range.high, workspace);
  }
  const std::size_t rank = wanted - parts.above;  // among those inside
  std::uint32_t threshold = 0;
  if (parts.inside <= few_keys || range.low == range.high) {
    threshold = bisect(workspace, parts.inside, rank, 0, range.low, range.high);
  } else {
    const Bracket inner = bracket(workspace, parts.inside, rank);
    std::uint32_t* few = workspace + parts.inside;
    const Split again = split(workspace, parts.inside, inner.low, inner.high, few);
    const bool found = rank > again.above && rank <= again.above + again.inside;
    threshold = found ? bisect(few, again.inside, rank - again.above, 0, inner.low, inner.high)
                      : bisect(workspace, parts.inside, rank, 0, range.low, range.high);
  }
  // Of those at the threshold the newest stay: the first ones are left out.
  const std::size_t from = count_from(workspace, parts.inside, {threshold})[0];
  if (from == rank) {
    emit(keys, 0, count, threshold, indices, 0, wanted);
    return;
  }
  const std::size_t first = find(keys, 0, threshold, from - rank);
  const std::size_t before =
      threshold == ~std::uint32_t{0} ? 0 : emit(keys, 0, first, threshold + 1, indices, 0, wanted);
  emit(keys, first, count, threshold, indices, before, wanted);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
