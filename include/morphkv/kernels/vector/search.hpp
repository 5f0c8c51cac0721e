// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores, with a vector vocabulary. Included once an ISA, between its
/// MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include guard, on
/// purpose.
#ifdef MORPHKV_ISA
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace MORPHKV_ISA {

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

/// The oldest candidate where `hits_at(slot)`, the lanes of `Width` slots, has a hit; from `slot`
/// on as far as whole vectors go. Hits are rare: four vectors are looked at together.
template <std::size_t Width, class HitsAt>
[[nodiscard]] Slot oldest_hit(const HitsAt& hits_at, std::size_t& slot, std::size_t slots,
                              const std::uint64_t* protected_bits,
                              const Position* positions) noexcept {
  Slot found = no_slot;
  for (; slot + 4 * Width <= slots; slot += 4 * Width) {
    const auto first = one_of(hits_at(slot), hits_at(slot + Width));
    const auto second = one_of(hits_at(slot + 2 * Width), hits_at(slot + 3 * Width));
    if (!any(one_of(first, second))) [[likely]]
      continue;
    for (std::size_t s = slot; s < slot + 4 * Width; s += Width) {
      found = oldest_of(bits(hits_at(s)), s, protected_bits, positions, found);
    }
  }
  for (; slot + Width <= slots; slot += Width) {
    found = oldest_of(bits(hits_at(slot)), slot, protected_bits, positions, found);
  }
  return found;
}

template <class Value>
requires std::same_as<Value, std::uint32_t> || std::same_as<Value, float>
[[nodiscard]] Slot oldest_with(Value value, const Value* values, std::size_t slots,
                               const std::uint64_t* protected_bits,
                               const Position* positions) noexcept {
  const auto wanted = all_of(value);
  const auto hits_at = [&](std::size_t s) noexcept { return equal(load(values + s), wanted); };
  std::size_t s = 0;
  const Slot found = oldest_hit<lanes>(hits_at, s, slots, protected_bits, positions);
  if (s == slots) return found;
  return portable::oldest_with(value, values, slots, protected_bits, positions, s, found);
}

[[nodiscard]] inline Slot oldest_with_max(std::uint16_t value, const std::uint16_t* prefix,
                                          const std::uint16_t* suffix, std::size_t slots,
                                          const std::uint64_t* protected_bits,
                                          const Position* positions) noexcept {
  const Shorts wanted = all_shorts(value);
  const auto hits_at = [&](std::size_t s) noexcept {
    return equal(greater(load_shorts(prefix + s), load_shorts(suffix + s)), wanted);
  };
  std::size_t s = 0;
  const Slot found = oldest_hit<short_lanes>(hits_at, s, slots, protected_bits, positions);
  if (s == slots) return found;
  return portable::oldest_with_max(value, prefix, suffix, slots, protected_bits, positions, s,
                                   found);
}

}}}}}   // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
