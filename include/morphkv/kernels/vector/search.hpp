// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores. Included once per vocabulary with MORPHKV_ISA defined; see
/// isa/for_each.hpp. Slots from `begin` on that do not fill a vector are left to the vocabulary of
/// one lane.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

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

/// A vector of the values from `slot` on; those of Means, MaximaOf and Draws are computed.
template <class Value>
MORPHKV_VECTOR_WORD auto values_at(const Value* values, std::size_t slot) noexcept {
  return load(values + slot);
}
MORPHKV_VECTOR_WORD F64s values_at(const Means& of, std::size_t slot) noexcept {
  const U32s steps = max(of.step - load(of.births + slot), broadcast(1U));
  return to_f64(load(of.sums + slot)) / to_f64(steps);
}
MORPHKV_VECTOR_WORD U16s values_at(const MaximaOf& rows, std::size_t slot) noexcept {
  return max(max(load(rows[0] + slot), load(rows[1] + slot)), load(rows[2] + slot));
}
MORPHKV_VECTOR_WORD U32s values_at(const Draws& of, std::size_t slot) noexcept {
  U32s x = load(of.positions + slot) ^ of.key;  // see random_mix
  x = (x ^ (x >> 16U)) * 0x7feb352dU;
  x = (x ^ (x >> 15U)) * 0x846ca68bU;
  return x ^ (x >> 16U);
}

/// The lowest of the candidates' values.
template <class Value, class Values>
[[nodiscard]] Value lowest(const Values& values, std::size_t slots,
                           const std::uint64_t* protected_bits, std::size_t begin = 0) noexcept {
  return lowest_of<Value>(
      begin, slots, protected_bits, [&](std::size_t s) noexcept { return values_at(values, s); },
      [&](std::size_t s) noexcept {
        return portable::lowest<Value>(values, slots, protected_bits, s);
      });
}

/// Of the slots from `slot` on that `hits` names, and that are not protected, the oldest.
[[gnu::noinline]] inline Slot oldest_of(std::uint32_t hits, std::size_t slot,
                                        const std::uint64_t* protected_bits,
                                        const Position* positions, Slot found) noexcept {
  for (; hits != 0; hits &= hits - 1) {
    const auto hit = static_cast<Slot>(slot + static_cast<std::size_t>(std::countr_zero(hits)));
    if (test_bit(protected_bits, hit)) continue;
    if (found == no_slot || positions[hit] < positions[found]) found = hit;
  }
  return found;
}

/// The oldest candidate whose value is `value`. Hits are rare: four vectors are looked at together.
// Not inlined, or GCC 12 warns of a loop that never runs where the number of slots is a constant.
template <class Value, class Values>
[[nodiscard, gnu::noinline]] Slot oldest_with(Value value, const Values& values, std::size_t slots,
                                              const std::uint64_t* protected_bits,
                                              const Position* positions, std::size_t begin = 0,
                                              Slot found = no_slot) noexcept {
  const auto wanted = broadcast(value);
  const auto hits_at = [&](std::size_t s) noexcept { return equal(values_at(values, s), wanted); };
  constexpr std::size_t step = width<decltype(values_at(values, begin))>;
  std::size_t slot = begin;
  for (; slot + 4 * step <= slots; slot += 4 * step) {
    const auto first = bit_or(hits_at(slot), hits_at(slot + step));
    const auto second = bit_or(hits_at(slot + 2 * step), hits_at(slot + 3 * step));
    if (!any(bit_or(first, second))) [[likely]]
      continue;
    for (std::size_t s = slot; s < slot + 4 * step; s += step) {
      found = oldest_of(bits(hits_at(s)), s, protected_bits, positions, found);
    }
  }
  for (; slot + step <= slots; slot += step) {
    found = oldest_of(bits(hits_at(slot)), slot, protected_bits, positions, found);
  }
  if (slot == slots) return found;
  return portable::oldest_with(value, values, slots, protected_bits, positions, slot, found);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
