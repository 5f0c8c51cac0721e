// SPDX-License-Identifier: Apache-2.0
/// \file
/// Decode attention over a vector vocabulary. Included once per instruction set; see
/// isa/for_each.hpp.
///
/// Keys and values are read once for the whole group. Logits of some tokens and some query heads
/// are sums in registers, and so are some heads times some vectors of the output, over tiles of
/// tokens that stay in the nearest cache for the rest of the output and the group's other heads.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

inline constexpr std::size_t max_heads = 4;  ///< of the group that one pass serves
inline constexpr std::size_t max_group = 128;

/// Values between two looks ahead: each fetches as many bytes whatever the type.
template <Scalar T>
inline constexpr std::size_t read_block = 16 / sizeof(T);

/// What meets each of `Heads` query heads in registers at once: tokens' keys, vectors of a value.
/// Their sums, they themselves and what a head brings fill the registers.
template <std::size_t Heads>
inline constexpr std::size_t block_for = (std::min)(std::size_t{4},
                                                    (tuning.registers - 1) / (Heads + 1));

/// Stores the logits of `Tokens` tokens for `Heads` query heads, at most 4 of each, from vectors of
/// their partial sums. A logit has the same bits whatever is computed beside it.
template <std::size_t Heads, std::size_t Tokens>
MORPHKV_VECTOR_WORD void store_logits(const Floats (&sums)[Heads][Tokens], float scale,
                                      float* logits, std::size_t stride) noexcept {
  // The last one of a dimension stands for those beyond it.
  const auto of = [&](std::size_t h, std::size_t t) noexcept {
    return sums[(std::min)(h, Heads - 1)][(std::min)(t, Tokens - 1)];
  };
  if constexpr (Tokens == 1) {
    float some[4];
    store_sums<4>(of(0, 0), of(1, 0), of(2, 0), of(3, 0), scale, some);
    for (std::size_t h = 0; h < Heads; ++h) logits[h * stride] = some[h];
  } else {
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      store_sums<Tokens>(of(h, 0), of(h, 1), of(h, 2), of(h, 3), scale, logits + h * stride);
    }
  }
}

/// Logits of `Tokens` tokens from `token` on, whose keys are those at `keys`, for `Heads` query
/// heads.
template <std::size_t Heads, std::size_t Tokens, Scalar T>
MORPHKV_VECTOR_WORD void key_step(const DecodeAttention<T>& a, const T* keys, std::size_t head,
                                  std::size_t token) noexcept {
  const float* query = a.query + head * a.head_dim;
  Floats sums[Heads][Tokens];
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
    MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) sums[h][t] = Floats{};
  }
  const auto add_products = [&](const Floats(&key)[Tokens], const auto& load_some,
                                std::size_t d) noexcept {
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      const Floats q = in_register(load_some(query + h * a.head_dim + d));
      MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) {
        sums[h][t] = fma(key[t], q, sums[h][t]);
      }
    }
  };
  const auto add_vectors = [&]<std::size_t Count>(std::size_t d) noexcept {
    Floats keys_of[Count][Tokens];
    MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) {
      Floats key[Count];
      load_all(keys + t * a.keys.stride + d, key);
      MORPHKV_UNROLL for (std::size_t i = 0; i < Count; ++i) keys_of[i][t] = key[i];
    }
    const auto load_whole = [](const auto* from) noexcept { return load(from); };
    MORPHKV_UNROLL for (std::size_t i = 0; i < Count; ++i) {
      add_products(keys_of[i], load_whole, d + i * lanes);
    }
  };
  std::size_t d = 0;
  constexpr std::size_t vectors = load_vectors<T>;
  for (; d + vectors * lanes <= a.head_dim; d += vectors * lanes) {
    add_vectors.template operator()<vectors>(d);
  }
  for (; d + lanes <= a.head_dim; d += lanes) add_vectors.template operator()<1>(d);
  if (const std::size_t rest = a.head_dim - d; rest > 0) {
    Floats key[Tokens];
    MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) {
      key[t] = load_first(keys + t * a.keys.stride + d, rest);
    }
    add_products(
        key, [rest](const float* from) noexcept { return load_first(from, rest); }, d);
  }
  store_logits(sums, a.logits.scale * load_factor<T>, a.weights + head * a.weight_stride + token,
               a.weight_stride);
}

/// Caps logits, in place; see Logits.
inline void cap_pass(float* logits, std::size_t tokens, float soft_cap) noexcept {
  std::size_t t = 0;
  for (; t + lanes <= tokens; t += lanes) store(logits + t, capped(load(logits + t), soft_cap));
  if (t < tokens) {
    const std::size_t rest = tokens - t;
    store_first(logits + t, capped(load_first(logits + t, rest), soft_cap), rest);
  }
}

/// Lowers logits by the tokens' distances, in place; see Logits::slopes.
inline void slope_pass(float* logits, const Position* positions, std::size_t tokens,
                       Position query_position, float slope) noexcept {
  std::size_t t = 0;
  for (; t + lanes <= tokens; t += lanes) {
    const I32s distance = query_position - load_as<I32s>(positions + t);
    store(logits + t, load(logits + t) - slope * __builtin_convertvector(distance, Floats));
  }
  for (; t < tokens; ++t) logits[t] -= slope * static_cast<float>(query_position - positions[t]);
}

/// Turns logits into exp(logit - greatest), in place. \return their sum and that of the sink, which
/// is a logit too; `logarithm` receives log(sum of exp(logit)), NaN if there is none.
template <Storable T>
float softmax_pass(float* logits, std::size_t tokens, float sink, ReadAhead<T>& ahead,
                   float& logarithm) noexcept {
  Floats highest = broadcast(logits[0]);
  std::size_t t = 0;
  for (; t + lanes <= tokens; t += lanes) highest = max(load(logits + t), highest);
  float high = reduce_max(highest);
  for (; t < tokens; ++t) high = (std::max)(high, logits[t]);
  high = (std::max)(high, sink);
  const Floats shift = broadcast(high);
  Floats total{};
  const auto weigh = [&](std::size_t at) noexcept {
    const Floats weight = exp_of_negative(load(logits + at) - shift);
    store(logits + at, weight);
    total += weight;
  };
  for (t = 0; t + 4 * lanes <= tokens; t += 4 * lanes) {
    ahead.lines(4);
    MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) weigh(t + i * lanes);
  }
  for (; t + lanes <= tokens; t += lanes) weigh(t);
  float rest = std::isfinite(sink) ? std::exp(sink - high) : 0;
  if (t < tokens) {
    alignas(64) float last[lanes];
    store(last, exp_of_negative(load_first(logits + t, tokens - t) - shift));
    for (std::size_t i = 0; t < tokens; ++i, ++t) rest += logits[t] = last[i];
  }
  const float weights = reduce_add(total) + rest;
  logarithm =
      std::isfinite(weights) ? high + std::log(weights) : std::numeric_limits<float>::quiet_NaN();
  return weights;
}

/// sums += a token's weights for `Heads` query heads * `Chunks` vectors of its value from dimension
/// `d` on. With Partial there is one chunk, of the dimensions that are left.
template <bool Partial, std::size_t Heads, std::size_t Chunks, Scalar T>
MORPHKV_VECTOR_WORD void add_value(const T* from, std::size_t d, std::size_t rest,
                                   const float* weights, std::size_t weight_stride,
                                   Floats (&sums)[Heads][Chunks]) noexcept {
  Floats value[Chunks];
  if constexpr (Partial) {
    value[0] = load_first(from + d, rest);
  } else {
    load_all(from + d, value);
  }
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
    const Floats weight = broadcast(weights[h * weight_stride]);
    MORPHKV_UNROLL for (std::size_t c = 0; c < Chunks; ++c) {
      sums[h][c] = fma(value[c], weight, sums[h][c]);
    }
  }
}

/// output += weights * values, for `Heads` query heads, `Chunks` vectors of the values from
/// dimension `d` on and `tokens` tokens from `token` on, where the cursor stands.
template <std::size_t Heads, std::size_t Chunks, bool Partial, Scalar T>
void value_step(const DecodeAttention<T>& a, KvCursor<T> cursor, std::size_t head,
                std::size_t token, std::size_t tokens, std::size_t d, std::size_t lines,
                ReadAhead<T>& ahead) noexcept {
  const std::size_t dim = a.output_dim();
  const std::size_t rest = dim - d;
  const std::size_t stride = a.values.stride;
  const float* weights = a.weights + head * a.weight_stride + token;
  float* output = a.output + head * dim + d;
  Floats sums[Heads][Chunks];
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
    MORPHKV_UNROLL for (std::size_t c = 0; c < Chunks; ++c) {
      const float* from = output + h * dim + c * lanes;
      sums[h][c] = Partial ? load_first(from, rest) : load(from);
    }
  }
  for (std::size_t t = 0; t < tokens;) {
    const T* values = nullptr;
    const std::size_t end = t + cursor.next(tokens - t, values);
    while (t + read_block<T> <= end) {
      ahead.lines(lines);
      MORPHKV_UNROLL for (std::size_t i = 0; i < read_block<T>; ++i, ++t, values += stride) {
        add_value<Partial>(values, d, rest, weights + t, a.weight_stride, sums);
      }
    }
    for (; t < end; ++t, values += stride) {
      if (t % read_block<T> == 0) ahead.lines(lines);
      add_value<Partial>(values, d, rest, weights + t, a.weight_stride, sums);
    }
  }
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
    MORPHKV_UNROLL for (std::size_t c = 0; c < Chunks; ++c) {
      float* to = output + h * dim + c * lanes;
      Partial ? store_first(to, sums[h][c], rest) : store(to, sums[h][c]);
    }
  }
}

/// The two products of attention, in float: what decode_with asks for.
struct FloatProducts {
  /// Logits of `Heads` query heads over all tokens.
  template <std::size_t Heads, Scalar T>
  void logits(const DecodeAttention<T>& arguments, std::size_t head, std::size_t lines,
              ReadAhead<T>& ahead) const noexcept {
    const DecodeAttention<T> a = arguments;  // a copy, which no store can change
    KvCursor<T> cursor(a.keys);
    for (std::size_t t = 0; t < a.tokens;) {
      const T* keys = nullptr;
      const std::size_t end = t + cursor.next(a.tokens - t, keys);
      constexpr std::size_t block = block_for<Heads>;
      for (; t + block <= end; t += block, keys += block * a.keys.stride) {
        ahead.lines(block * lines);
        key_step<Heads, block>(a, keys, head, t);
      }
      for (; t < end; ++t, keys += a.keys.stride) {
        ahead.lines(lines);
        key_step<Heads, 1>(a, keys, head, t);
      }
    }
  }

  /// output += weights * values for `Heads` query heads and a tile of tokens, where the cursor
  /// stands.
  template <std::size_t Heads, Scalar T>
  void values(const DecodeAttention<T>& a, const KvCursor<T>& cursor, std::size_t head,
              std::size_t token, std::size_t tokens, std::size_t lines,
              ReadAhead<T>& ahead) const noexcept {
    constexpr std::size_t max_vectors = block_for<Heads>;
    const std::size_t chunks = a.output_dim() / lanes;
    const std::size_t all_lines = read_block<T> * lines;
    // The vectors from number c on; lines as their share is, so that they come evenly.
    const auto step = [&](std::size_t c, auto count) noexcept {
      const std::size_t share = all_lines * (c + count) / chunks - all_lines * c / chunks;
      value_step<Heads, count, false>(a, cursor, head, token, tokens, c * lanes, share, ahead);
      return c + count;
    };
    for (std::size_t c = 0; c < chunks;) {
      const std::size_t left = chunks - c;
      if (left >= max_vectors &&
          left != max_vectors + 1) {  // two steps of two, not one that is too narrow
        c = step(c, std::integral_constant<std::size_t, max_vectors>());
      } else if (left >= 2) {
        c = step(c, std::integral_constant<std::size_t, 2>());
      } else {
        c = step(c, std::integral_constant<std::size_t, 1>());
      }
    }
    if (const std::size_t d = chunks * lanes; d < a.output_dim()) {
      value_step<Heads, 1, true>(a, cursor, head, token, tokens, d, chunks == 0 ? all_lines : 0,
                                 ahead);
    }
  }

  /// Divides the sums of a head by the sum of its weights.
  static void finish(float* output, std::size_t dim, float share) noexcept {
    for (std::size_t d = 0; d < dim; ++d) output[d] *= share;
  }
};

/// row = the group's weights times their shares, fused.
template <bool Greatest, Storable T>
void fuse_group(const DecodeAttention<T>& arguments, const float* shares) noexcept {
  const DecodeAttention<T> a = arguments;  // a copy, which no store can change
  const auto fused = [&](std::size_t t, auto whole) noexcept {
    Floats row{};
    for (std::size_t h = 0; h < a.group; ++h) {
      const float* from = a.weights + h * a.weight_stride + t;
      const Floats weight = whole ? load(from) : load_first(from, a.tokens - t);
      const Floats share = broadcast(shares[h]);
      row = Greatest ? max(row, weight * share) : fma(weight, share, row);
    }
    return row;
  };
  std::size_t t = 0;
  for (; t + lanes <= a.tokens; t += lanes) store(a.row + t, fused(t, std::true_type()));
  if (t < a.tokens) store_first(a.row + t, fused(t, std::false_type()), a.tokens - t);
}

/// Calls use(n), where n is `count` as a constant, or Most if it is more.
template <std::size_t Most, class Use>
void with_constant(std::size_t count, const Use& use) noexcept {
  if constexpr (Most > 1) {
    if (count < Most) return with_constant<Most - 1>(count, use);
  }
  use(std::integral_constant<std::size_t, Most>());
}

/// Calls use(n, h) for the heads h ... h + n - 1 that one pass serves, over the whole group; n is a
/// constant.
template <class Use>
void for_each_pass(std::size_t group, const Use& use) noexcept {
  for (std::size_t h = 0; h < group; h += max_heads) {
    with_constant<max_heads>(group - h, [&](auto heads) noexcept { use(heads, h); });
  }
}

/// Decode attention by some way of computing its two products.
template <class Products, Storable T>
bool decode_with(const Products& products, const DecodeAttention<T>& a) noexcept {
  ReadAhead<T> ahead(a);
  ahead.lines(tuning.prefetch_bytes / 64);
  const std::size_t key_lines = ReadAhead<T>::token_lines(a.head_dim);
  const std::size_t value_lines = ReadAhead<T>::token_lines(a.output_dim());
  for_each_pass(a.group, [&](auto heads, std::size_t h) noexcept {
    products.template logits<heads>(a, h, h == 0 ? key_lines : 0, ahead);
  });
  float shares[max_group];
  bool finite = true;
  for (std::size_t h = 0; h < a.group; ++h) {
    float* weights = a.weights + h * a.weight_stride;
    if (a.logits.soft_cap > 0) cap_pass(weights, a.tokens, a.logits.soft_cap);
    if (a.logits.slopes != nullptr) {
      slope_pass(weights, a.positions, a.tokens, a.query_position, a.logits.slopes[h]);
    }
    if (a.hidden < a.tokens) weights[a.hidden] = -std::numeric_limits<float>::infinity();
    float logarithm = 0;
    shares[h] = 1.0F / softmax_pass(weights, a.tokens, a.logits.sink(h), ahead, logarithm);
    finite = finite && std::isfinite(logarithm);
    if (a.log_sum_exp != nullptr) a.log_sum_exp[h] = logarithm;
  }
  if (a.output != nullptr) {
    std::fill_n(a.output, a.group * a.output_dim(), 0.0F);
    for (std::size_t t = 0; t < a.tokens; t += tuning.value_tokens) {
      const KvCursor<T> cursor(a.values, t);
      const std::size_t tokens = (std::min)(tuning.value_tokens, a.tokens - t);
      for_each_pass(a.group, [&](auto heads, std::size_t h) noexcept {
        products.template values<heads>(a, cursor, h, t, tokens, h == 0 ? value_lines : 0, ahead);
      });
    }
    for (std::size_t h = 0; h < a.group; ++h) {
      products.finish(a.output + h * a.output_dim(), a.output_dim(),
                      shares[h] * (a.value_scale * load_factor<T>));
    }
  }
  if (a.row != nullptr) {
    const bool max_of_group = a.fusion == GroupFusion::max;
    const float heads = max_of_group ? 1.0F : static_cast<float>(a.group);
    for (std::size_t h = 0; h < a.group; ++h) shares[h] /= heads;
    max_of_group ? fuse_group<true>(a, shares) : fuse_group<false>(a, shares);
  }
  return finite;
}

/// See kernels::decode_attention.
template <Scalar T>
bool decode_attention(const DecodeAttention<T>& a) noexcept {
  return a.group > max_group ? portable::decode_attention(a) : decode_with(FloatProducts(), a);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
