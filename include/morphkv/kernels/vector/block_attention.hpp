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
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

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
  float* outputs;  ///< [vector][output_dim][lane]
  float* weights;  ///< [vector][block_tokens][lane]
  float* keys;     ///< [block_tokens][words of head_dim]
  float* values;   ///< [words of block_tokens][output_dim]
  float* kept;     ///< [vector][padded tokens][lane], where rows are computed from them

  BlockSpace(float* workspace, std::size_t head_dim, std::size_t output_dim) noexcept {
    const std::size_t key_width = (head_dim + lanes - 1) / lanes * lanes;
    const std::size_t value_width = (output_dim + lanes - 1) / lanes * lanes;
    queries = workspace;
    outputs = queries + block_queries * key_width;
    weights = outputs + block_queries * value_width;
    keys = weights + block_queries * block_tokens;
    values = keys + block_tokens * key_width;
    kept = values + block_tokens * value_width;
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
  /// Turns the weights of a vector into words, where they are not words as they are.
  static void pack_weights(const float*, std::size_t, float*) noexcept {}
};

/// out[v][j] = sum over k of left[v][k] * right[k][j], added to what is there or not. Strides are
/// in words.
struct Product {
  const float* left;
  std::size_t left_stride;
  const float* right;
  std::size_t row_stride;
  std::size_t column_stride;
  std::size_t columns;
  std::size_t depth;
  float* out;
  std::size_t out_stride;
};

/// The part of `Vectors` vectors from v on and `Columns` numbers from j on.
template <class Words, bool Add, std::size_t Vectors, std::size_t Columns>
void multiply(const Product& p, std::size_t v0, std::size_t j0) noexcept {
  const float* left = p.left + v0 * p.left_stride;
  const float* right = p.right + j0 * p.column_stride;
  float* out = p.out + v0 * p.out_stride + j0 * lanes;
  Floats sums[Vectors][Columns];
  MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
    MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
      sums[v][j] = Add ? load(out + v * p.out_stride + j * lanes) : Floats{};
    }
  }
  for (std::size_t k = 0; k < p.depth; ++k) {
    Floats some[Vectors];
    MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
      some[v] = load(left + v * p.left_stride + k * lanes);
    }
    MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
      const Floats number = in_register(broadcast(right[k * p.row_stride + j * p.column_stride]));
      MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
        sums[v][j] = Words::multiply_add(some[v], number, sums[v][j]);
      }
    }
  }
  MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
    MORPHKV_UNROLL for (std::size_t j = 0; j < Columns; ++j) {
      store(out + v * p.out_stride + j * lanes, sums[v][j]);
    }
  }
}

/// Calls use(begin, n) for parts of 0 ... count - 1 of n numbers, a constant: Most, 2 or 1.
template <std::size_t Most, class Use>
void for_each_part(std::size_t count, const Use& use) noexcept {
  std::size_t i = 0;
  for (; i + Most <= count; i += Most) use(i, std::integral_constant<std::size_t, Most>());
  for (; i + 2 <= count; i += 2) use(i, std::integral_constant<std::size_t, 2>());
  if (i < count) use(i, std::integral_constant<std::size_t, 1>());
}

/// The product of `vectors` vectors.
template <class Words, bool Add>
void multiply_panel(std::size_t vectors, const Product& p) noexcept {
  for_each_part<tuning.query_vectors>(vectors, [&](std::size_t v, auto some_vectors) noexcept {
    for_each_part<tuning.columns>(p.columns, [&](std::size_t j, auto some_columns) noexcept {
      multiply<Words, Add, decltype(some_vectors)::value, decltype(some_columns)::value>(p, v, j);
    });
  });
}

/// Minus infinity in the lanes of queries whose own token comes before the token, or `window` after
/// it.
MORPHKV_VECTOR_WORD Floats only_visible(Floats logit, const float* own_token, float window,
                                        std::size_t token) noexcept {
  const Floats age = load(own_token) - static_cast<float>(token);
  const Floats sign = min(min(age, (window - 1.0F) - age), Floats{}) + 0.5F;
  // NaN stays NaN
  return min(sign * std::numeric_limits<float>::infinity(), logit);
}

/// A vector's softmax so far.
struct RunningSoftmax {
  alignas(64) float high[lanes];  ///< the greatest logit, or the logarithm that is known
  alignas(64) float total[lanes];
  alignas(64) float own_token[lanes];     ///< of the lane's query
  alignas(64) float own_position[lanes];  ///< likewise, where logits have slopes
  /// What is the same for all tokens. Loops that store floats copy it: it stays in registers.
  struct Terms {
    float window = 0;           ///< tokens that a query sees at most
    std::size_t all_begin = 0;  ///< tokens that every lane's query sees
    std::size_t all_end = 0;
    float scale = 1;  ///< of the products, as in Logits
    float soft_cap = 0;
    float slope = 0;
    const float* positions = nullptr;        ///< where there is a slope
    const std::uint64_t* visible = nullptr;  ///< the mask, from the word of the first lane's bit on
    std::size_t masked_from = 0;
    std::size_t mask_words = 0;
    std::size_t first_bit = 0;  ///< of the first lane
  } terms;

  /// Nothing seen yet but the sink.
  template <Scalar T>
  void begin(const BlockAttention<T>& a, const QueryVector& vector) noexcept {
    const std::size_t first = a.own_token(vector.row);
    const std::size_t last = first + lanes - 1;
    const float sink = a.logits.sink(vector.head);
    terms = {.window = a.window == 0 ? std::numeric_limits<float>::infinity()
                                     : static_cast<float>(a.window),
             .all_begin = a.window == 0 || a.window > last ? 0 : last - a.window + 1,
             .all_end = first + 1,
             .scale = a.logits.scale,
             .soft_cap = a.logits.soft_cap,
             .slope = a.logits.slope(vector.head),
             .positions = a.logits.slopes == nullptr ? nullptr : a.positions,
             .visible = a.visible == nullptr ? nullptr : a.visible + vector.row / 64,
             .masked_from = a.masked_from,
             .mask_words = a.mask_words(),
             .first_bit = vector.row % 64};
    for (std::size_t i = 0; i < lanes; ++i) {
      high[i] = (std::max)(sink, std::numeric_limits<float>::lowest());
      total[i] = std::isfinite(sink) ? 1.0F : 0.0F;
      own_token[i] = static_cast<float>(first + i);
      own_position[i] =
          terms.positions == nullptr ? 0 : terms.positions[first + (std::min)(i, vector.count - 1)];
    }
  }

  /// The logits of a token from its products, less `shift`; minus infinity where a query does not
  /// see it.
  [[nodiscard]] MORPHKV_VECTOR_WORD Floats logit(const Terms& t, Floats product, std::size_t token,
                                                 Floats shift) const noexcept {
    Floats result = t.soft_cap > 0 ? capped(product * t.scale, t.soft_cap) - shift
                                   : fma(product, broadcast(t.scale), -shift);
    if (t.positions != nullptr) {
      result = fma(t.positions[token] - load(own_position), broadcast(t.slope), result);
    }
    if (t.visible != nullptr && token >= t.masked_from) {
      const std::uint64_t* bits = t.visible + (token - t.masked_from) * t.mask_words;
      return masked_min(clear_bits(bits, t.first_bit), result,
                        broadcast(-std::numeric_limits<float>::infinity()));
    }
    const bool by_all = token >= t.all_begin && token < t.all_end;
    return by_all ? result : only_visible(result, own_token, t.window, token);
  }

  /// Turns the products of `count` tokens from `token` on into weights relative to the greatest
  /// logit so far; scales the outputs down where they bring a greater one.
  void absorb(float* products, std::size_t token, std::size_t count, float* output,
              std::size_t output_dim) noexcept {
    const Terms t = terms;
    const Floats before = load(high);
    Floats highest = before;
    for (std::size_t k = 0; k < count; ++k) {
      const Floats some = logit(t, load(products + k * lanes), token + k, Floats{});
      store(products + k * lanes, some);
      highest = max(some, highest);
    }
    const Floats shrink = exp_of_negative(before - highest);
    Floats sum = load(total) * shrink;
    for (std::size_t k = 0; k < count; ++k) {
      const Floats weight = exp_of_negative(load(products + k * lanes) - highest);
      store(products + k * lanes, weight);
      sum += weight;
    }
    store(high, highest);
    store(total, sum);
    if (output == nullptr || popcount(equal(before, highest)) == lanes) return;
    for (std::size_t d = 0; d < output_dim; ++d) {
      store(output + d * lanes, load(output + d * lanes) * shrink);
    }
  }

  /// Turns products into the logarithms of weights, where that of their sum is known. A wrong one
  /// gives weights above 1, but none above e. `total` becomes NaN if a logarithm is.
  void shift(float* products, std::size_t token, std::size_t count) noexcept {
    const Terms t = terms;
    const Floats known = load(high);
    Floats sum = load(total);
    for (std::size_t k = 0; k < count; ++k) {
      const Floats some = logit(t, load(products + k * lanes), token + k, known);
      const Floats logarithm = min(broadcast(1.0F), some);
      store(products + k * lanes, logarithm);
      sum += logarithm;
    }
    store(total, sum);
  }
};

/// Writes the outputs and the log-sum-exp of a vector. \return whether its weights are finite
template <Scalar T>
bool finish_vector(const BlockAttention<T>& a, const QueryVector& vector,
                   const RunningSoftmax& softmax, const float* output) noexcept {
  bool finite = true;
  for (std::size_t i = 0; i < vector.count; ++i) {
    const float total = softmax.total[i];
    const std::size_t at = (vector.row + i) * a.group + vector.head;
    finite = finite && std::isfinite(total) && total > 0;
    if (a.log_sum_exp != nullptr) a.log_sum_exp[at] = softmax.high[i] + std::log(total);
    if (a.outputs == nullptr) continue;
    const float share = a.value_scale / total;
    float* to = a.outputs + at * a.output_dim();
    for (std::size_t d = 0; d < a.output_dim(); ++d) to[d] = output[d * lanes + i] * share;
  }
  return finite;
}

/// Fuses the weights of `heads` vectors, heads of the same queries, over `count` tokens from
/// `token` on, and writes them to the queries' rows, or fuses them with what other heads left
/// there. `factors` scale the weights: [head][lane]. With `Logarithms` it is their logarithms that
/// are given; the maximum of a group then takes one exponential and no factor.
template <bool Logarithms, Scalar T>
void fuse_tile(const BlockAttention<T>& a, const QueryVector& vector, std::size_t heads,
               const float* weights, std::size_t weight_stride, const float* factors,
               std::size_t token, std::size_t count) noexcept {
  const bool highest = a.fusion == GroupFusion::max;
  const Floats none =
      broadcast(Logarithms && highest ? std::numeric_limits<float>::lowest() : 0.0F);
  alignas(64) float tile[lanes * block_tokens];  // [query][token]
  for (std::size_t k = 0; k < count; k += 4) {
    Floats fused[4] = {none, none, none, none};
    for (std::size_t h = 0; h < heads; ++h) {
      const Floats factor = load(factors + h * lanes);
      const float* from = weights + h * weight_stride + k * lanes;
      MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) {
        Floats weight = load(from + i * lanes);
        if (Logarithms && !highest) weight = exp_of_negative(weight);
        if (!Logarithms && highest) weight *= factor;
        fused[i] = highest ? max(weight, fused[i]) : fma(weight, factor, fused[i]);
      }
    }
    MORPHKV_UNROLL for (Floats& some : fused) {
      if (Logarithms && highest) some = exp_of_negative(some);
    }
    store_transposed(fused[0], fused[1], fused[2], fused[3], tile + k, block_tokens);
  }
  for (std::size_t i = 0; i < vector.count; ++i) {
    const float* from = tile + i * block_tokens;
    float* to = a.fused_rows + (vector.row + i) * a.row_stride + token;
    if (vector.head == 0) {
      std::copy_n(from, count, to);
    } else {
      for (std::size_t k = 0; k < count; ++k) {
        to[k] = highest ? (std::max)(to[k], from[k]) : to[k] + from[k];
      }
    }
  }
}

/// The attention of some vectors of queries, in the order of their rows and of heads within them.
template <class Words, Scalar T>
class Panel {
 public:
  explicit Panel(const BlockAttention<T>& a) noexcept
      : a_(a),
        space_(a.workspace, a.head_dim, a.output_dim()),
        known_(a.outputs == nullptr && a.fused_rows != nullptr && a.known_log_sum_exp != nullptr),
        keeps_(a.fused_rows != nullptr && !known_),
        weights_(keeps_ ? space_.kept : space_.weights),
        weight_stride_(keeps_ ? padded(a.tokens) * lanes : block_tokens * lanes),
        highs_(keeps_ ? space_.kept + block_queries * padded(a.tokens) : nullptr) {}

  /// Takes one more vector. \return whether it was the last one that fits
  bool add_vector(const QueryVector& vector) noexcept {
    float* queries = space_.queries + size_ * query_stride_;
    std::fill_n(queries, query_stride_, 0.0F);
    for (std::size_t i = 0; i < vector.count; ++i) {
      const std::size_t at = (vector.row + i) * a_.group + vector.head;
      Words::pack_query(a_.queries + at * a_.head_dim, a_.head_dim, queries + i);
    }
    std::fill_n(space_.outputs + size_ * output_stride_, output_stride_, 0.0F);
    softmax_[size_].begin(a_, vector);
    vectors_[size_++] = vector;
    return size_ == panel_vectors;
  }

  /// Attends, writes all results and is empty again. \return whether every weight is finite
  bool attend() noexcept {
    if (size_ == 0) return true;
    if (known_) load_known();
    std::size_t first = 0;  // of the vectors that see tokens of a tile
    std::size_t last = 0;   // the one after them
    const std::size_t seen = seen_by(size_ - 1);
    for (std::size_t t = first_tile(0); t < seen; t += block_tokens) {
      while (seen_by(first) <= t) ++first;
      while (last < size_ && first_tile(last) <= t) ++last;
      attend_tile(first, last, t, (std::min)(block_tokens, seen_by(last - 1) - t));
    }
    bool finite = true;
    for (std::size_t v = 0; v < size_; ++v) {
      const RunningSoftmax& softmax = softmax_[v];
      if (known_) {
        for (std::size_t i = 0; i < vectors_[v].count; ++i) {
          finite = finite && std::isfinite(softmax.high[i]) && !std::isnan(softmax.total[i]);
        }
      } else {
        finite =
            finish_vector(a_, vectors_[v], softmax, space_.outputs + v * output_stride_) && finite;
      }
    }
    if (a_.fused_rows != nullptr) finish_rows();
    size_ = 0;
    return finite;
  }

 private:
  /// The tile that the tokens which vector v sees begin in; they end before seen_by(v).
  [[nodiscard]] std::size_t first_tile(std::size_t v) const noexcept {
    return a_.seen_begin(vectors_[v].row) / block_tokens * block_tokens;
  }
  [[nodiscard]] std::size_t seen_by(std::size_t v) const noexcept {
    return (std::min)(a_.seen_end(vectors_[v].row) + vectors_[v].count - 1, a_.tokens);
  }
  /// Whether vector v sees tokens of the tile at token t.
  [[nodiscard]] bool sees(std::size_t v, std::size_t t) const noexcept {
    return first_tile(v) <= t && t < seen_by(v);
  }
  /// Vectors from number v on that are heads of the same queries.
  [[nodiscard]] std::size_t heads_from(std::size_t v) const noexcept {
    std::size_t heads = 1;
    while (v + heads < size_ && vectors_[v + heads].row == vectors_[v].row) ++heads;
    return heads;
  }
  /// What a head's weight adds to a row.
  [[nodiscard]] float head_share() const noexcept {
    return a_.fusion == GroupFusion::max ? 1.0F : 1.0F / static_cast<float>(a_.group);
  }

  void load_known() noexcept {
    std::fill_n(factors_, size_ * lanes, head_share());
    for (std::size_t v = 0; v < size_; ++v) {
      for (std::size_t i = 0; i < lanes; ++i) {
        const std::size_t at = (vectors_[v].row + i) * a_.group + vectors_[v].head;
        // In a lane without a query all weights are 0.
        softmax_[v].high[i] = i < vectors_[v].count ? a_.known_log_sum_exp[at] : 1e30F;
      }
    }
  }

  /// Brings `count` rows of keys or values into the L2 cache, while a product runs.
  static void prefetch(const T* rows, std::size_t count, std::size_t stride,
                       std::size_t dim) noexcept {
    for (std::size_t k = 0; k < count; ++k, rows += stride) {
      for (std::size_t d = 0; d < dim; d += 64 / sizeof(T)) {
        __builtin_prefetch(rows + d, 0, 2);
      }
    }
  }

  /// The tile of `tokens` tokens from token `t` on, for the vectors from `first` to `last`.
  void attend_tile(std::size_t first, std::size_t last, std::size_t t,
                   std::size_t tokens) noexcept {
    for (std::size_t k = 0; k < tokens; ++k) {
      Words::pack_key(a_.keys + (t + k) * a_.stride, a_.head_dim, space_.keys + k * depth_);
    }
    const std::size_t left = (std::min)(block_tokens, a_.tokens - t - tokens);
    prefetch(a_.keys + (t + tokens) * a_.stride, left, a_.stride, a_.head_dim);
    const std::size_t value_stride = a_.value_stride == 0 ? a_.stride : a_.value_stride;
    if (a_.outputs != nullptr) prefetch(a_.value(t), tokens, value_stride, output_dim_);
    float* tile = weights_ + (keeps_ ? t * lanes : 0);
    multiply_panel<Words, false>(last - first, {.left = space_.queries + first * query_stride_,
                                                .left_stride = query_stride_,
                                                .right = space_.keys,
                                                .row_stride = 1,
                                                .column_stride = depth_,
                                                .columns = tokens,
                                                .depth = depth_,
                                                .out = tile + first * weight_stride_,
                                                .out_stride = weight_stride_});
    for (std::size_t v = first; v < last; ++v) {
      float* weights = tile + v * weight_stride_;
      if (known_) {
        softmax_[v].shift(weights, t, tokens);
        continue;
      }
      softmax_[v].absorb(weights, t, tokens,
                         a_.outputs == nullptr ? nullptr : space_.outputs + v * output_stride_,
                         output_dim_);
      if (keeps_) store(high_of(v, t), load(softmax_[v].high));
      if (a_.outputs != nullptr) {
        Words::pack_weights(weights, tokens, space_.weights + v * block_tokens * lanes);
      }
    }
    if (known_) return fuse_vectors<true>(t);
    if (a_.outputs == nullptr) return;
    Words::pack_values(a_.value(t), value_stride, tokens, output_dim_, space_.values);
    const std::size_t words = (tokens + Words::numbers - 1) / Words::numbers;
    const bool packed = Words::numbers > 1;
    const std::size_t stride = packed ? block_tokens * lanes : weight_stride_;
    multiply_panel<Words, true>(last - first,
                                {.left = (packed ? space_.weights : tile) + first * stride,
                                 .left_stride = stride,
                                 .right = space_.values,
                                 .row_stride = output_dim_,
                                 .column_stride = 1,
                                 .columns = output_dim_,
                                 .depth = words,
                                 .out = space_.outputs + first * output_stride_,
                                 .out_stride = output_stride_});
  }

  /// The greatest logits when the tile at token t was weighed.
  [[nodiscard]] float* high_of(std::size_t v, std::size_t t) const noexcept {
    return highs_ + (v * (padded(a_.tokens) / block_tokens) + t / block_tokens) * lanes;
  }

  /// Writes the tile at token t of the rows of the vectors that see tokens of it, by factors_.
  template <bool Logarithms>
  void fuse_vectors(std::size_t t) noexcept {
    const float* tile = weights_ + (keeps_ ? t * lanes : 0);
    for (std::size_t v = 0; v < size_;) {
      const std::size_t heads = heads_from(v);
      if (sees(v, t)) {
        fuse_tile<Logarithms>(a_, vectors_[v], heads, tile + v * weight_stride_, weight_stride_,
                              factors_ + v * lanes, t, (std::min)(block_tokens, seen_by(v) - t));
      }
      v += heads;
    }
  }

  /// Writes the rows from the weights that were kept; and the zeros around them.
  void finish_rows() noexcept {
    for (std::size_t t = first_tile(0); keeps_ && t < seen_by(size_ - 1); t += block_tokens) {
      for (std::size_t v = 0; v < size_; ++v) {
        if (!sees(v, t)) continue;
        const Floats share = head_share() / load(softmax_[v].total);
        const Floats shrink = exp_of_negative(load(high_of(v, t)) - load(softmax_[v].high));
        store(factors_ + v * lanes, share * shrink);
      }
      fuse_vectors<false>(t);
    }
    for (std::size_t v = 0; v < size_; v += heads_from(v)) {
      for (std::size_t i = 0; vectors_[v].head == 0 && i < vectors_[v].count; ++i) {
        float* row = a_.fused_rows + (vectors_[v].row + i) * a_.row_stride;
        std::fill(row, row + first_tile(v), 0.0F);
        std::fill(row + seen_by(v), row + a_.tokens, 0.0F);
      }
    }
  }

  const BlockAttention<T>& a_;
  BlockSpace space_;
  bool known_;      ///< the log-sum-exp is, so that weights are final at once
  bool keeps_;      ///< the weights, until it is
  float* weights_;  ///< of one tile, or of all
  std::size_t weight_stride_;
  float* highs_;
  std::size_t depth_ = a_.head_dim / Words::numbers;
  std::size_t query_stride_ = depth_ * lanes;
  std::size_t output_dim_ = a_.output_dim();
  std::size_t output_stride_ = output_dim_ * lanes;
  std::size_t size_ = 0;
  QueryVector vectors_[panel_vectors];
  RunningSoftmax softmax_[panel_vectors];
  alignas(64) float factors_[panel_vectors * lanes];  ///< from weights to rows
};

/// Block attention by some way of multiplying.
template <class Words, Scalar T>
bool attend_block(const BlockAttention<T>& a) noexcept {
  bool finite = true;
  Panel<Words, T> panel(a);
  for (std::size_t row = 0; row < a.rows; row += lanes) {
    for (std::size_t head = 0; head < a.group; ++head) {
      if (panel.add_vector({head, row, (std::min)(lanes, a.rows - row)})) {
        finite = panel.attend() && finite;
      }
    }
  }
  return panel.attend() && finite;
}

/// See kernels::block_attention.
template <Scalar T>
[[nodiscard]] bool block_attention(const BlockAttention<T>& a) noexcept {
  return attend_block<FloatWords>(a);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
