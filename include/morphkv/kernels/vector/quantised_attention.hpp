// SPDX-License-Identifier: Apache-2.0
/// \file
/// Decode attention over quantised keys and values, in integers. Included once per instruction set;
/// see isa/for_each.hpp.
///
/// A vector holds pairs of 16-bit integers, whose products are added in 32 bits. For the logits a
/// lane is a token, and its pair are two dimensions: the keys of `lanes` tokens are transposed once
/// for all query heads, and no sum crosses lanes. For the output a lane is a dimension, and its
/// pair are two tokens.
///
/// What meets the steps of keys and values are integers too: a query, and the weights of a tile of
/// tokens times the scales of their values. Each is rounded by at most 2^-16 of the greatest of
/// them; the sums over a block, and those over a tile, are exact.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

inline constexpr std::size_t block_numbers = 32;
inline constexpr std::size_t block_vectors = block_numbers / lanes;  ///< of floats
inline constexpr std::size_t block_words = block_vectors / 2;        ///< vectors of 16-bit integers
inline constexpr std::size_t max_blocks = 32;  ///< of a row: the size of buffers
static_assert(tuning.value_tokens % 32 == 0 && tuning.value_tokens <= 256);

/// Numbers of at most the magnitude `greatest` as integers times a step. Below 1e-30 they are 0: no
/// float sum shows them. NaN and infinity make the step NaN.
struct Step {
  static constexpr float max_integer = 32767;
  float step;
  float per_step;

  explicit Step(float greatest) noexcept {
    const bool is_zero = greatest < 1e-30F;
    step = greatest * (is_zero ? 0 : 1 / max_integer) + 0 * greatest;
    per_step = is_zero ? 0 : max_integer / greatest;
  }
  /// Integers in the lower halves; the upper ones hold no meaning.
  [[nodiscard]] MORPHKV_VECTOR_WORD U32s integers(Floats numbers) const noexcept {
    // In a number from 2^23 to 2^24 the last bit weighs 1.
    return as_u32(fma(numbers, broadcast(per_step), broadcast(0x1.8p23F)));
  }
};

MORPHKV_VECTOR_WORD Floats magnitude(Floats a) noexcept { return as_f32(as_u32(a) & 0x7fffffffU); }

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

/// Sixteen bytes of each of `lanes` rows: words[i] has bytes 4 i ... 4 i + 3 of row t in lane t.
template <class Row>
MORPHKV_VECTOR_WORD void transpose(const Row& row, U32s (&words)[4]) noexcept {
  U32s rows[4];
  MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) {
    rows[i] = load_parts([&](std::size_t t) noexcept { return row(t + i); });
  }
  const HalfU64s ab[] = {reinterpret_cast<HalfU64s>(zip<false, 1>(rows[0], rows[1])),
                         reinterpret_cast<HalfU64s>(zip<true, 1>(rows[0], rows[1]))};
  const HalfU64s cd[] = {reinterpret_cast<HalfU64s>(zip<false, 1>(rows[2], rows[3])),
                         reinterpret_cast<HalfU64s>(zip<true, 1>(rows[2], rows[3]))};
  MORPHKV_UNROLL for (std::size_t i = 0; i < 2; ++i) {
    words[2 * i] = reinterpret_cast<U32s>(zip<false, 1>(ab[i], cd[i]));
    words[2 * i + 1] = reinterpret_cast<U32s>(zip<true, 1>(ab[i], cd[i]));
  }
}

/// How the bytes of a block become pairs of integers: those of keys four bytes to a lane, of which
/// the first pairs are numbers 0 and 2 of four, and the next 1 and 3; those of values from two
/// tokens. The integers are the steps plus `bias`, which is taken off the sums of their products.
template <Quantised T>
struct BlockPairs;
template <>
struct BlockPairs<Q8_0> {
  static constexpr std::int32_t bias = 0;
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
  static constexpr std::int32_t bias = 8;
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

/// The scales of the blocks of `Count` rows.
template <std::size_t Count>
class Scales {
 public:
  template <Quantised T>
  void set(const T* const* rows, std::size_t blocks) noexcept {
    std::size_t b = 0;
    for (; b + 4 <= blocks; b += 4) copy<4>(rows, b);
    for (; b < blocks; ++b) copy<1>(rows, b);
  }
  /// Those of a block, of `lanes` rows from `t` on.
  [[nodiscard]] MORPHKV_VECTOR_WORD Floats get(std::size_t block, std::size_t t) const noexcept {
    return to_f32(load_f16(halves_[block] + t));
  }

 private:
  template <std::size_t Blocks, Quantised T>
  void copy(const T* const* rows, std::size_t block) noexcept {
    for (std::size_t t = 0; t < Count; ++t) {
      const T* blocks = rows[t] + block;
      MORPHKV_UNROLL for (std::size_t b = 0; b < Blocks; ++b) {
        halves_[block + b][t] = std::bit_cast<std::uint16_t>(blocks[b].scale);
      }
    }
  }

  std::uint16_t halves_[max_blocks][Count];
};

/// The next `tokens` rows, and after them the last one.
template <std::size_t Count, Quantised T>
void next_rows(KvCursor<T>& cursor, std::size_t stride, std::size_t tokens,
               const T* (&rows)[Count]) noexcept {
  std::size_t t = 0;
  while (t < tokens) {
    const T* first = nullptr;
    const std::size_t end = t + cursor.next(tokens - t, first);
    for (; t < end; ++t, first += stride) rows[t] = first;
  }
  for (; t < Count; ++t) rows[t] = rows[tokens - 1];
}

/// Lines to prefetch per block of some rows, and how many are left over.
struct BlockLines {
  std::size_t each = 0;
  std::size_t more = 0;

  BlockLines(std::size_t bytes, std::size_t blocks) noexcept
      : each((bytes + 63) / 64 / blocks), more((bytes + 63) / 64 % blocks) {}
};

/// The two products of attention, in integers: what decode_with asks for.
struct IntegerProducts {
  /// Logits of `Heads` query heads over all tokens.
  template <std::size_t Heads, Quantised T>
  void logits(const DecodeAttention<T>& arguments, std::size_t head, std::size_t lines,
              ReadAhead<T>& ahead) const noexcept {
    const DecodeAttention<T> a = arguments;  // a copy, which no store can change
    Query<T> queries[Heads];
    for (std::size_t h = 0; h < Heads; ++h) {
      queries[h].set(a.query + (head + h) * a.head_dim, a.head_dim);
    }
    const std::size_t blocks = a.head_dim / block_numbers;
    const BlockLines to_read(lines == 0 ? 0 : key_tokens * blocks * sizeof(T), blocks);
    KvCursor<T> cursor(a.keys);
    for (std::size_t t = 0; t < a.tokens; t += key_tokens) {
      const std::size_t count = (std::min)(key_tokens, a.tokens - t);
      const T* rows[key_tokens];
      next_rows(cursor, a.keys.stride, count, rows);
      Scales<key_tokens> scales;
      scales.set(rows, blocks);
      Floats sums[Heads][key_vectors] = {};
      ahead.lines(to_read.more);
      for (std::size_t b = 0; b < blocks; ++b) {
        ahead.lines(to_read.each);
        add_block<Heads>(queries, rows, scales, b, sums);
      }
      MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
        const float scale = queries[h].step * a.logits.scale;
        float* to = a.weights + (head + h) * a.weight_stride + t;
        for (std::size_t v = 0; v < key_vectors && v * lanes < count; ++v) {
          const std::size_t rest = count - v * lanes;
          const Floats logits = sums[h][v] * scale;
          rest >= lanes ? store(to + v * lanes, logits) : store_first(to + v * lanes, logits, rest);
        }
      }
    }
  }

  /// output += weights * values for `Heads` query heads and a tile of tokens, where the cursor
  /// stands.
  template <std::size_t Heads, Quantised T>
  void values(const DecodeAttention<T>& a, KvCursor<T> cursor, std::size_t head, std::size_t token,
              std::size_t tokens, std::size_t lines, ReadAhead<T>& ahead) const noexcept {
    const T* rows[tuning.value_tokens];
    next_rows(cursor, a.values.stride, tokens, rows);
    const std::size_t blocks = a.output_dim() / block_numbers;
    const BlockLines to_read(lines == 0 ? 0 : 2 * blocks * sizeof(T), blocks);
    Scales<tuning.value_tokens> scales;
    scales.set(rows, blocks);
    for (std::size_t b = 0; b < blocks; ++b) {
      TileWeights<T, Heads> weights;
      weights.set(a.weights + head * a.weight_stride + token, a.weight_stride, tokens, scales, b);
      add_values<0>(a, weights, rows, b, head, tokens, to_read.each + (b < to_read.more ? 1 : 0),
                    ahead);
    }
  }

  /// Divides the sums of a head by the sum of its weights.
  static void finish(float* output, std::size_t dim, float share) noexcept {
    for (std::size_t d = 0; d < dim; ++d) output[d] *= share;
  }

 private:
  /// Vectors of tokens whose keys meet a pair of a query once it is in a register.
  static constexpr std::size_t key_vectors = tuning.registers >= 32 ? 2 : 1;
  static constexpr std::size_t key_tokens = key_vectors * lanes;

  /// The query of one head.
  template <Quantised T>
  struct Query {
    std::uint32_t pairs[max_blocks * block_numbers / 2];  ///< of each four numbers 0 and 2, 1 and 3
    std::int32_t biases[max_blocks] = {};  ///< its product with that of the keys, negated, by block
    float step;

    void set(const float* query, std::size_t dim) noexcept {
      Floats greatest{};
      Floats check{};  // NaN if a number is, or infinity
      for (std::size_t d = 0; d < dim; d += lanes) {
        greatest = max(greatest, magnitude(load(query + d)));
        check = fma(load(query + d), Floats{}, check);
      }
      const Step some(reduce_max(greatest) + reduce_add(check));
      step = some.step;
      for (std::size_t d = 0; d < dim; d += 4) {
        const auto low = [&](std::size_t i) noexcept {
          // As Step::integers rounds.
          const float rounded = std::fma(query[d + i], some.per_step, 0x1.8p23F);
          const std::uint32_t word = std::bit_cast<std::uint32_t>(rounded) & 0xffffU;
          biases[d / block_numbers] -= BlockPairs<T>::bias * static_cast<std::int16_t>(word);
          return word;
        };
        pairs[d / 2] = low(0) | low(2) << 16;
        pairs[d / 2 + 1] = low(1) | low(3) << 16;
      }
    }
  };

  /// products += sixteen bytes of a block of the keys of some tokens times the queries.
  template <std::size_t Part, std::size_t Heads, Quantised T, std::size_t... V>
  MORPHKV_VECTOR_WORD static void add_part(const Query<T> (&queries)[Heads], const T* const* rows,
                                           std::size_t block, I32s (&products)[Heads][key_vectors],
                                           std::index_sequence<V...>) noexcept {
    using Pairs = BlockPairs<T>;
    U32s fours[key_vectors][4];
    (transpose(
         [&](std::size_t t) noexcept { return Pairs::part(rows[V * lanes + t][block], Part); },
         fours[V]),
     ...);
    MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) {
      I16s key[key_vectors][Pairs::pairs];
      (Pairs::split(fours[V][i], key[V]), ...);
      MORPHKV_UNROLL for (std::size_t p = 0; p < Pairs::pairs; ++p) {
        const std::size_t at = block * block_numbers / 2 + Pairs::index(Part, i, p);
        MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
          const I16s query = broadcast_pair(queries[h].pairs + at);
          ((products[h][V] = add_dots(products[h][V], key[V][p], query)), ...);
        }
      }
    }
  }

  /// sums += a block of the keys of some tokens times that of `Heads` queries.
  template <std::size_t Heads, Quantised T>
  MORPHKV_VECTOR_WORD static void add_block(const Query<T> (&queries)[Heads], const T* const* rows,
                                            const Scales<key_tokens>& scales, std::size_t block,
                                            Floats (&sums)[Heads][key_vectors]) noexcept {
    I32s products[Heads][key_vectors];
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t v = 0; v < key_vectors; ++v) {
        products[h][v] = I32s{} + queries[h].biases[block];
      }
    }
    [&]<std::size_t... Part>(std::index_sequence<Part...>) noexcept {
      (add_part<Part>(queries, rows, block, products, std::make_index_sequence<key_vectors>()),
       ...);
    }
    (std::make_index_sequence<BlockPairs<T>::parts>());
    MORPHKV_UNROLL for (std::size_t v = 0; v < key_vectors; ++v) {
      const Floats scale = scales.get(block, v * lanes);
      MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
        sums[h][v] = fma(__builtin_convertvector(products[h][v], Floats), scale, sums[h][v]);
      }
    }
  }

  /// The weights of a tile's tokens for some heads, times the scales of one block of their values,
  /// as integers. A pair are two tokens `lanes` apart.
  template <Quantised T, std::size_t Heads>
  struct TileWeights {
    static constexpr std::size_t vectors = tuning.value_tokens / lanes;

    alignas(64) std::uint32_t pairs[Heads][tuning.value_tokens / 2];
    std::int32_t sums[4];  ///< by head; 0 without a bias, which needs them
    float steps[Heads];

    MORPHKV_VECTOR_WORD void set(const float* weights, std::size_t stride, std::size_t tokens,
                                 const Scales<tuning.value_tokens>& scales,
                                 std::size_t block) noexcept {
      Floats products[Heads][vectors];
      Floats greatest[4] = {};
      MORPHKV_UNROLL for (std::size_t v = 0; v < vectors; ++v) {
        const std::size_t t = (std::min)(v * lanes, tokens);
        const Floats scale = scales.get(block, v * lanes);
        MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
          const float* from = weights + h * stride + t;
          products[h][v] =
              scale * (tokens - t >= lanes ? load(from) : load_first(from, tokens - t));
          greatest[h] = max(greatest[h], magnitude(products[h][v]));
        }
      }
      const auto most = reduce_four(greatest[0], greatest[1], greatest[2], greatest[3],
                                    [](auto x, auto y) noexcept { return x > y ? x : y; });
      I32s parts[4] = {};  // of `sums`
      MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
        const Step some(most[h]);
        steps[h] = some.step;
        MORPHKV_UNROLL for (std::size_t v = 0; v < vectors; v += 2) {
          const U32s both =
              some.integers(products[h][v + 1]) << 16 | (some.integers(products[h][v]) & 0xffffU);
          store(pairs[h] + v / 2 * lanes, both);
          if constexpr (BlockPairs<T>::bias != 0) {
            parts[h] = add_dots(parts[h], reinterpret_cast<I16s>(both), I16s{} + 1);
          }
        }
      }
      const auto all = reduce_four(parts[0], parts[1], parts[2], parts[3],
                                   [](auto x, auto y) noexcept { return x + y; });
      store(sums, all);
    }
  };

  /// Heads whose sums over a block's dimensions are in registers at once.
  static constexpr std::size_t value_heads = (tuning.registers - block_vectors - 2) / block_vectors;

  /// output += weights * a block of the values of a tile, for the heads from `First` on.
  template <std::size_t First, std::size_t Heads, Quantised T>
  static void add_values(const DecodeAttention<T>& a, const TileWeights<T, Heads>& weights,
                         const T* const* rows, std::size_t block, std::size_t head,
                         std::size_t tokens, std::size_t lines, ReadAhead<T>& ahead) noexcept {
    constexpr std::size_t heads = (std::min)(value_heads, Heads - First);
    I32s sums[heads][block_vectors];
    MORPHKV_UNROLL for (std::size_t h = 0; h < heads; ++h) {
      MORPHKV_UNROLL for (std::size_t v = 0; v < block_vectors; ++v) sums[h][v] = I32s{};
    }
    for (std::size_t first = 0; first < tokens; first += 2 * lanes) {
      const std::size_t count = (std::min)(lanes, tokens - first);
      for (std::size_t t = 0; t < count; ++t) {
        ahead.lines(lines);
        I16s values[block_vectors];
        BlockPairs<T>::of_values(rows[first + t][block], rows[first + lanes + t][block], values);
        MORPHKV_UNROLL for (std::size_t h = 0; h < heads; ++h) {
          const I16s weight = broadcast_pair(weights.pairs[First + h] + first / 2 + t);
          MORPHKV_UNROLL for (std::size_t v = 0; v < block_vectors; ++v) {
            sums[h][v] = add_dots(sums[h][v], values[v], weight);
          }
        }
      }
    }
    MORPHKV_UNROLL for (std::size_t h = 0; h < heads; ++h) {
      BlockPairs<T>::finish(sums[h]);
      const std::int32_t bias = BlockPairs<T>::bias * weights.sums[First + h];
      const Floats step = broadcast(weights.steps[First + h]);
      float* output = a.output + (head + First + h) * a.output_dim() + block * block_numbers;
      MORPHKV_UNROLL for (std::size_t v = 0; v < block_vectors; ++v) {
        float* to = output + v * lanes;
        const Floats sum = __builtin_convertvector(sums[h][v] - bias, Floats);
        store(to, fma(sum, step, load(to)));
      }
    }
    if constexpr (First + heads < Heads) {
      add_values<First + heads>(a, weights, rows, block, head, tokens, 0, ahead);
    }
  }
};

/// See kernels::decode_attention.
template <Quantised T>
bool decode_attention(const DecodeAttention<T>& a) noexcept {
  if (a.group > max_group || (std::max)(a.head_dim, a.output_dim()) > max_blocks * block_numbers) {
    return portable::decode_attention(a);
  }
  return decode_with(IntegerProducts(), a);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
