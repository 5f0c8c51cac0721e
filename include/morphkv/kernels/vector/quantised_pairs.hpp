// SPDX-License-Identifier: Apache-2.0
/// \file
/// Products of quantised_attention.hpp in 16-bit integers: a vector holds pairs, whose products are
/// added in 32 bits. For the logits a pair are two dimensions, for the output two tokens.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

inline constexpr std::size_t block_words = block_vectors / 2;  ///< vectors of 16-bit integers

/// A pair in memory, in each lane.
MORPHKV_VECTOR_WORD I16s broadcast_pair(const std::uint32_t* pair) noexcept {
  return reinterpret_cast<I16s>(broadcast(*pair));
}

/// The steps of a block.
MORPHKV_VECTOR_WORD void steps_of(const Q8_0& block, I16s (&steps)[block_words]) noexcept {
  using Bytes [[gnu::vector_size(sizeof(I16s) / 2)]] = std::int8_t;
  MORPHKV_UNROLL for (std::size_t i = 0; i < block_words; ++i) {
    steps[i] = __builtin_convertvector(load_as<Bytes>(block.steps + i * sizeof(Bytes)), I16s);
  }
}
/// The pairs of the steps of two blocks, in an order that in_order() mends.
MORPHKV_VECTOR_WORD void zip_blocks(const I16s (&a)[block_words], const I16s (&b)[block_words],
                                    I16s (&pairs)[block_vectors]) noexcept {
  MORPHKV_UNROLL for (std::size_t i = 0; i < block_words; ++i) {
    pairs[2 * i] = zip<false, 1>(a[i], b[i]);
    pairs[2 * i + 1] = zip<true, 1>(a[i], b[i]);
  }
}
/// Dimensions First ... First + lanes - 1 of two vectors that zip_blocks() began.
template <std::size_t First, std::size_t... I>
MORPHKV_VECTOR_WORD I32s unzipped(I32s a, I32s b, std::index_sequence<I...>) noexcept {
  return __builtin_shufflevector(
      a, b, ((First + I) / 8 * 4 + (First + I) % 4 + (First + I) / 4 % 2 * lanes)...);
}
MORPHKV_VECTOR_WORD void in_order(I32s (&a)[block_vectors]) noexcept {
  MORPHKV_UNROLL for (std::size_t v = 0; v < block_vectors; v += 2) {
    const I32s first = a[v];
    const I32s last = a[v + 1];
    a[v] = unzipped<0>(first, last, std::make_index_sequence<lanes>());
    a[v + 1] = unzipped<lanes>(first, last, std::make_index_sequence<lanes>());
  }
}

/// How the bytes of a block become pairs of integers: those of keys four bytes to a lane, of which
/// the first pairs are numbers 0 and 2 of four, and the next 1 and 3; those of values from two
/// tokens. The integers are the steps plus `bias`.
template <Quantised T>
struct BlockPairs;
template <>
struct BlockPairs<Q8_0> {
  static constexpr std::size_t parts = 2;  ///< of sixteen bytes
  static constexpr std::size_t pairs = 2;  ///< of four bytes

  MORPHKV_VECTOR_WORD static const void* part(const Q8_0& block, std::size_t number) noexcept {
    return block.steps + 16 * number;
  }
  MORPHKV_VECTOR_WORD static void split(U32s bytes, I16s (&out)[pairs]) noexcept {
    const auto words = reinterpret_cast<I16s>(bytes);
    out[0] = words << 8 >> 8;
    out[1] = words >> 8;
  }
  /// The number among those of a block.
  static constexpr std::size_t index(std::size_t part, std::size_t four, std::size_t pair) {
    return 8 * part + 2 * four + pair;
  }
  /// What meets the weights of two tokens.
  MORPHKV_VECTOR_WORD static void of_values(const Q8_0& a, const Q8_0& b,
                                            I16s (&out)[block_vectors]) noexcept {
    I16s even[block_words];
    I16s odd[block_words];
    steps_of(a, even);
    steps_of(b, odd);
    zip_blocks(even, odd, out);
  }
  /// From the sums of what of_values() gave, those of a block's numbers.
  MORPHKV_VECTOR_WORD static void finish(I32s (&sums)[block_vectors]) noexcept { in_order(sums); }
};
template <>
struct BlockPairs<Q4_0> {
  static constexpr std::size_t parts = 1;
  static constexpr std::size_t pairs = 4;

  MORPHKV_VECTOR_WORD static const void* part(const Q4_0& block, std::size_t) noexcept {
    return block.pairs;
  }
  MORPHKV_VECTOR_WORD static void split(U32s bytes, I16s (&out)[pairs]) noexcept {
    const auto words = reinterpret_cast<U16s>(bytes);
    out[0] = reinterpret_cast<I16s>(words & 15);
    out[1] = reinterpret_cast<I16s>(words >> 8 & 15);
    out[2] = reinterpret_cast<I16s>(words >> 4 & 15);
    out[3] = reinterpret_cast<I16s>(words >> 12);
  }
  static constexpr std::size_t index(std::size_t, std::size_t four, std::size_t pair) {
    return pair / 2 * 8 + 2 * four + pair % 2;
  }
  /// Whole bytes stand for their lower halves: finish() takes the upper ones off.
  MORPHKV_VECTOR_WORD static void of_values(const Q4_0& a, const Q4_0& b,
                                            I16s (&out)[block_vectors]) noexcept {
    I16s bytes[half];
    zip_bytes(a.pairs, b.pairs, bytes);
    MORPHKV_UNROLL for (std::size_t v = 0; v < half; ++v) {
      out[v] = bytes[v];
      out[half + v] = bytes[v] >> 4;
    }
  }
  MORPHKV_VECTOR_WORD static void finish(I32s (&sums)[block_vectors]) noexcept {
    MORPHKV_UNROLL for (std::size_t v = 0; v < half; ++v) sums[v] -= 16 * sums[half + v];
  }

 private:
  static constexpr std::size_t half = block_vectors / 2;
};

/// What quantised_attention.hpp asks for.
struct PairDots {
  static constexpr float max_integer = 32767;
  using Sums = I32s;
  MORPHKV_VECTOR_WORD static Sums begin(I32s sums) noexcept { return sums; }
  MORPHKV_VECTOR_WORD static I32s total(Sums sums) noexcept { return sums; }

  /// Packs a block of a query: of each four numbers 0 and 2, 1 and 3. \return the sum of its
  /// integers
  static std::int32_t pack_query(const float* query, const Step& some,
                                 std::uint32_t* pairs) noexcept {
    std::int32_t sum = 0;
    for (std::size_t d = 0; d < block_numbers; d += 4) {
      const auto low = [&](std::size_t i) noexcept {
        // As Step::integers rounds.
        const float rounded = std::fma(query[d + i], some.per_step, 0x1.8p23F);
        const std::uint32_t word = std::bit_cast<std::uint32_t>(rounded) & 0xffffU;
        sum += static_cast<std::int16_t>(word);
        return word;
      };
      pairs[d / 2] = low(0) | low(2) << 16;
      pairs[d / 2 + 1] = low(1) | low(3) << 16;
    }
    return sum;
  }

  /// products += a block of the keys of some tokens times the queries.
  template <std::size_t Heads, std::size_t Vectors, Quantised T, class Query>
  MORPHKV_VECTOR_WORD static void add_keys(const Query (&queries)[Heads], const T* const* rows,
                                           std::size_t block,
                                           Sums (&products)[Heads][Vectors]) noexcept {
    [&]<std::size_t... Part>(std::index_sequence<Part...>) noexcept {
      (add_part<Part>(queries, rows, block, products, std::make_index_sequence<Vectors>()), ...);
    }
    (std::make_index_sequence<BlockPairs<T>::parts>());
  }

  /// Packs the weights of a tile: a pair are two tokens `lanes` apart. With Sum the lanes of `sums`
  /// receive their sum, in parts.
  template <bool Sum, std::size_t Vectors>
  MORPHKV_VECTOR_WORD static void pack_weights(const Floats (&weights)[Vectors], const Step& some,
                                               std::uint32_t* pairs, I32s& sums) noexcept {
    MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; v += 2) {
      const U32s both = some.integers(weights[v + 1]) << 16 | (some.integers(weights[v]) & 0xffffU);
      store(pairs + v / 2 * lanes, both);
      if constexpr (Sum) sums = add_dots(sums, reinterpret_cast<I16s>(both), I16s{} + 1);
    }
  }

  static constexpr std::size_t value_step = 2;  ///< tokens between two looks ahead

  /// What of a block of values is summed at once: all of it.
  template <Quantised T, std::size_t Heads>
  struct Slice {
    static constexpr std::size_t slices = 1;  ///< per block
    static constexpr std::size_t vectors = block_vectors;
    /// Whose sums are in registers at once.
    static constexpr std::size_t heads = (tuning.registers - block_vectors - 2) / block_vectors;
    /// The first number of a vector, among those of the block.
    static constexpr std::size_t number(std::size_t, std::size_t v) { return v * lanes; }

    template <std::size_t Some, std::size_t Words>
    MORPHKV_VECTOR_WORD static void add(const T* const* rows, std::size_t block, std::size_t,
                                        const std::uint32_t (*weights)[Words], std::size_t tokens,
                                        std::size_t lines, ReadAhead<T>& ahead,
                                        Sums (&sums)[Some][vectors]) noexcept {
      for (std::size_t first = 0; first < tokens; first += 2 * lanes) {
        const std::size_t count = (std::min)(lanes, tokens - first);
        for (std::size_t t = 0; t < count; ++t) {
          ahead.lines(lines);
          I16s values[block_vectors];
          BlockPairs<T>::of_values(rows[first + t][block], rows[first + lanes + t][block], values);
          MORPHKV_UNROLL for (std::size_t h = 0; h < Some; ++h) {
            const I16s weight = broadcast_pair(weights[h] + first / 2 + t);
            MORPHKV_UNROLL for (std::size_t v = 0; v < block_vectors; ++v) {
              sums[h][v] = add_dots(sums[h][v], values[v], weight);
            }
          }
        }
      }
      MORPHKV_UNROLL for (std::size_t h = 0; h < Some; ++h) BlockPairs<T>::finish(sums[h]);
    }
  };

 private:
  /// products += sixteen bytes of a block of the keys of some tokens times the queries.
  template <std::size_t Part, std::size_t Heads, Quantised T, class Query, std::size_t... V>
  MORPHKV_VECTOR_WORD static void add_part(const Query (&queries)[Heads], const T* const* rows,
                                           std::size_t block, Sums (&products)[Heads][sizeof...(V)],
                                           std::index_sequence<V...>) noexcept {
    using Pairs = BlockPairs<T>;
    U32s fours[sizeof...(V)][4];
    (transpose(
         [&](std::size_t t) noexcept { return Pairs::part(rows[V * lanes + t][block], Part); },
         fours[V]),
     ...);
    MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) {
      I16s key[sizeof...(V)][Pairs::pairs];
      (Pairs::split(fours[V][i], key[V]), ...);
      MORPHKV_UNROLL for (std::size_t p = 0; p < Pairs::pairs; ++p) {
        const std::size_t at = block * block_numbers / 2 + Pairs::index(Part, i, p);
        MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
          const I16s query = broadcast_pair(queries[h].words + at);
          ((products[h][V] = add_dots(products[h][V], key[V][p], query)), ...);
        }
      }
    }
  }
};

/// See kernels::decode_attention.
template <Quantised T>
bool decode_attention(const DecodeAttention<T>& a) noexcept {
  return attend_quantised<PairDots>(a);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
