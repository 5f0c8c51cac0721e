// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores, with a vector vocabulary. Included once an ISA, between its
/// MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include guard, on
/// purpose.
#ifdef MORPHKV_ISA
namespace morphkv::inline v0::kernels::inline MORPHKV_KERNELS_BUILD::MORPHKV_ISA {

/// Bit patterns of floats from 0 up order as the floats do, and those of negative numbers, of minus
/// zero and of NaN come after them: one unsigned maximum tells.
[[nodiscard]] inline bool is_valid_row(const float* row, std::size_t slots) noexcept {
  Units highest[2] = {all_units(0), all_units(0)};
  std::size_t s = 0;
  for (; s + 2 * lanes <= slots; s += 2 * lanes) {
    highest[0] = greater(highest[0], pattern(load(row + s)));
    highest[1] = greater(highest[1], pattern(load(row + s + lanes)));
  }
  for (; s + lanes <= slots; s += lanes) highest[0] = greater(highest[0], pattern(load(row + s)));
  std::uint32_t limit = 0;
  std::memcpy(&limit, &greatest_weight, sizeof limit);
  return greatest(greater(highest[0], highest[1])) <= limit &&
         portable::is_valid_row(row, slots, s);
}

/// Of the slots from `slot` on that `hits` names, and that are not protected, the oldest.
[[gnu::noinline]] inline Slot oldest_of(std::uint32_t hits, std::size_t slot,
                                        const std::uint64_t* protected_bits,
                                        const Position* positions, Slot found) noexcept {
  for (; hits != 0; hits &= hits - 1) {
    const std::size_t hit = slot + static_cast<std::size_t>(__builtin_ctz(hits));
    if (test_bit(protected_bits, hit)) continue;
    found = portable::older(found, static_cast<Slot>(hit), positions);
  }
  return found;
}

template <class Value>
requires std::same_as<Value, std::uint32_t> || std::same_as<Value, float>
[[nodiscard]] Slot oldest_with(Value value, const Value* values, std::size_t slots,
                               const std::uint64_t* protected_bits,
                               const Position* positions) noexcept {
  const auto wanted = all_of(value);
  Slot found = no_slot;
  std::size_t s = 0;
  for (; s + lanes <= slots; s += lanes) {
    const Lanes hits = equal(load(values + s), wanted);
    if (any(hits)) [[unlikely]] {
      found = oldest_of(bits(hits), s, protected_bits, positions, found);
    }
  }
  if (s == slots) return found;
  return portable::oldest_with(value, values, slots, protected_bits, positions, s, found);
}

[[nodiscard]] inline Slot oldest_with_max(std::uint16_t value, const std::uint16_t* prefix,
                                          const std::uint16_t* suffix, std::size_t slots,
                                          const std::uint64_t* protected_bits,
                                          const Position* positions) noexcept {
  const Shorts wanted = all_shorts(value);
  Slot found = no_slot;
  std::size_t s = 0;
  for (; s + short_lanes <= slots; s += short_lanes) {
    const ShortLanes hits =
        equal_shorts(greater(load_shorts(prefix + s), load_shorts(suffix + s)), wanted);
    if (any_short(hits)) [[unlikely]] {
      found = oldest_of(short_bits(hits), s, protected_bits, positions, found);
    }
  }
  if (s == slots) return found;
  return portable::oldest_with_max(value, prefix, suffix, slots, protected_bits, positions, s,
                                   found);
}

}  // namespace morphkv::inline v0::kernels::inline MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
