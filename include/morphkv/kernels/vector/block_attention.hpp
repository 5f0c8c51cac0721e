// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of queries over a vector vocabulary. Included once per instruction set; see
/// isa/for_each.hpp.
///
/// A lane is a query. Both products of attention are one product of matrices: vectors of queries
/// meet numbers of keys, and vectors of weights meet numbers of values. No sum crosses lanes, and
/// the softmax works lane by lane. A panel is some such vectors, of several heads, or of several
/// blocks of queries where the group is small: keys and values are laid out once for all of them,
/// and `tuning.query_vectors` at a time meet them in registers.
#ifdef MORPHKV_ISA
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace MORPHKV_ISA {

inline constexpr std::size_t panel_vectors = block_queries / lanes;  ///< at most

/// A vector of queries: `count` of them from `row` on, of one query head.
struct QueryVector {
  std::size_t head = 0;
  std::size_t row = 0;
  std::size_t count = 0;
};

/// The parts of the workspace. A word is what one multiplication takes of a lane: a number, or a
/// pair of them.
struct BlockSpace {
  float* queries;  ///< [vector][words of head_dim][lane]
  float* outputs;  ///< [vector][head_dim][lane]
  float* weights;  ///< [vector][block_tokens][lane]
  float* keys;     ///< [block_tokens][words of head_dim]
  float* values;   ///< [words of block_tokens][head_dim]

  BlockSpace(float* workspace, std::size_t head_dim) noexcept {
    const std::size_t width = (head_dim + lanes - 1) / lanes * lanes;
    queries = workspace;
    outputs = queries + block_queries * width;
    weights = outputs + block_queries * width;
    keys = weights + block_queries * block_tokens;
    values = keys + block_tokens * width;
  }
};

/// Products of single floats: what attend_panel asks for.
struct FloatWords {
  static constexpr std::size_t numbers = 1;  ///< in a word

  MORPHKV_VECTOR_WORD static Floats multiply_add(Floats a, Floats b, Floats sum) noexcept {
    return fma(a, b, sum);
  }
  /// Lays a query out in a lane.
  static void pack_query(const float* query, std::size_t head_dim, float* lane) noexcept {
    for (std::size_t d = 0; d < head_dim; ++d) lane[d * lanes] = query[d];
  }
  template <Scalar T>
  static void pack_key(const T* key, std::size_t head_dim, float* words) noexcept {
    std::size_t d = 0;
    for (; d + lanes <= head_dim; d += lanes) store(words + d, load(key + d));
    for (; d < head_dim; ++d) words[d] = static_cast<float>(key[d]);
  }
  template <Scalar T>
  static void pack_values(const T* values, std::size_t stride, std::size_t count,
                          std::size_t head_dim, float* words) noexcept {
    for (std::size_t t = 0; t < count; ++t) {
      pack_key(values + t * stride, head_dim, words + t * head_dim);
    }
  }
  /// Turns the weights of a vector into words, in place.
  static void pack_weights(float*, std::size_t) noexcept {}
};

/// out[v][j] = sum over k of left[v][k] * right[k][j], for `Vectors` vectors and `Columns` numbers;
/// added to what is there with `Add`. Strides are in words.
template <class Words, std::size_t Vectors, std::size_t Columns, bool Add>
void multiply(const float* left, std::size_t left_stride, const float* right,
              std::size_t row_stride, std::size_t column_stride, std::size_t depth, float* out,
              std::size_t out_stride) noexcept {
  Floats sums[Vectors][Columns];
  MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
    MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
      sums[v][j] = Add ? load(out + v * out_stride + j * lanes) : zero();
    }
  }
  for (std::size_t k = 0; k < depth; ++k) {
    Floats some[Vectors];
    MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
      some[v] = load(left + v * left_stride + k * lanes);
    }
    MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
      const Floats number = in_register(broadcast(right[k * row_stride + j * column_stride]));
      MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
        sums[v][j] = Words::multiply_add(some[v], number, sums[v][j]);
      }
    }
  }
  MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
    MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
      store(out + v * out_stride + j * lanes, sums[v][j]);
    }
  }
}

/// The same for any number of columns.
template <class Words, std::size_t Vectors, bool Add>
void multiply_columns(const float* left, std::size_t left_stride, const float* right,
                      std::size_t row_stride, std::size_t column_stride, std::size_t columns,
                      std::size_t depth, float* out, std::size_t out_stride) noexcept {
  std::size_t j = 0;
  for (; j + tuning.columns <= columns; j += tuning.columns) {
    multiply<Words, Vectors, tuning.columns, Add>(left, left_stride, right + j * column_stride,
                                                  row_stride, column_stride, depth, out + j * lanes,
                                                  out_stride);
  }
  for (; j + 2 <= columns; j += 2) {
    multiply<Words, Vectors, 2, Add>(left, left_stride, right + j * column_stride, row_stride,
                                     column_stride, depth, out + j * lanes, out_stride);
  }
  for (; j < columns; ++j) {
    multiply<Words, Vectors, 1, Add>(left, left_stride, right + j * column_stride, row_stride,
                                     column_stride, depth, out + j * lanes, out_stride);
  }
}

/// The same for any number of vectors.
template <class Words, bool Add>
void multiply_panel(std::size_t vectors, const float* left, std::size_t left_stride,
                    const float* right, std::size_t row_stride, std::size_t column_stride,
                    std::size_t columns, std::size_t depth, float* out,
                    std::size_t out_stride) noexcept {
  const auto some = [&](std::size_t v, auto count) noexcept {
    multiply_columns<Words, count, Add>(left + v * left_stride, left_stride, right, row_stride,
                                        column_stride, columns, depth, out + v * out_stride,
                                        out_stride);
    return v + count;
  };
  std::size_t v = 0;
  while (v + tuning.query_vectors <= vectors)
    v = some(v, std::integral_constant<std::size_t, tuning.query_vectors>());
  if (v + 2 <= vectors) v = some(v, std::integral_constant<std::size_t, 2>());
  if (v < vectors) some(v, std::integral_constant<std::size_t, 1>());
}

/// Minus infinity in the lanes of queries that do not see the token yet.
MORPHKV_VECTOR_WORD Floats only_visible(Floats logit, const float* last_token,
                                        std::size_t token) noexcept {
  const Floats hidden = sub(load(last_token), broadcast(static_cast<float>(token)));
  const Floats sign = add(min(hidden, zero()), broadcast(0.5F));
  // NaN stays NaN
  return min(mul(sign, broadcast(std::numeric_limits<float>::infinity())), logit);
}

/// A vector's softmax so far.
struct RunningSoftmax {
  alignas(64) float high[lanes];
  alignas(64) float total[lanes];
  alignas(64) float last_token[lanes];  ///< that the lane's query sees

  /// Nothing seen yet; the first lane's query sees up to `first_last_token`, the next one's up to
  /// the token after it.
  void begin(std::size_t first_last_token) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) {
      high[i] = std::numeric_limits<float>::lowest();
      total[i] = 0;
      last_token[i] = static_cast<float>(first_last_token + i);
    }
  }

  /// Turns the logits of `count` tokens from `token` on, unscaled, into weights; scales the outputs
  /// down where they bring a greater one.
  void absorb(float* logits, std::size_t token, std::size_t count, float scale, float* output,
              std::size_t head_dim) noexcept {
    const auto seen_by_all = static_cast<std::size_t>(last_token[0]) + 1;
    const Floats before = load(high);
    Floats greatest_logit = before;
    for (std::size_t k = 0; k < count; ++k) {
      Floats logit = mul(load(logits + k * lanes), broadcast(scale));
      if (token + k >= seen_by_all) logit = only_visible(logit, last_token, token + k);
      store(logits + k * lanes, logit);
      greatest_logit = max(logit, greatest_logit);
    }
    const Floats shrink = exp_of_negative(sub(before, greatest_logit));
    Floats sum = mul(load(total), shrink);
    for (std::size_t k = 0; k < count; ++k) {
      const Floats weight = exp_of_negative(sub(load(logits + k * lanes), greatest_logit));
      store(logits + k * lanes, weight);
      sum = add(sum, weight);
    }
    store(high, greatest_logit);
    store(total, sum);
    if (popcount(equal(before, greatest_logit)) == lanes) return;
    for (std::size_t d = 0; d < head_dim; ++d) {
      store(output + d * lanes, mul(load(output + d * lanes), shrink));
    }
  }
};

/// Writes the outputs of a vector. \return whether their weights are finite
template <Scalar T>
bool finish_vector(const BlockAttention<T>& a, const QueryVector& vector, const float* total,
                   const float* output) noexcept {
  bool finite = true;
  for (std::size_t i = 0; i < vector.count; ++i) {
    finite = finite && std::isfinite(total[i]) && total[i] > 0;
    const float share = 1.0F / total[i];
    float* to = a.outputs + ((vector.row + i) * a.group + vector.head) * a.head_dim;
    for (std::size_t d = 0; d < a.head_dim; ++d) to[d] = output[d * lanes + i] * share;
  }
  return finite;
}

/// The attention of `count` vectors of queries, in the order of their rows.
template <class Words, Scalar T>
bool attend_panel(const BlockAttention<T>& a, const QueryVector* vectors,
                  std::size_t count) noexcept {
  const BlockSpace space(a.workspace, a.head_dim);
  const std::size_t depth = a.head_dim / Words::numbers;
  const std::size_t query_stride = depth * lanes;
  const std::size_t output_stride = a.head_dim * lanes;
  const std::size_t weight_stride = block_tokens * lanes;
  const std::size_t before_block = a.tokens - a.rows;
  std::fill_n(space.queries, count * query_stride, 0.0F);
  std::fill_n(space.outputs, count * output_stride, 0.0F);
  RunningSoftmax softmax[panel_vectors];
  const auto seen_by = [&](std::size_t v) noexcept {
    return before_block + vectors[v].row + vectors[v].count;
  };
  for (std::size_t v = 0; v < count; ++v) {
    const QueryVector& vector = vectors[v];
    softmax[v].begin(before_block + vector.row);
    for (std::size_t i = 0; i < vector.count; ++i) {
      const float* query = a.queries + ((vector.row + i) * a.group + vector.head) * a.head_dim;
      Words::pack_query(query, a.head_dim, space.queries + v * query_stride + i);
    }
  }
  std::size_t first = 0;  // of the vectors that see on
  const std::size_t seen = seen_by(count - 1);
  for (std::size_t t = 0; t < seen; t += block_tokens) {
    while (seen_by(first) <= t) ++first;
    const std::size_t tokens = (std::min)(block_tokens, seen - t);
    for (std::size_t k = 0; k < tokens; ++k) {
      Words::pack_key(a.keys + (t + k) * a.stride, a.head_dim, space.keys + k * depth);
    }
    Words::pack_values(a.values + t * a.stride, a.stride, tokens, a.head_dim, space.values);
    multiply_panel<Words, false>(count - first, space.queries + first * query_stride, query_stride,
                                 space.keys, 1, depth, tokens, depth,
                                 space.weights + first * weight_stride, weight_stride);
    for (std::size_t v = first; v < count; ++v) {
      float* weights = space.weights + v * weight_stride;
      softmax[v].absorb(weights, t, tokens, a.scale, space.outputs + v * output_stride, a.head_dim);
      Words::pack_weights(weights, tokens);
    }
    const std::size_t words = (tokens + Words::numbers - 1) / Words::numbers;
    multiply_panel<Words, true>(count - first, space.weights + first * weight_stride, weight_stride,
                                space.values, a.head_dim, 1, a.head_dim, words,
                                space.outputs + first * output_stride, output_stride);
  }
  bool finite = true;
  for (std::size_t v = 0; v < count; ++v) {
    finite =
        finish_vector(a, vectors[v], softmax[v].total, space.outputs + v * output_stride) && finite;
  }
  return finite;
}

/// Block attention by some way of multiplying.
template <class Words, Scalar T>
bool attend_block(const BlockAttention<T>& a) noexcept {
  bool finite = true;
  QueryVector panel[panel_vectors];
  std::size_t filled = 0;
  for (std::size_t row = 0; row < a.rows; row += lanes) {
    for (std::size_t head = 0; head < a.group; ++head) {
      panel[filled++] = {head, row, (std::min)(lanes, a.rows - row)};
      if (filled < panel_vectors) continue;
      finite = attend_panel<Words>(a, panel, filled) && finite;
      filled = 0;
    }
  }
  return filled == 0 ? finite : attend_panel<Words>(a, panel, filled) && finite;
}

/// See kernels::block_attention.
template <Scalar T>
[[nodiscard]] bool block_attention(const BlockAttention<T>& a) noexcept {
  return attend_block<FloatWords>(a);
}

}}}}}   // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
