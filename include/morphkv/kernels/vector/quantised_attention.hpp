// SPDX-License-Identifier: Apache-2.0
/// \file
/// Decode attention over quantised keys and values, in integers. Included once per instruction set;
/// see isa/for_each.hpp.
///
/// For the logits a lane is a token: the keys of `lanes` tokens are transposed once for all query
/// heads, and no sum crosses lanes. For the output a lane is a dimension.
///
/// What meets the steps of keys and values are integers too: a query, and the weights of a tile of
/// tokens times the scales of their values. Each is rounded by at most 2^-16 of the greatest of
/// them; the sums over a block, and those over a tile, are exact.
///
/// How these integers are multiplied is a class: PairDots of quantised_pairs.hpp, or ByteDots of
/// quantised_bytes.hpp. Both are included after this file.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

inline constexpr std::size_t block_numbers = 32;
inline constexpr std::size_t block_vectors = block_numbers / lanes;  ///< of floats
inline constexpr std::size_t max_blocks = 32;  ///< of a row: the size of buffers
static_assert(tuning.value_tokens % 32 == 0 && tuning.value_tokens <= 256);

/// What integers from bytes of a block have above its steps. It is taken off the sums of their
/// products.
template <Quantised T>
inline constexpr std::int32_t bias = std::same_as<T, Q4_0> ? 8 : 0;

/// Numbers of at most the magnitude `greatest` as integers of at most `max_integer` times a step.
/// Below 1e-30 they are 0: no float sum shows them. NaN and infinity make the step NaN.
struct Step {
  float step;
  float per_step;

  Step(float greatest, float max_integer) noexcept {
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
template <class Dots>
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
    const BlockLines to_read(lines == 0 ? 0 : Dots::value_step * blocks * sizeof(T), blocks);
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
  /// Vectors of tokens whose keys meet numbers of a query once they are in a register.
  static constexpr std::size_t key_vectors = tuning.registers >= 32 ? 2 : 1;
  static constexpr std::size_t key_tokens = key_vectors * lanes;

  /// The query of one head.
  template <Quantised T>
  struct Query {
    std::uint32_t words[max_blocks * block_numbers / 2];  ///< as Dots packs its integers
    std::int32_t biases[max_blocks];  ///< its product with that of the keys, negated, by block
    float step;

    void set(const float* query, std::size_t dim) noexcept {
      Floats greatest{};
      Floats check{};  // NaN if a number is, or infinity
      for (std::size_t d = 0; d < dim; d += lanes) {
        greatest = max(greatest, magnitude(load(query + d)));
        check = fma(load(query + d), Floats{}, check);
      }
      const Step some(reduce_max(greatest) + reduce_add(check), Dots::max_integer);
      step = some.step;
      for (std::size_t d = 0; d < dim; d += block_numbers) {
        biases[d / block_numbers] = -bias<T> * Dots::pack_query(query + d, some, words + d / 2);
      }
    }
  };

  /// sums += a block of the keys of some tokens times that of `Heads` queries.
  template <std::size_t Heads, Quantised T>
  MORPHKV_VECTOR_WORD static void add_block(const Query<T> (&queries)[Heads], const T* const* rows,
                                            const Scales<key_tokens>& scales, std::size_t block,
                                            Floats (&sums)[Heads][key_vectors]) noexcept {
    typename Dots::Sums products[Heads][key_vectors];
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t v = 0; v < key_vectors; ++v) {
        products[h][v] = Dots::begin(I32s{} + queries[h].biases[block]);
      }
    }
    Dots::add_keys(queries, rows, block, products);
    MORPHKV_UNROLL for (std::size_t v = 0; v < key_vectors; ++v) {
      const Floats scale = scales.get(block, v * lanes);
      MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
        const I32s product = Dots::total(products[h][v]);
        sums[h][v] = fma(__builtin_convertvector(product, Floats), scale, sums[h][v]);
      }
    }
  }

  /// The weights of a tile's tokens for some heads, times the scales of one block of their values,
  /// as integers.
  template <Quantised T, std::size_t Heads>
  struct TileWeights {
    static constexpr std::size_t vectors = tuning.value_tokens / lanes;

    alignas(64) std::uint32_t words[Heads][tuning.value_tokens / 2];  ///< as Dots packs them
    std::int32_t sums[4];  ///< by head; without a bias they are not needed
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
        const Step some(most[h], Dots::max_integer);
        steps[h] = some.step;
        Dots::template pack_weights<bias<T> != 0>(products[h], some, words[h], parts[h]);
      }
      const auto all = reduce_four(parts[0], parts[1], parts[2], parts[3],
                                   [](auto x, auto y) noexcept { return x + y; });
      store(sums, all);
    }
  };

  /// output += weights * a block of the values of a tile, for the heads from `First` on.
  template <std::size_t First, std::size_t Heads, Quantised T>
  static void add_values(const DecodeAttention<T>& a, const TileWeights<T, Heads>& weights,
                         const T* const* rows, std::size_t block, std::size_t head,
                         std::size_t tokens, std::size_t lines, ReadAhead<T>& ahead) noexcept {
    using Slice = typename Dots::template Slice<T, Heads>;
    constexpr std::size_t heads = (std::min)(Slice::heads, Heads - First);
    for (std::size_t slice = 0; slice < Slice::slices; ++slice, lines = 0) {
      typename Dots::Sums sums[heads][Slice::vectors];
      MORPHKV_UNROLL for (std::size_t h = 0; h < heads; ++h) {
        MORPHKV_UNROLL for (std::size_t v = 0; v < Slice::vectors; ++v) {
          sums[h][v] = Dots::begin(I32s{});
        }
      }
      Slice::add(rows, block, slice, weights.words + First, tokens, lines, ahead, sums);
      MORPHKV_UNROLL for (std::size_t h = 0; h < heads; ++h) {
        const std::int32_t of_bias = bias<T> * weights.sums[First + h];
        const Floats step = broadcast(weights.steps[First + h]);
        float* output = a.output + (head + First + h) * a.output_dim() + block * block_numbers;
        MORPHKV_UNROLL for (std::size_t v = 0; v < Slice::vectors; ++v) {
          float* to = output + Slice::number(slice, v);
          const Floats sum = __builtin_convertvector(Dots::total(sums[h][v]) - of_bias, Floats);
          store(to, fma(sum, step, load(to)));
        }
      }
    }
    if constexpr (First + heads < Heads) {
      add_values<First + heads>(a, weights, rows, block, head, tokens, 0, ahead);
    }
  }
};

/// See kernels::decode_attention.
template <class Dots, Quantised T>
bool attend_quantised(const DecodeAttention<T>& a) noexcept {
  if (a.group > max_group || (std::max)(a.head_dim, a.output_dim()) > max_blocks * block_numbers) {
    return portable::decode_attention(a);
  }
  return decode_with(IntegerProducts<Dots>(), a);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
