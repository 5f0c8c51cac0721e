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

/// The lowest of the candidates' values.
template <class Value>
[[nodiscard]] Value lowest(const Value* values, std::size_t slots,
                           const std::uint64_t* protected_bits, std::size_t begin = 0) noexcept {
  return lowest_of<Value>(
      begin, slots, protected_bits, [&](std::size_t s) noexcept { return load(values + s); },
      [&](std::size_t s) noexcept { return portable::lowest(values, slots, protected_bits, s); });
}

/// A vector of sum / max(step - birth, 1).
MORPHKV_VECTOR_WORD F64s means_at(const std::uint64_t* sums, const std::uint32_t* births,
                                  std::uint32_t step, std::size_t slot) noexcept {
  const U32s steps = max(step - load(births + slot), broadcast(1U));
  return to_f64(load(sums + slot)) / to_f64(steps);
}

[[nodiscard]] inline double lowest_mean(const std::uint64_t* sums, const std::uint32_t* births,
                                        std::uint32_t step, std::size_t slots,
                                        const std::uint64_t* protected_bits,
                                        std::size_t begin = 0) noexcept {
  return lowest_of<double>(
      begin, slots, protected_bits,
      [&](std::size_t s) noexcept { return means_at(sums, births, step, s); },
      [&](std::size_t s) noexcept {
        return portable::lowest_mean(sums, births, step, slots, protected_bits, s);
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

/// The oldest candidate where `hits_at(slot)`, the lanes of `Width` slots, has a hit, and of those
/// that `rest_from(slot, found)` looks at. Hits are rare: four vectors are looked at together.
template <std::size_t Width, class HitsAt, class RestFrom>
MORPHKV_VECTOR_WORD Slot oldest_hit(std::size_t begin, std::size_t slots,
                                    const std::uint64_t* protected_bits, const Position* positions,
                                    Slot found, const HitsAt& hits_at,
                                    const RestFrom& rest_from) noexcept {
  std::size_t slot = begin;
  for (; slot + 4 * Width <= slots; slot += 4 * Width) {
    const auto first = bit_or(hits_at(slot), hits_at(slot + Width));
    const auto second = bit_or(hits_at(slot + 2 * Width), hits_at(slot + 3 * Width));
    if (!any(bit_or(first, second))) [[likely]]
      continue;
    for (std::size_t s = slot; s < slot + 4 * Width; s += Width) {
      found = oldest_of(bits(hits_at(s)), s, protected_bits, positions, found);
    }
  }
  for (; slot + Width <= slots; slot += Width) {
    found = oldest_of(bits(hits_at(slot)), slot, protected_bits, positions, found);
  }
  return slot == slots ? found : rest_from(slot, found);
}

// Not inlined, or GCC 12 warns of a loop that never runs where the number of slots is a constant.
template <class Value>
[[nodiscard, gnu::noinline]] Slot oldest_with(Value value, const Value* values, std::size_t slots,
                                              const std::uint64_t* protected_bits,
                                              const Position* positions, std::size_t begin = 0,
                                              Slot found = no_slot) noexcept {
  const auto wanted = broadcast(value);
  return oldest_hit<lanes>(
      begin, slots, protected_bits, positions, found,
      [&](std::size_t s) noexcept { return equal(load(values + s), wanted); },
      [&](std::size_t s, Slot before) noexcept {
        return portable::oldest_with(value, values, slots, protected_bits, positions, s, before);
      });
}

[[nodiscard, gnu::noinline]] inline Slot oldest_with_max(
    std::uint16_t value, const std::array<const std::uint16_t*, 3>& rows, std::size_t slots,
    const std::uint64_t* protected_bits, const Position* positions, std::size_t begin = 0,
    Slot found = no_slot) noexcept {
  const U16s wanted = broadcast(value);
  return oldest_hit<u16_lanes>(
      begin, slots, protected_bits, positions, found,
      [&](std::size_t s) noexcept {
        return equal(max(max(load(rows[0] + s), load(rows[1] + s)), load(rows[2] + s)), wanted);
      },
      [&](std::size_t s, Slot before) noexcept {
        return portable::oldest_with_max(value, rows, slots, protected_bits, positions, s, before);
      });
}

/// A vector of hashes of positions and a key; see kernels::random_draw.
MORPHKV_VECTOR_WORD U32s draws_at(const std::uint32_t* positions, std::uint32_t key,
                                  std::size_t slot) noexcept {
  U32s x = load(positions + slot) ^ key;
  x = (x ^ (x >> 16U)) * 0x7feb352dU;
  x = (x ^ (x >> 15U)) * 0x846ca68bU;
  return x ^ (x >> 16U);
}

inline std::uint32_t lowest_draw(const std::uint32_t* positions, std::uint32_t key,
                                 std::size_t slots, const std::uint64_t* protected_bits,
                                 std::size_t begin = 0) noexcept {
  return lowest_of<std::uint32_t>(
      begin, slots, protected_bits,
      [&](std::size_t s) noexcept { return draws_at(positions, key, s); },
      [&](std::size_t s) noexcept {
        return portable::lowest_draw(positions, key, slots, protected_bits, s);
      });
}

[[nodiscard, gnu::noinline]] inline Slot oldest_with_draw(
    std::uint32_t value, const std::uint32_t* positions, std::uint32_t key, std::size_t slots,
    const std::uint64_t* protected_bits, std::size_t begin = 0, Slot found = no_slot) noexcept {
  const U32s wanted = broadcast(value);
  return oldest_hit<lanes>(
      begin, slots, protected_bits, reinterpret_cast<const Position*>(positions), found,
      [&](std::size_t s) noexcept { return equal(draws_at(positions, key, s), wanted); },
      [&](std::size_t s, Slot before) noexcept {
        return portable::oldest_with_draw(value, positions, key, slots, protected_bits, s, before);
      });
}

[[nodiscard, gnu::noinline]] inline Slot oldest_with_mean(
    double value, const std::uint64_t* sums, const std::uint32_t* births, std::uint32_t step,
    std::size_t slots, const std::uint64_t* protected_bits, const Position* positions,
    std::size_t begin = 0, Slot found = no_slot) noexcept {
  const F64s wanted = broadcast(value);
  return oldest_hit<lanes>(
      begin, slots, protected_bits, positions, found,
      [&](std::size_t s) noexcept { return equal(means_at(sums, births, step, s), wanted); },
      [&](std::size_t s, Slot before) noexcept {
        return portable::oldest_with_mean(value, sums, births, step, slots, protected_bits,
                                          positions, s, before);
      });
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
