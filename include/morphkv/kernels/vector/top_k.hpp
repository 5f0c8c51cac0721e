// SPDX-License-Identifier: Apache-2.0
/// \file
/// The passes of a selection over a vector vocabulary; see portable/top_k.hpp. Included once per
/// instruction set; see isa/for_each.hpp.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

/// Scores in a vector: they compare as they are, and only those that a pass collects become keys.
MORPHKV_VECTOR_WORD Floats score_of_key(std::uint32_t key, float) noexcept {
  return broadcast(portable::score_of(key));
}
MORPHKV_VECTOR_WORD U32s score_of_key(std::uint32_t key, std::uint32_t) noexcept {
  return broadcast(key);
}
MORPHKV_VECTOR_WORD U32s bits_of(Floats scores) noexcept { return as_u32(scores); }
MORPHKV_VECTOR_WORD U32s bits_of(U32s scores) noexcept { return scores; }
/// Lanes where either is NaN.
MORPHKV_VECTOR_WORD Lanes nan_in(Floats a, Floats b) noexcept { return unordered(a, b); }
MORPHKV_VECTOR_WORD Lanes nan_in(U32s, U32s) noexcept { return Lanes{}; }

/// portable::Passes, two vectors at a time.
struct Passes {
  /// Keys up to a vector beyond `count` are written, and in the range, too.
  template <RankedScore S>
  static portable::Bracket to_keys(std::uint32_t* patterns, std::size_t count) noexcept {
    U32s low = broadcast(~std::uint32_t{0});
    U32s high = broadcast(0U);
    for (std::size_t i = 0; i < count; i += lanes) {
      U32s key = load(patterns + i);
      if constexpr (std::same_as<S, float>) {
        const U32s bits = as_u32(as_f32(key) + 0.0F);
        key = bits ^ (sign_mask(bits) | 0x80000000U);
        store(patterns + i, key);
      }
      low = min(low, key);
      high = max(high, key);
    }
    return {reduce_min(low), reduce_max(high)};
  }

  template <RankedScore S>
  static portable::Split split(const S* scores, std::size_t count, std::uint32_t low,
                               std::uint32_t high, std::uint32_t* inside) noexcept {
    const auto lowest = score_of_key(low, S{});
    const auto highest = score_of_key(high, S{});
    U32s up_to = broadcast(0U);
    std::size_t found = 0;
    Lanes nan{};
    std::size_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
      const auto a = load(scores + i);
      const auto b = load(scores + i + lanes);
      nan |= nan_in(a, b);
      const Lanes a_up_to = less_equal(a, highest);
      up_to = masked_increment(a_up_to, up_to);
      found += compress(inside + found, bits_of(a), a_up_to & less_equal(lowest, a));
      const Lanes b_up_to = less_equal(b, highest);
      up_to = masked_increment(b_up_to, up_to);
      found += compress(inside + found, bits_of(b), b_up_to & less_equal(lowest, b));
    }
    if constexpr (std::same_as<S, float>) to_keys<S>(inside, found);
    const portable::Split rest =
        portable::Passes::split(scores + i, count - i, low, high, inside + found);
    return {i - reduce_add(up_to) + rest.above, found + rest.inside, !any(nan) && rest.ordered};
  }

  static portable::Counts count_from(const std::uint32_t* keys, std::size_t count,
                                     const portable::Pivots& pivots) noexcept {
    const U32s a = broadcast(pivots[0]);
    const U32s b = broadcast(pivots[1]);
    const U32s c = broadcast(pivots[2]);
    U32s from_a = broadcast(0U);
    U32s from_b = from_a;
    U32s from_c = from_a;
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      const U32s some = load(keys + i);
      from_a = masked_increment(less_equal(a, some), from_a);
      from_b = masked_increment(less_equal(b, some), from_b);
      from_c = masked_increment(less_equal(c, some), from_c);
    }
    const portable::Counts rest = portable::Passes::count_from(keys + i, count - i, pivots);
    return {rest[0] + reduce_add(from_a), rest[1] + reduce_add(from_b),
            rest[2] + reduce_add(from_c)};
  }

  template <RankedScore S>
  static std::size_t find(const S* scores, std::size_t begin, std::uint32_t key,
                          std::size_t skip) noexcept {
    const auto wanted = score_of_key(key, S{});
    for (;; begin += lanes) {  // a vector that is read holds the index, or lies before it
      if (skip < lanes) return portable::Passes::find(scores, begin, key, skip);
      skip -= popcount(equal(load(scores + begin), wanted));
    }
  }

  template <RankedScore S>
  static std::size_t emit(const S* scores, std::size_t begin, std::size_t end, std::uint32_t pivot,
                          std::uint32_t* indices, std::size_t filled, std::size_t room) noexcept {
    const auto pivots = score_of_key(pivot, S{});
    constexpr auto step = static_cast<std::uint32_t>(lanes);
    U32s index = iota() + static_cast<std::uint32_t>(begin);
    for (; begin + 2 * lanes <= end && filled + 2 * lanes <= room; begin += 2 * lanes) {
      const Lanes a = less_equal(pivots, load(scores + begin));
      const Lanes b = less_equal(pivots, load(scores + begin + lanes));
      filled += compress(indices + filled, index, a);
      index += step;
      filled += compress(indices + filled, index, b);
      index += step;
    }
    // Where a whole vector may not be written any more.
    for (; begin + lanes <= end && filled < room; begin += lanes) {
      std::uint32_t some[lanes];
      const std::size_t found = compress(some, index, less_equal(pivots, load(scores + begin)));
      const std::size_t fits = (std::min)(found, room - filled);
      std::copy_n(some, fits, indices + filled);
      filled += fits;
      index += step;
    }
    return portable::Passes::emit(scores, begin, end, pivot, indices, filled, room);
  }
};

template <RankedScore S>
[[nodiscard]] bool top_k(const S* scores, std::size_t count, std::size_t wanted,
                         std::uint32_t* indices, std::uint32_t* workspace) noexcept {
  return portable::top_k<Passes>(scores, count, wanted, indices, workspace);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
