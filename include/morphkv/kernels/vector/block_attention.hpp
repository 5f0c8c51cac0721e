// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of queries over a vector vocabulary. Included once an ISA, between its
/// MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include guard, on
/// purpose.
///
/// A lane is a query. Both products of attention are one product of matrices: vectors of queries
/// meet numbers of keys, and vectors of weights meet numbers of values. No sum crosses lanes, and
/// the softmax works lane by lane. A panel is `head_block` such vectors, of several heads, or of
/// several blocks of queries where the group is small.
#ifdef MORPHKV_ISA
namespace morphkv::inline v0::kernels::inline MORPHKV_KERNELS_BUILD::MORPHKV_ISA {

inline constexpr std::size_t column_block = 4;  ///< numbers that meet the vectors at once

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
    outputs = queries + head_block * lanes * width;
    weights = outputs + head_block * lanes * width;
    keys = weights + head_block * lanes * block_tokens;
    values = keys + block_tokens * width;
  }
  static_assert(head_block * lanes <= block_queries);
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
    Floats number[Columns];
    MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
      number[j] = all(right[k * row_stride + j * column_stride]);
    }
    MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
      const Floats some = load(left + v * left_stride + k * lanes);
      MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
        sums[v][j] = Words::multiply_add(some, number[j], sums[v][j]);
      }
    }
  }
  MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
    MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
      store(out + v * out_stride + j * lanes, sums[v][j]);
    }
  }
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
      Floats logit = mul(load(logits + k * lanes), all(scale));
      if (token + k >= seen_by_all) logit = only_visible(logit, last_token, token + k);
      store(logits + k * lanes, logit);
      greatest_logit = greater(logit, greatest_logit);
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
    if (number_of(equal(before, greatest_logit)) == lanes) return;
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

/// The attention of `Vectors` vectors of queries.
template <class Words, std::size_t Vectors, Scalar T>
bool attend_panel(const BlockAttention<T>& a, const QueryVector* vectors) noexcept {
  const BlockSpace space(a.workspace, a.head_dim);
  const std::size_t depth = a.head_dim / Words::numbers;
  const std::size_t query_stride = depth * lanes;
  const std::size_t output_stride = a.head_dim * lanes;
  const std::size_t weight_stride = block_tokens * lanes;
  const std::size_t before_block = a.tokens - a.rows;
  std::fill_n(space.queries, Vectors * query_stride, 0.0F);
  std::fill_n(space.outputs, Vectors * output_stride, 0.0F);
  RunningSoftmax softmax[Vectors];
  std::size_t seen = 0;
  for (std::size_t v = 0; v < Vectors; ++v) {
    const QueryVector& vector = vectors[v];
    softmax[v].begin(before_block + vector.row);
    seen = (std::max)(seen, before_block + vector.row + vector.count);
    for (std::size_t i = 0; i < vector.count; ++i) {
      const float* query = a.queries + ((vector.row + i) * a.group + vector.head) * a.head_dim;
      Words::pack_query(query, a.head_dim, space.queries + v * query_stride + i);
    }
  }
  for (std::size_t t = 0; t < seen; t += block_tokens) {
    const std::size_t count = (std::min)(block_tokens, seen - t);
    for (std::size_t k = 0; k < count; ++k) {
      Words::pack_key(a.keys + (t + k) * a.stride, a.head_dim, space.keys + k * depth);
    }
    Words::pack_values(a.values + t * a.stride, a.stride, count, a.head_dim, space.values);
    std::size_t k = 0;
    for (; k + column_block <= count; k += column_block) {
      multiply<Words, Vectors, column_block, false>(space.queries, query_stride,
                                                    space.keys + k * depth, 1, depth, depth,
                                                    space.weights + k * lanes, weight_stride);
    }
    for (; k < count; ++k) {
      multiply<Words, Vectors, 1, false>(space.queries, query_stride, space.keys + k * depth, 1,
                                         depth, depth, space.weights + k * lanes, weight_stride);
    }
    for (std::size_t v = 0; v < Vectors; ++v) {
      float* weights = space.weights + v * weight_stride;
      softmax[v].absorb(weights, t, count, a.scale, space.outputs + v * output_stride, a.head_dim);
      Words::pack_weights(weights, count);
    }
    const std::size_t words = (count + Words::numbers - 1) / Words::numbers;
    std::size_t d = 0;
    for (; d + column_block <= a.head_dim; d += column_block) {
      multiply<Words, Vectors, column_block, true>(space.weights, weight_stride, space.values + d,
                                                   a.head_dim, 1, words, space.outputs + d * lanes,
                                                   output_stride);
    }
    for (; d < a.head_dim; ++d) {
      multiply<Words, Vectors, 1, true>(space.weights, weight_stride, space.values + d, a.head_dim,
                                        1, words, space.outputs + d * lanes, output_stride);
    }
  }
  bool finite = true;
  for (std::size_t v = 0; v < Vectors; ++v) {
    finite =
        finish_vector(a, vectors[v], softmax[v].total, space.outputs + v * output_stride) && finite;
  }
  return finite;
}

/// Block attention by some way of multiplying.
template <class Words, Scalar T>
bool attend_block(const BlockAttention<T>& a) noexcept {
  bool finite = true;
  QueryVector panel[head_block];
  std::size_t filled = 0;
  const auto attend = [&] {
    switch (filled) {
      case 1:
        return attend_panel<Words, 1>(a, panel);
      case 2:
        return attend_panel<Words, 2>(a, panel);
      case 3:
        return attend_panel<Words, (std::min)(std::size_t{3}, head_block)>(a, panel);
      default:
        return attend_panel<Words, head_block>(a, panel);
    }
  };
  for (std::size_t row = 0; row < a.rows; row += lanes) {
    for (std::size_t head = 0; head < a.group; ++head) {
      panel[filled++] = {head, row, (std::min)(lanes, a.rows - row)};
      if (filled < head_block) continue;
      finite = attend() && finite;
      filled = 0;
    }
  }
  return filled == 0 ? finite : attend() && finite;
}

/// See kernels::block_attention.
template <Scalar T>
[[nodiscard]] bool block_attention(const BlockAttention<T>& a) noexcept {
  return attend_block<FloatWords>(a);
}

}  // namespace morphkv::inline v0::kernels::inline MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
