// SPDX-License-Identifier: Apache-2.0
/// \file
/// The passes of a selection over a vector vocabulary; see portable/top_k.hpp. Included once an
/// ISA, between its MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no
/// include guard, on purpose.
#ifdef MORPHKV_ISA
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace MORPHKV_ISA {

/// Scores in a vector: they compare as they are, and only those that a pass collects become keys.
MORPHKV_VECTOR_WORD Floats score_of_key(std::uint32_t key, float) noexcept {
  return all(portable::score_of(key));
}
MORPHKV_VECTOR_WORD Units score_of_key(std::uint32_t key, std::uint32_t) noexcept {
  return all_units(key);
}
MORPHKV_VECTOR_WORD Units bits_of(Floats scores) noexcept { return pattern(scores); }
MORPHKV_VECTOR_WORD Units bits_of(Units scores) noexcept { return scores; }
/// Lanes where either is NaN.
MORPHKV_VECTOR_WORD Lanes nan_in(Floats a, Floats b) noexcept { return unordered(a, b); }
MORPHKV_VECTOR_WORD Lanes nan_in(Units, Units) noexcept { return no_lanes(); }

/// portable::Passes, two vectors at a time.
struct Passes {
  /// Keys up to a vector beyond `count` are written, and in the range, too.
  template <RankedScore S>
  static portable::Bracket to_keys(std::uint32_t* patterns, std::size_t count) noexcept {
    Units low = all_units(~std::uint32_t{0});
    Units high = all_units(0);
    for (std::size_t i = 0; i < count; i += lanes) {
      Units key = load(patterns + i);
      if constexpr (std::same_as<S, float>) {
        const Units bits = pattern(add(from_pattern(key), zero()));
        key = exclusive_or(bits, either(sign_of(bits), all_units(0x80000000U)));
        store(patterns + i, key);
      }
      low = lesser(low, key);
      high = greater(high, key);
    }
    return {least(low), greatest(high)};
  }

  template <RankedScore S>
  static portable::Split split(const S* scores, std::size_t count, std::uint32_t low,
                               std::uint32_t high, std::uint32_t* inside) noexcept {
    const auto lowest = score_of_key(low, S{});
    const auto highest = score_of_key(high, S{});
    Units up_to = all_units(0);
    std::size_t found = 0;
    Lanes nan = no_lanes();
    std::size_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
      const auto a = load(scores + i);
      const auto b = load(scores + i + lanes);
      nan = one_of(nan, nan_in(a, b));
      const Lanes a_up_to = at_most(a, highest);
      const Lanes b_up_to = at_most(b, highest);
      up_to = one_more_at(b_up_to, one_more_at(a_up_to, up_to));
      found += compress(inside + found, bits_of(a), both(a_up_to, at_most(lowest, a)));
      found += compress(inside + found, bits_of(b), both(b_up_to, at_most(lowest, b)));
    }
    if constexpr (std::same_as<S, float>) to_keys<S>(inside, found);
    const portable::Split rest =
        portable::Passes::split(scores + i, count - i, low, high, inside + found);
    return {i - sum(up_to) + rest.above, found + rest.inside, !any(nan) && rest.ordered};
  }

  static portable::Counts count_from(const std::uint32_t* keys, std::size_t count,
                                     const portable::Pivots& pivots) noexcept {
    const Units a = all_units(pivots[0]);
    const Units b = all_units(pivots[1]);
    const Units c = all_units(pivots[2]);
    Units from_a = all_units(0);
    Units from_b = from_a;
    Units from_c = from_a;
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      const Units some = load(keys + i);
      from_a = one_more_at(at_most(a, some), from_a);
      from_b = one_more_at(at_most(b, some), from_b);
      from_c = one_more_at(at_most(c, some), from_c);
    }
    const portable::Counts rest = portable::Passes::count_from(keys + i, count - i, pivots);
    return {rest[0] + sum(from_a), rest[1] + sum(from_b), rest[2] + sum(from_c)};
  }

  template <RankedScore S>
  static std::size_t find(const S* scores, std::size_t begin, std::uint32_t key,
                          std::size_t skip) noexcept {
    const auto wanted = score_of_key(key, S{});
    for (;; begin += lanes) {  // a vector that is read holds the index, or lies before it
      if (skip < lanes) return portable::Passes::find(scores, begin, key, skip);
      skip -= number_of(equal(load(scores + begin), wanted));
    }
  }

  template <RankedScore S>
  static std::size_t emit(const S* scores, std::size_t begin, std::size_t end, std::uint32_t pivot,
                          std::uint32_t* indices, std::size_t filled, std::size_t room) noexcept {
    const auto pivots = score_of_key(pivot, S{});
    const Units step = all_units(static_cast<std::uint32_t>(lanes));
    Units index = add(ascending(), all_units(static_cast<std::uint32_t>(begin)));
    for (; begin + 2 * lanes <= end && filled + 2 * lanes <= room; begin += 2 * lanes) {
      const Lanes a = at_most(pivots, load(scores + begin));
      const Lanes b = at_most(pivots, load(scores + begin + lanes));
      filled += compress(indices + filled, index, a);
      index = add(index, step);
      filled += compress(indices + filled, index, b);
      index = add(index, step);
    }
    // Where a whole vector may not be written any more.
    for (; begin + lanes <= end && filled < room; begin += lanes) {
      std::uint32_t some[lanes];
      const std::size_t found = compress(some, index, at_most(pivots, load(scores + begin)));
      const std::size_t fits = (std::min)(found, room - filled);
      std::copy_n(some, fits, indices + filled);
      filled += fits;
      index = add(index, step);
    }
    return portable::Passes::emit(scores, begin, end, pivot, indices, filled, room);
  }
};

template <RankedScore S>
[[nodiscard]] bool top_k(const S* scores, std::size_t count, std::size_t wanted,
                         std::uint32_t* indices, std::uint32_t* workspace) noexcept {
  return portable::top_k<Passes>(scores, count, wanted, indices, workspace);
}

}}}}}   // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
