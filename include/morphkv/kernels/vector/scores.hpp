// SPDX-License-Identifier: Apache-2.0
/// \file
/// Passes over the scores of slots: updates by one attention row, each of which carries the lowest
/// score of the candidates, and searches. Included once per vocabulary with MORPHKV_ISA defined;
/// see isa/for_each.hpp. Slots from `begin` on that do not fill a vector are left to the vocabulary
/// of one lane.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

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

inline std::uint32_t slide_sum(std::span<const float> row, const std::uint64_t* protected_bits,
                               std::uint16_t* oldest, std::uint32_t* sums,
                               std::size_t begin = 0) noexcept {
  return lowest_of<std::uint32_t>(
      begin, row.size(), protected_bits,
      [&](std::size_t s) noexcept {
        const F16s weights = to_f16(load(row.data() + s));
        const U32s change = half_units(weights) - half_units(load_f16(oldest + s));
        const U32s sum = load(sums + s) + change;
        store(sums + s, sum);
        store(oldest + s, weights);
        return sum;
      },
      [&](std::size_t s) noexcept {
        return portable::slide_sum(row, protected_bits, oldest, sums, s);
      });
}

inline std::uint32_t add_to_pane(std::span<const float> row, const std::uint64_t* protected_bits,
                                 std::uint32_t* pane, std::uint32_t* sums,
                                 std::size_t begin = 0) noexcept {
  return lowest_of<std::uint32_t>(
      begin, row.size(), protected_bits,
      [&](std::size_t s) noexcept {
        const U32s units = half_units(to_f16(load(row.data() + s)));
        const U32s sum = load(sums + s) + units;
        store(pane + s, load(pane + s) + units);
        store(sums + s, sum);
        return sum;
      },
      [&](std::size_t s) noexcept {
        return portable::add_to_pane(row, protected_bits, pane, sums, s);
      });
}

inline std::uint16_t slide_max(std::span<const float> row, const std::uint64_t* protected_bits,
                               const MaxWindowRows& rows, std::size_t begin = 0) noexcept {
  const MaxWindowRows r = rows;  // a copy, which no store can change
  return lowest_of<std::uint16_t>(
      begin, row.size(), protected_bits,
      [&](std::size_t s) noexcept {
        const U16s weights = load_rounded(row.data() + s);
        const U16s highest = r.opens_block ? weights : max(load(r.prefix + s), weights);
        store(r.newest + s, r.opens_pane ? weights : max(load(r.newest + s), weights));
        store(r.prefix + s, highest);
        if (r.suffix != nullptr) {
          store(r.suffix + s, max(load(r.suffix + s), load(r.next_suffix + s)));
        }
        const U16s score = r.middle == nullptr ? highest : max(highest, load(r.middle + s));
        return r.old == nullptr ? score : max(score, load(r.old + s));
      },
      [&](std::size_t s) noexcept { return portable::slide_max(row, protected_bits, rows, s); });
}

inline float replace_row(std::span<const float> row, const std::uint64_t* protected_bits,
                         float* scores, std::size_t begin = 0) noexcept {
  return lowest_of<float>(
      begin, row.size(), protected_bits,
      [&](std::size_t s) noexcept {
        const Floats weights = load(row.data() + s);
        store(scores + s, weights);
        return weights;
      },
      [&](std::size_t s) noexcept {
        return portable::replace_row(row, protected_bits, scores, s);
      });
}

inline float decay_max(std::span<const float> row, const std::uint64_t* protected_bits, float decay,
                       float* scores, std::size_t begin = 0) noexcept {
  const Floats decays = broadcast(decay);
  return lowest_of<float>(
      begin, row.size(), protected_bits,
      [&](std::size_t s) noexcept {
        const Floats score = max(decays * load(scores + s), load(row.data() + s));
        store(scores + s, score);
        return score;
      },
      [&](std::size_t s) noexcept {
        return portable::decay_max(row, protected_bits, decay, scores, s);
      });
}

inline std::uint64_t add_row(std::span<const float> row, const std::uint64_t* protected_bits,
                             std::uint64_t* sums, std::size_t begin = 0) noexcept {
  const U64s limit = broadcast(max_units);
  return lowest_of<std::uint64_t>(
      begin, row.size(), protected_bits,
      [&](std::size_t s) noexcept {
        const U64s sum = min(load(sums + s) + fine_units(load(row.data() + s)), limit);
        store(sums + s, sum);
        return sum;
      },
      [&](std::size_t s) noexcept { return portable::add_row(row, protected_bits, sums, s); });
}

// --- Searches

/// Bit patterns of floats from 0 up order as the floats do, and those of negative numbers, of minus
/// zero and of NaN come after them: one unsigned maximum tells.
[[nodiscard]] inline bool is_valid_row(const float* row, std::size_t slots,
                                       std::size_t begin = 0) noexcept {
  U32s highest[2] = {broadcast(0U), broadcast(0U)};
  std::size_t s = begin;
  for (; s + 2 * lanes <= slots; s += 2 * lanes) {
    highest[0] = max(highest[0], as_u32(load(row + s)));
    highest[1] = max(highest[1], as_u32(load(row + s + lanes)));
  }
  for (; s + lanes <= slots; s += lanes) highest[0] = max(highest[0], as_u32(load(row + s)));
  return reduce_max(max(highest[0], highest[1])) <= std::bit_cast<std::uint32_t>(max_weight) &&
         (s == slots || portable::is_valid_row(row, slots, s));
}

/// A vector of the values from `slot` on; those of Means, Maxima and Draws are computed.
template <class Value>
MORPHKV_VECTOR_WORD auto values_at(const Value* values, std::size_t slot) noexcept {
  return load(values + slot);
}
MORPHKV_VECTOR_WORD F64s values_at(const Means& of, std::size_t slot) noexcept {
  const U32s steps = max(of.step - load(of.births + slot), broadcast(1U));
  return to_f64(load(of.sums + slot)) / to_f64(steps);
}
MORPHKV_VECTOR_WORD U16s values_at(const Maxima& of, std::size_t slot) noexcept {
  return max(max(load(of.a + slot), load(of.b + slot)), load(of.c + slot));
}
MORPHKV_VECTOR_WORD U32s values_at(const Draws& of, std::size_t slot) noexcept {
  U32s x =
      load(reinterpret_cast<const std::uint32_t*>(of.positions) + slot) ^ of.key;  // see random_mix
  x = (x ^ (x >> 16U)) * 0x7feb352dU;
  x = (x ^ (x >> 15U)) * 0x846ca68bU;
  return x ^ (x >> 16U);
}

/// The lowest of the candidates' values.
template <class Values>
[[nodiscard]] ValueOf<Values> lowest(const Values& values, const Candidates& c,
                                     std::size_t begin = 0) noexcept {
  return lowest_of<ValueOf<Values>>(
      begin, c.slots, c.protected_bits,
      [&](std::size_t s) noexcept { return values_at(values, s); },
      [&](std::size_t s) noexcept { return portable::lowest(values, c, s); });
}

/// Of the candidates from `slot` on that `hits` names, the oldest.
MORPHKV_NOINLINE inline Slot oldest_of(std::uint32_t hits, std::size_t slot, const Candidates& c,
                                       Slot found) noexcept {
  for (; hits != 0; hits &= hits - 1) {
    const auto hit = static_cast<Slot>(slot + static_cast<std::size_t>(std::countr_zero(hits)));
    if (!c.contain(hit)) continue;
    if (found == no_slot || c.positions[hit] < c.positions[found]) found = hit;
  }
  return found;
}

/// The oldest candidate whose value is `value`. Hits are rare: four vectors are looked at together.
// Not inlined, or GCC 12 warns of a loop that never runs where the number of slots is a constant.
template <class Values>
MORPHKV_NOINLINE [[nodiscard]] Slot oldest_with(ValueOf<Values> value, const Values& values,
                                                const Candidates& c, std::size_t begin = 0,
                                                Slot found = no_slot) noexcept {
  const auto wanted = broadcast(value);
  const auto hits_at = [&](std::size_t s) noexcept { return equal(values_at(values, s), wanted); };
  constexpr std::size_t step = width<decltype(values_at(values, begin))>;
  std::size_t slot = begin;
  for (; slot + 4 * step <= c.slots; slot += 4 * step) {
    const auto first = bit_or(hits_at(slot), hits_at(slot + step));
    const auto second = bit_or(hits_at(slot + 2 * step), hits_at(slot + 3 * step));
    if (!any(bit_or(first, second))) [[likely]]
      continue;
    for (std::size_t s = slot; s < slot + 4 * step; s += step) {
      found = oldest_of(bits(hits_at(s)), s, c, found);
    }
  }
  for (; slot + step <= c.slots; slot += step) {
    found = oldest_of(bits(hits_at(slot)), slot, c, found);
  }
  return slot == c.slots ? found : portable::oldest_with(value, values, c, slot, found);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
