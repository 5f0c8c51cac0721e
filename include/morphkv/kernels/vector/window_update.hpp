// SPDX-License-Identifier: Apache-2.0
/// \file
/// The window's update over a vector vocabulary: one pass over the slots, which carries the least
/// score among the candidates. Included once an ISA, between its MORPHKV_TARGET_BEGIN and
/// MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include guard, on purpose.
///
/// The functions are those of portable/window_update.hpp, and give the same bits.
#ifdef MORPHKV_ISA
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace MORPHKV_ISA {

inline constexpr std::uint64_t all_protected[1] = {~std::uint64_t{0}};

/// Protection bits from slot `slot` on; without any, all slots are protected.
MORPHKV_VECTOR_WORD Lanes candidates(const std::uint64_t* protected_bits,
                                     std::size_t slot) noexcept {
  return protected_bits == nullptr ? clear_bits(all_protected, 0)
                                   : clear_bits(protected_bits, slot);
}
MORPHKV_VECTOR_WORD ShortLanes short_candidates(const std::uint64_t* protected_bits,
                                                std::size_t slot) noexcept {
  return protected_bits == nullptr ? clear_short_bits(all_protected, 0)
                                   : clear_short_bits(protected_bits, slot);
}

inline std::uint32_t slide_sum(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, std::uint16_t* oldest,
                               std::uint32_t* sums) noexcept {
  Units lowest = all_units(0xffffffffU);
  std::size_t s = 0;
  for (; s + lanes <= slots; s += lanes) {
    const Halves weights = narrow(load(row + s));
    const Units change = sub(half_units(weights), half_units(load_halves(oldest + s)));
    const Units sum = add(load(sums + s), change);
    store(sums + s, sum);
    store_halves(oldest + s, weights);
    lowest = lesser_at(candidates(protected_bits, s), lowest, sum);
  }
  if (s == slots) return least(lowest);
  return (std::min)(least(lowest),
                    portable::slide_sum(row, slots, protected_bits, oldest, sums, s));
}

inline std::uint32_t add_to_pane(const float* row, std::size_t slots,
                                 const std::uint64_t* protected_bits, std::uint32_t* pane,
                                 std::uint32_t* sums) noexcept {
  Units lowest = all_units(0xffffffffU);
  std::size_t s = 0;
  for (; s + lanes <= slots; s += lanes) {
    const Units units = half_units(narrow(load(row + s)));
    const Units sum = add(load(sums + s), units);
    store(pane + s, add(load(pane + s), units));
    store(sums + s, sum);
    lowest = lesser_at(candidates(protected_bits, s), lowest, sum);
  }
  if (s == slots) return least(lowest);
  return (std::min)(least(lowest),
                    portable::add_to_pane(row, slots, protected_bits, pane, sums, s));
}

inline std::uint16_t slide_max(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, const std::uint16_t* suffix,
                               std::uint16_t* newest, std::uint16_t* prefix) noexcept {
  Shorts lowest = all_shorts(0xffffU);
  std::size_t s = 0;
  for (; s + short_lanes <= slots; s += short_lanes) {
    const Shorts weights = narrow(load(row + s), load(row + s + lanes));
    const Shorts highest = greater(load_shorts(prefix + s), weights);
    store_shorts(newest + s, weights);
    store_shorts(prefix + s, highest);
    const Shorts score = suffix == nullptr ? highest : greater(highest, load_shorts(suffix + s));
    lowest = lesser_at(short_candidates(protected_bits, s), lowest, score);
  }
  if (s == slots) return least_short(lowest);
  return (std::min)(least_short(lowest),
                    portable::slide_max(row, slots, protected_bits, suffix, newest, prefix, s));
}

/// Row by row from the last one up, over so many columns that two rows stay in the nearest cache;
/// each step fetches its place in the row that comes next.
inline void suffix_max(std::uint16_t* rows, std::size_t stride, std::size_t count,
                       std::size_t slots) noexcept {
  constexpr std::size_t width = 4096;
  const std::size_t whole = slots - slots % short_lanes;
  for (std::size_t begin = 0; begin < whole; begin += width) {
    const std::size_t end = (std::min)(whole, begin + width);
    for (std::size_t r = count - 1; r-- > 0;) {
      std::uint16_t* row = rows + r * stride;
      const std::uint16_t* ahead = r > 0 ? row - stride : row;
      for (std::size_t s = begin; s < end; s += short_lanes) {
        __builtin_prefetch(ahead + s, 1);
        store_shorts(row + s, greater(load_shorts(row + s), load_shorts(row + s + stride)));
      }
    }
  }
  if (whole < slots) portable::suffix_max(rows, stride, count, slots, whole);
}

inline float replace_row(const float* row, std::size_t slots, const std::uint64_t* protected_bits,
                         float* scores) noexcept {
  Floats lowest = all(std::numeric_limits<float>::infinity());
  std::size_t s = 0;
  for (; s + lanes <= slots; s += lanes) {
    const Floats weights = load(row + s);
    store(scores + s, weights);
    lowest = lesser_at(candidates(protected_bits, s), lowest, weights);
  }
  if (s == slots) return least(lowest);
  return (std::min)(least(lowest), portable::replace_row(row, slots, protected_bits, scores, s));
}

/// Half a vector of floats is a vector of 64-bit sums.
inline std::uint64_t add_row(const float* row, std::size_t slots,
                             const std::uint64_t* protected_bits, std::uint64_t* sums) noexcept {
  Longs lowest[2] = {all_longs(~std::uint64_t{0} >> 1U), all_longs(~std::uint64_t{0} >> 1U)};
  bool found = false;
  std::size_t s = 0;
  for (; s + lanes <= slots; s += lanes) {
    const Lanes open = candidates(protected_bits, s);
    found = found || any(open);
    MORPHKV_UNROLL for (std::size_t half = 0; half < 2; ++half) {
      std::uint64_t* to = sums + s + half * long_lanes;
      const Longs sum = add(load_longs(to), fine_units(row + s + half * long_lanes));
      store_longs(to, sum);
      lowest[half] = lesser_at(half_of(open, half), lowest[half], sum);
    }
  }
  const std::uint64_t rest = s == slots ? std::numeric_limits<std::uint64_t>::max()
                                        : portable::add_row(row, slots, protected_bits, sums, s);
  return found ? (std::min)({least_long(lowest[0]), least_long(lowest[1]), rest}) : rest;
}

}}}}}   // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
