// SPDX-License-Identifier: Apache-2.0
/// \file
/// Updates of scores by one attention row: one pass over the slots, which carries the lowest score
/// of the candidates. Included once per vocabulary with MORPHKV_ISA defined; see isa/for_each.hpp.
/// Slots from `begin` on that do not fill a vector are left to the vocabulary of one lane.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

template <class Scores>
inline constexpr std::size_t width = std::is_same_v<Scores, U16s> ? u16_lanes : lanes;

/// The candidates among the slots from `slot` on that a vector of scores holds.
template <class Scores>
MORPHKV_VECTOR_WORD auto candidates(const std::uint64_t* protected_bits,
                                    std::size_t slot) noexcept {
  constexpr std::uint64_t all_protected[1] = {~std::uint64_t{0}};
  const std::uint64_t* words = protected_bits == nullptr ? all_protected : protected_bits;
  const std::size_t index = protected_bits == nullptr ? 0 : slot;
  if constexpr (width<Scores> == lanes) {
    return clear_bits(words, index);
  } else {
    return clear_u16_bits(words, index);
  }
}

/// The lowest score of the candidates from slot `begin` on; the greatest value of its type if there
/// is none. `scores_at(slot)` gives a vector of scores, and `rest_from(slot)` the lowest score of
/// the slots that do not fill one.
template <class Value, class ScoresAt, class RestFrom>
MORPHKV_VECTOR_WORD Value lowest_of(std::size_t begin, std::size_t slots,
                                    const std::uint64_t* protected_bits, const ScoresAt& scores_at,
                                    const RestFrom& rest_from) noexcept {
  using Scores = decltype(scores_at(begin));
  using Limits = std::numeric_limits<Value>;
  Scores lowest = broadcast(Limits::has_infinity ? Limits::infinity() : (Limits::max)());
  std::size_t s = begin;
  for (; s + width<Scores> <= slots; s += width<Scores>) {
    lowest = masked_min(candidates<Scores>(protected_bits, s), lowest, scores_at(s));
  }
  const Value found = reduce_min(lowest);
  return s == slots ? found : (std::min)(found, rest_from(s));
}

inline std::uint32_t slide_sum(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, std::uint16_t* oldest,
                               std::uint32_t* sums, std::size_t begin = 0) noexcept {
  return lowest_of<std::uint32_t>(
      begin, slots, protected_bits,
      [&](std::size_t s) noexcept {
        const F16s weights = to_f16(load(row + s));
        const U32s change = half_units(weights) - half_units(load_f16(oldest + s));
        const U32s sum = load(sums + s) + change;
        store(sums + s, sum);
        store(oldest + s, weights);
        return sum;
      },
      [&](std::size_t s) noexcept {
        return portable::slide_sum(row, slots, protected_bits, oldest, sums, s);
      });
}

inline std::uint32_t add_to_pane(const float* row, std::size_t slots,
                                 const std::uint64_t* protected_bits, std::uint32_t* pane,
                                 std::uint32_t* sums, std::size_t begin = 0) noexcept {
  return lowest_of<std::uint32_t>(
      begin, slots, protected_bits,
      [&](std::size_t s) noexcept {
        const U32s units = half_units(to_f16(load(row + s)));
        const U32s sum = load(sums + s) + units;
        store(pane + s, load(pane + s) + units);
        store(sums + s, sum);
        return sum;
      },
      [&](std::size_t s) noexcept {
        return portable::add_to_pane(row, slots, protected_bits, pane, sums, s);
      });
}

inline std::uint16_t slide_max(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, const MaxWindowRows& rows,
                               std::size_t begin = 0) noexcept {
  const MaxWindowRows r = rows;  // a copy, which no store can change
  return lowest_of<std::uint16_t>(
      begin, slots, protected_bits,
      [&](std::size_t s) noexcept {
        const U16s weights = load_rounded(row + s);
        const U16s highest = r.opens_block ? weights : max(load(r.prefix + s), weights);
        store(r.newest + s, r.opens_pane ? weights : max(load(r.newest + s), weights));
        store(r.prefix + s, highest);
        if (r.suffix != nullptr) {
          store(r.suffix + s, max(load(r.suffix + s), load(r.next_suffix + s)));
        }
        const U16s score = r.middle == nullptr ? highest : max(highest, load(r.middle + s));
        return r.old == nullptr ? score : max(score, load(r.old + s));
      },
      [&](std::size_t s) noexcept {
        return portable::slide_max(row, slots, protected_bits, rows, s);
      });
}

inline float replace_row(const float* row, std::size_t slots, const std::uint64_t* protected_bits,
                         float* scores, std::size_t begin = 0) noexcept {
  return lowest_of<float>(
      begin, slots, protected_bits,
      [&](std::size_t s) noexcept {
        const Floats weights = load(row + s);
        store(scores + s, weights);
        return weights;
      },
      [&](std::size_t s) noexcept {
        return portable::replace_row(row, slots, protected_bits, scores, s);
      });
}

inline float decay_max(const float* row, std::size_t slots, const std::uint64_t* protected_bits,
                       float decay, float* scores, std::size_t begin = 0) noexcept {
  const Floats decays = broadcast(decay);
  return lowest_of<float>(
      begin, slots, protected_bits,
      [&](std::size_t s) noexcept {
        const Floats score = max(decays * load(scores + s), load(row + s));
        store(scores + s, score);
        return score;
      },
      [&](std::size_t s) noexcept {
        return portable::decay_max(row, slots, protected_bits, decay, scores, s);
      });
}

inline std::uint64_t add_row(const float* row, std::size_t slots,
                             const std::uint64_t* protected_bits, std::uint64_t* sums,
                             std::size_t begin = 0) noexcept {
  const U64s limit = broadcast(max_units);
  return lowest_of<std::uint64_t>(
      begin, slots, protected_bits,
      [&](std::size_t s) noexcept {
        const U64s sum = min(load(sums + s) + fine_units(load(row + s)), limit);
        store(sums + s, sum);
        return sum;
      },
      [&](std::size_t s) noexcept {
        return portable::add_row(row, slots, protected_bits, sums, s);
      });
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
