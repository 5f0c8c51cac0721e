// SPDX-License-Identifier: Apache-2.0
/// \file
/// Products of quantised_attention.hpp in bytes, with dot products of four of them: for the logits
/// four dimensions, for the output four tokens. The bytes of a cache need no unpacking. An integer
/// that meets them is 256 * high + low, two bytes with a sum of products each, so nothing is
/// rounded beside the integers themselves.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

/// Where the bytes of a block begin in a row. Added to the addresses of rows, one number for many,
/// it is part of an instruction that loads; the member of a block of each row would be two more.
template <Quantised T>
constexpr std::size_t steps_begin(std::size_t block) noexcept {
  return block * sizeof(T) + sizeof(T::scale);
}
MORPHKV_VECTOR_WORD const void* byte_of(const void* row, std::size_t at) noexcept {
  return static_cast<const std::byte*>(row) + at;
}

/// How the bytes of a block become operands of dot products: bytes that are the steps plus `bias`.
template <Quantised T>
struct BlockBytes;
template <>
struct BlockBytes<Q8_0> {
  static constexpr std::size_t operands = 1;  ///< from one vector of bytes
  static constexpr std::size_t parts = 2;     ///< of sixteen bytes
  MORPHKV_VECTOR_WORD static void split(I8s bytes, I8s (&out)[operands]) noexcept {
    out[0] = bytes;
  }
};
template <>
struct BlockBytes<Q4_0> {
  static constexpr std::size_t operands = 2;  ///< sixteen numbers apart
  static constexpr std::size_t parts = 1;
  MORPHKV_VECTOR_WORD static void split(I8s bytes, I8s (&out)[operands]) noexcept {
    using Unsigned [[gnu::vector_size(sizeof(I8s))]] = std::uint8_t;
    const auto pairs = reinterpret_cast<Unsigned>(bytes);
    out[0] = reinterpret_cast<I8s>(pairs & 15);
    out[1] = reinterpret_cast<I8s>(pairs >> 4);
  }
};

/// What quantised_attention.hpp asks for.
struct ByteDots {
  static constexpr float max_integer = 32639;  ///< 256 * 127 + 127
  struct Sums {
    I32s low, high;
  };
  MORPHKV_VECTOR_WORD static Sums begin(I32s sums) noexcept { return {sums, I32s{}}; }
  MORPHKV_VECTOR_WORD static I32s total(Sums sums) noexcept { return sums.low + 256 * sums.high; }

  /// Packs a block of a query: of each sixteen integers the low bytes, then the high ones. \return
  /// their sum
  static std::int32_t pack_query(const float* query, const Step& some,
                                 std::uint32_t* words) noexcept {
    Floats numbers[block_vectors];
    load_all(query, numbers);
    I32s sums{};
    pack_weights<true>(numbers, some, words, sums);
    return reduce_add(sums);
  }

  /// products += a block of the keys of some tokens times the queries.
  template <std::size_t Heads, std::size_t Vectors, Quantised T, class Query>
  MORPHKV_VECTOR_WORD static void add_keys(const Query (&queries)[Heads], const T* const* rows,
                                           std::size_t block,
                                           Sums (&products)[Heads][Vectors]) noexcept {
    using Bytes = BlockBytes<T>;
    MORPHKV_UNROLL for (std::size_t part = 0; part < Bytes::parts; ++part) {
      const std::size_t at = steps_begin<T>(block) + 16 * part;
      I8s keys[Bytes::operands][Vectors][4];
      MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
        U32s fours[4];
        transpose([&](std::size_t t) noexcept { return byte_of(rows[v * lanes + t], at); }, fours);
        MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) {
          I8s split[Bytes::operands];
          Bytes::split(reinterpret_cast<I8s>(fours[i]), split);
          MORPHKV_UNROLL for (std::size_t p = 0; p < Bytes::operands; ++p) {
            keys[p][v][i] = split[p];
          }
        }
      }
      MORPHKV_UNROLL for (std::size_t p = 0; p < Bytes::operands; ++p) {
        MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
          const Sixteen query(queries[h].words + 8 * (2 * block + part + p));
          MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
            query.add_products<0>(keys[p][v][0], products[h][v]);
            query.add_products<1>(keys[p][v][1], products[h][v]);
            query.add_products<2>(keys[p][v][2], products[h][v]);
            query.add_products<3>(keys[p][v][3], products[h][v]);
          }
        }
      }
    }
  }

  /// Packs the weights of a tile: of each sixteen integers the low bytes, then the high ones. With
  /// Sum the lanes of `sums` receive their sum, in parts.
  template <bool Sum, std::size_t Vectors>
  MORPHKV_VECTOR_WORD static void pack_weights(const Floats (&weights)[Vectors], const Step& some,
                                               std::uint32_t* words, I32s& sums) noexcept {
    MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; v += 4) {
      U32s integers[4];
      MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) {
        integers[i] = some.integers(weights[v + i]);
      }
      I8s low;
      I8s high;
      split_integers(integers, low, high);
      store(words + 2 * v, low);
      store(words + 2 * v + 4, high);
      if constexpr (Sum) {
        const I8s ones = I8s{} + 1;
        sums += total({add_dots<0>(I32s{}, low, ones), add_dots<0>(I32s{}, high, ones)});
      }
    }
  }

  static constexpr std::size_t value_step = 16;  ///< tokens between two looks ahead

  /// What of a block of values is summed at once: the numbers in eight bytes for many heads, or in
  /// sixteen for few, so that the sums fill half of the registers.
  template <Quantised T, std::size_t Heads>
  struct Slice {
    using Bytes = BlockBytes<T>;
    static constexpr std::size_t bytes = Heads * Bytes::operands <= 2 ? 16 : 8;
    static constexpr std::size_t slices = 16 * Bytes::parts / bytes;  ///< per block
    static constexpr std::size_t vectors = Bytes::operands * bytes / lanes;
    /// Whose sums are in registers at once.
    static constexpr std::size_t heads = tuning.registers / 4 / vectors;
    /// The first number of a vector, among those of the block.
    static constexpr std::size_t number(std::size_t slice, std::size_t v) {
      return slice * bytes + v % (bytes / lanes) * lanes + v / (bytes / lanes) * 16;
    }

    template <std::size_t Some, std::size_t Words>
    MORPHKV_VECTOR_WORD static void add(const T* const* rows, std::size_t block, std::size_t slice,
                                        const std::uint32_t (*weights)[Words], std::size_t tokens,
                                        std::size_t lines, ReadAhead<T>& ahead,
                                        Sums (&sums)[Some][vectors]) noexcept {
      const std::size_t at = steps_begin<T>(block) + slice * bytes;
      for (std::size_t t = 0; t < tokens; t += value_step) {
        ahead.lines(lines);
        add_fours(rows + t, at, weights, t / 2, sums, std::make_index_sequence<value_step / 4>());
      }
    }

   private:
    /// sums += the values of tokens, four by four, times their weights.
    template <std::size_t Some, std::size_t Words, std::size_t... Four>
    MORPHKV_VECTOR_WORD static void add_fours(const T* const* rows, std::size_t at,
                                              const std::uint32_t (*weights)[Words],
                                              std::size_t word, Sums (&sums)[Some][vectors],
                                              std::index_sequence<Four...>) noexcept {
      (add_four<Four>(rows + 4 * Four, at, weights, word, sums), ...);
    }
    template <std::size_t Four, std::size_t Some, std::size_t Words>
    MORPHKV_VECTOR_WORD static void add_four(const T* const* rows, std::size_t at,
                                             const std::uint32_t (*weights)[Words],
                                             std::size_t word,
                                             Sums (&sums)[Some][vectors]) noexcept {
      constexpr std::size_t count = bytes / lanes;
      I8s fours[count];
      zip_rows([&](std::size_t t) noexcept { return byte_of(rows[t], at); }, fours);
      I8s values[count][Bytes::operands];
      MORPHKV_UNROLL for (std::size_t i = 0; i < count; ++i) Bytes::split(fours[i], values[i]);
      MORPHKV_UNROLL for (std::size_t h = 0; h < Some; ++h) {
        const Sixteen weight(weights[h] + word);
        MORPHKV_UNROLL for (std::size_t v = 0; v < vectors; ++v) {
          weight.add_products<Four>(values[v % count][v / count], sums[h][v]);
        }
      }
    }
  };

 private:
  /// Sixteen integers, as pack_weights stored them.
  struct Sixteen {
    I8s low, high;

    MORPHKV_VECTOR_WORD explicit Sixteen(const std::uint32_t* words) noexcept
        : low(load_as<I8s>(words)), high(load_as<I8s>(words + 4)) {}
    /// sums += bytes times four of the integers, number Four.
    template <std::size_t Four>
    MORPHKV_VECTOR_WORD void add_products(I8s bytes, Sums& sums) const noexcept {
      sums.low = add_dots<Four>(sums.low, bytes, low);
      sums.high = add_dots<Four>(sums.high, bytes, high);
    }
  };
};

/// See kernels::decode_attention.
template <Scalar T>
bool decode_attention(const DecodeAttention<T>& a) noexcept {
  return neon::decode_attention(a);  // the only set that this file is included for
}
template <Quantised T>
bool decode_attention(const DecodeAttention<T>& a) noexcept {
  return attend_quantised<ByteDots>(a);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
