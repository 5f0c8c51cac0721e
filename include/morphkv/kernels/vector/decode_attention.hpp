// SPDX-License-Identifier: Apache-2.0
/// \file
/// Decode attention over a vector vocabulary. Included once an ISA, between its
/// MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include guard, on
/// purpose.
///
/// Keys and values are read once for the whole group. Logits of some tokens and some query heads
/// are sums in registers, and so are some heads times some vectors of the output, over tiles of
/// tokens that stay in the nearest cache for the rest of the output and the group's other heads.
#ifdef MORPHKV_ISA
namespace morphkv::inline v0::kernels::inline MORPHKV_KERNELS_BUILD::MORPHKV_ISA {

inline constexpr std::size_t most_heads = 4;   ///< of the group that one pass serves
inline constexpr std::size_t read_block = 4;   ///< tokens between two looks ahead
inline constexpr std::size_t value_tile = 64;  ///< tokens whose values stay in the nearest cache
inline constexpr std::size_t greatest_group = 64;

/// What meets each of `Heads` query heads in registers at once: tokens' keys, vectors of a value.
/// The sums fill the registers, and a number loaded for them serves all heads.
template <std::size_t Heads>
inline constexpr std::size_t block_for = (std::min)(std::size_t{4}, 4 * head_block / Heads);

/// Stores the logits of `Tokens` tokens for `Heads` query heads, at most 4 of each, from vectors of
/// their partial sums. A logit has the same bits whatever is computed beside it.
template <std::size_t Heads, std::size_t Tokens, Scalar T>
MORPHKV_VECTOR_WORD void store_logits(const DecodeAttention<T>& a, std::size_t head,
                                      std::size_t token,
                                      const Floats (&sums)[Heads][Tokens]) noexcept {
  constexpr std::size_t rows = 4 / Tokens;  // heads whose logits are added up together
  float* logits = a.weights + head * a.weight_stride + token;
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; h += rows) {
    // The last head stands for those beyond it.
    const auto of = [&](std::size_t i) noexcept {
      return sums[(std::min)(h + i / Tokens, Heads - 1)][i % Tokens];
    };
    float some[4];
    store_sums(of(0), of(1), of(2), of(3), a.scale, some);
    for (std::size_t r = 0; r < rows && h + r < Heads; ++r) {
      std::memcpy(logits + (h + r) * a.weight_stride, some + r * Tokens, Tokens * sizeof(float));
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
    MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) sums[h][t] = zero();
  }
  std::size_t d = 0;
  for (; d + lanes <= a.head_dim; d += lanes) {
    Floats key[Tokens];
    MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) key[t] = load(keys + t * a.stride + d);
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      const Floats q = in_register(load(query + h * a.head_dim + d));
      MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) {
        sums[h][t] = fma(key[t], q, sums[h][t]);
      }
    }
  }
  if (const std::size_t rest = a.head_dim - d; rest > 0) {
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      const Floats q = load_first(query + h * a.head_dim + d, rest);
      MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) {
        sums[h][t] = fma(load_first(keys + t * a.stride + d, rest), q, sums[h][t]);
      }
    }
  }
  store_logits(a, head, token, sums);
}

/// Turns logits into exp(logit - greatest), in place. \return their sum; `logarithm` receives
/// log(sum of exp(logit)), NaN if there is none.
template <Scalar T>
float softmax_pass(float* logits, std::size_t tokens, ReadAhead<T>& ahead,
                   float& logarithm) noexcept {
  Floats most = all(logits[0]);
  std::size_t t = 0;
  for (; t + lanes <= tokens; t += lanes) most = greater(load(logits + t), most);
  float high = greatest(most);
  for (; t < tokens; ++t) high = (std::max)(high, logits[t]);
  const Floats shift = all(high);
  Floats total = zero();
  for (t = 0; t + lanes <= tokens; t += lanes) {
    ahead.lines(1);
    const Floats weight = exp_of_negative(sub(load(logits + t), shift));
    store(logits + t, weight);
    total = add(total, weight);
  }
  float rest = 0;
  if (t < tokens) {
    alignas(64) float last[lanes];
    store(last, exp_of_negative(sub(load_first(logits + t, tokens - t), shift)));
    for (std::size_t i = 0; t < tokens; ++i, ++t) rest += logits[t] = last[i];
  }
  const float weights = sum(total) + rest;
  logarithm =
      std::isfinite(weights) ? high + std::log(weights) : std::numeric_limits<float>::quiet_NaN();
  return weights;
}

/// sums += a token's weights for `Heads` query heads * `Chunks` vectors of its value. With Partial
/// there is one chunk, of the dimensions that are left.
template <bool Partial, std::size_t Heads, std::size_t Chunks, Scalar T>
MORPHKV_VECTOR_WORD void add_value(const T* from, std::size_t rest, const float* weights,
                                   std::size_t weight_stride,
                                   Floats (&sums)[Heads][Chunks]) noexcept {
  Floats value[Chunks];
  MORPHKV_UNROLL for (std::size_t c = 0; c < Chunks; ++c) {
    value[c] = Partial ? load_first(from, rest) : load(from + c * lanes);
  }
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
    const Floats weight = all(weights[h * weight_stride]);
    MORPHKV_UNROLL for (std::size_t c = 0; c < Chunks; ++c) {
      sums[h][c] = fma(value[c], weight, sums[h][c]);
    }
  }
}

/// output += weights * values, for `Heads` query heads, `Chunks` vectors of the values from
/// dimension `d` on and `tokens` tokens from `token` on, where the cursor stands.
template <std::size_t Heads, std::size_t Chunks, bool Partial, Scalar T>
void value_step(const DecodeAttention<T>& a, RowCursor<T> cursor, std::size_t head,
                std::size_t token, std::size_t tokens, std::size_t d, std::size_t lines,
                ReadAhead<T>& ahead) noexcept {
  const std::size_t rest = a.head_dim - d;
  const std::size_t stride = a.stride;
  const float* weights = a.weights + head * a.weight_stride + token;
  float* output = a.output + head * a.head_dim + d;
  Floats sums[Heads][Chunks];
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
    MORPHKV_UNROLL for (std::size_t c = 0; c < Chunks; ++c) {
      const float* from = output + h * a.head_dim + c * lanes;
      sums[h][c] = Partial ? load_first(from, rest) : load(from);
    }
  }
  for (std::size_t t = 0; t < tokens;) {
    const T* values = nullptr;
    const std::size_t end = t + cursor.next(tokens - t, values);
    values += d;
    while (t % read_block == 0 && t + read_block <= end) {
      ahead.lines(lines);
      MORPHKV_UNROLL for (std::size_t i = 0; i < read_block; ++i, ++t, values += stride) {
        add_value<Partial>(values, rest, weights + t, a.weight_stride, sums);
      }
    }
    for (; t < end; ++t, values += stride) {
      if (t % read_block == 0) ahead.lines(lines);
      add_value<Partial>(values, rest, weights + t, a.weight_stride, sums);
    }
  }
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
    MORPHKV_UNROLL for (std::size_t c = 0; c < Chunks; ++c) {
      float* to = output + h * a.head_dim + c * lanes;
      Partial ? store_first(to, sums[h][c], rest) : store(to, sums[h][c]);
    }
  }
}

/// The two products of attention, in float: what decode_with asks for.
struct FloatProducts {
  /// Logits of `Heads` query heads over all tokens.
  template <std::size_t Heads, Scalar T>
  void logits(const DecodeAttention<T>& a, std::size_t head, std::size_t lines,
              ReadAhead<T>& ahead) const noexcept {
    RowCursor<T> cursor(a.key_rows());
    for (std::size_t t = 0; t < a.tokens;) {
      const T* keys = nullptr;
      const std::size_t end = t + cursor.next(a.tokens - t, keys);
      constexpr std::size_t block = block_for<Heads>;
      for (; t + block <= end; t += block, keys += block * a.stride) {
        ahead.lines(block * lines);
        key_step<Heads, block>(a, keys, head, t);
      }
      for (; t < end; ++t, keys += a.stride) {
        ahead.lines(lines);
        key_step<Heads, 1>(a, keys, head, t);
      }
    }
  }

  /// output += weights * values for `Heads` query heads and a tile of tokens, where the cursor
  /// stands.
  template <std::size_t Heads, Scalar T>
  void values(const DecodeAttention<T>& a, const RowCursor<T>& cursor, std::size_t head,
              std::size_t token, std::size_t tokens, std::size_t lines,
              ReadAhead<T>& ahead) const noexcept {
    constexpr std::size_t chunks = block_for<Heads>;
    constexpr std::size_t block = chunks * lanes;
    lines = read_block * lines / (std::max<std::size_t>)(1, a.head_dim / block);
    std::size_t d = 0;
    for (; d + block <= a.head_dim; d += block) {
      value_step<Heads, chunks, false>(a, cursor, head, token, tokens, d, lines, ahead);
    }
    if (a.head_dim >= block) lines = 0;
    for (; d + lanes <= a.head_dim; d += lanes) {
      value_step<Heads, 1, false>(a, cursor, head, token, tokens, d, lines, ahead);
      lines = 0;
    }
    if (d < a.head_dim) value_step<Heads, 1, true>(a, cursor, head, token, tokens, d, lines, ahead);
  }

  /// Divides the sums of a head by the sum of its weights.
  static void finish(float* output, std::size_t head_dim, float share) noexcept {
    for (std::size_t d = 0; d < head_dim; ++d) output[d] *= share;
  }
};

/// row = the weights of `Heads` heads times their shares, fused, and fused with the row itself
/// unless they are the first; for the tokens from `begin` to `end`.
template <std::size_t Heads, bool Greatest, Scalar T>
void fuse_heads(const DecodeAttention<T>& a, const float* shares, std::size_t head,
                std::size_t begin, std::size_t end) noexcept {
  const float* weights = a.weights + head * a.weight_stride;
  Floats share[Heads];
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) share[h] = all(shares[head + h]);
  for (std::size_t t = begin; t < end; t += lanes) {
    const std::size_t count = (std::min)(lanes, end - t);
    const bool whole = count == lanes;
    Floats fused = zero();
    if (head > 0) fused = whole ? load(a.row + t) : load_first(a.row + t, count);
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      const float* from = weights + h * a.weight_stride + t;
      const Floats weight = whole ? load(from) : load_first(from, count);
      fused = Greatest ? greater(fused, mul(weight, share[h])) : fma(weight, share[h], fused);
    }
    whole ? store(a.row + t, fused) : store_first(a.row + t, fused, count);
  }
}

/// row = the group's weights times their shares, fused, for the tokens from `begin` to `end`.
template <bool Greatest, Scalar T>
void fuse_tile(const DecodeAttention<T>& a, const float* shares, std::size_t begin,
               std::size_t end) noexcept {
  std::size_t h = 0;
  for (; h + 4 <= a.group; h += 4) fuse_heads<4, Greatest>(a, shares, h, begin, end);
  for (; h < a.group; ++h) fuse_heads<1, Greatest>(a, shares, h, begin, end);
}

/// products.logits<n>(arguments...) for the heads from `head` on that one pass serves.
template <class Products, Scalar T>
void logits_of_heads(const Products& products, const DecodeAttention<T>& a, std::size_t head,
                     std::size_t lines, ReadAhead<T>& ahead) noexcept {
  switch ((std::min)(most_heads, a.group - head)) {
    case 1:
      return products.template logits<1>(a, head, lines, ahead);
    case 2:
      return products.template logits<2>(a, head, lines, ahead);
    case 3:
      return products.template logits<3>(a, head, lines, ahead);
    default:
      return products.template logits<most_heads>(a, head, lines, ahead);
  }
}

template <class Products, Scalar T>
void values_of_heads(const Products& products, const DecodeAttention<T>& a,
                     const RowCursor<T>& cursor, std::size_t head, std::size_t token,
                     std::size_t lines, ReadAhead<T>& ahead) noexcept {
  const std::size_t tokens = (std::min)(value_tile, a.tokens - token);
  switch ((std::min)(most_heads, a.group - head)) {
    case 1:
      return products.template values<1>(a, cursor, head, token, tokens, lines, ahead);
    case 2:
      return products.template values<2>(a, cursor, head, token, tokens, lines, ahead);
    case 3:
      return products.template values<3>(a, cursor, head, token, tokens, lines, ahead);
    default:
      return products.template values<most_heads>(a, cursor, head, token, tokens, lines, ahead);
  }
}

template <class Products, Scalar T>
void values_of_group(const Products& products, const DecodeAttention<T>& a, std::size_t token,
                     std::size_t lines, ReadAhead<T>& ahead) noexcept {
  const RowCursor<T> cursor(a.value_rows(), token);
  for (std::size_t h = 0; h < a.group; h += most_heads) {
    values_of_heads(products, a, cursor, h, token, h == 0 ? lines : 0, ahead);
  }
}

/// Decode attention by some way of computing its two products.
template <class Products, Scalar T>
bool decode_with(const Products& products, const DecodeAttention<T>& a) noexcept {
  ReadAhead<T> ahead(a);
  ahead.lines(MORPHKV_READ_AHEAD_LINES);
  const std::size_t lines = ReadAhead<T>::token_lines(a);
  for (std::size_t h = 0; h < a.group; h += most_heads) {
    logits_of_heads(products, a, h, h == 0 ? lines : 0, ahead);
  }
  float shares[greatest_group];
  bool finite = true;
  for (std::size_t h = 0; h < a.group; ++h) {
    float logarithm = 0;
    shares[h] = 1.0F / softmax_pass(a.weights + h * a.weight_stride, a.tokens, ahead, logarithm);
    finite = finite && std::isfinite(logarithm);
    if (a.log_sum_exp != nullptr) a.log_sum_exp[h] = logarithm;
  }
  const bool greatest_of_group = a.fusion == GroupFusion::max;
  float row_shares[greatest_group];
  for (std::size_t h = 0; h < a.group; ++h) {
    row_shares[h] = greatest_of_group ? shares[h] : shares[h] / static_cast<float>(a.group);
  }
  const bool wants_output = a.output != nullptr;
  if (wants_output) std::fill_n(a.output, a.group * a.head_dim, 0.0F);
  for (std::size_t t = 0; t < a.tokens; t += value_tile) {
    if (wants_output) values_of_group(products, a, t, lines, ahead);
    if (a.row == nullptr) continue;
    const std::size_t end = (std::min)(t + value_tile, a.tokens);
    greatest_of_group ? fuse_tile<true>(a, row_shares, t, end)
                      : fuse_tile<false>(a, row_shares, t, end);
  }
  for (std::size_t h = 0; wants_output && h < a.group; ++h) {
    products.finish(a.output + h * a.head_dim, a.head_dim, shares[h]);
  }
  return finite;
}

/// See kernels::decode_attention.
template <Scalar T>
bool decode_attention(const DecodeAttention<T>& a) noexcept {
  return a.group > greatest_group ? portable::decode_attention(a) : decode_with(FloatProducts(), a);
}

}  // namespace morphkv::inline v0::kernels::inline MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
