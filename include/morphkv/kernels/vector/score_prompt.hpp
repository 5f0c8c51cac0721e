// SPDX-License-Identifier: Apache-2.0
/// \file
/// Window-row scoring of a prompt over a vector vocabulary. Included once an ISA, between its
/// MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include guard, on
/// purpose.
///
/// A lane is a query: the queries are laid out dimension by dimension once, keys stay as they are,
/// and one number of a key meets a vector of queries. So no sum crosses lanes until the weights of
/// a key are added up, and softmax and fusion work lane by lane.
#ifdef MORPHKV_ISA
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace MORPHKV_ISA {

inline constexpr std::size_t prompt_heads = 64;   ///< query heads of a group, at most
inline constexpr std::size_t prompt_dims = 1024;  ///< group * head_dim, at most

/// Products of queries and keys, in float.
struct FloatDots {
  alignas(64) float queries[prompt_dims * lanes];  ///< [head][dimension][query]
  alignas(64) float keys[key_tile * prompt_dims];

  template <Scalar T>
  static bool fits(const ScorePrompt<T>& a) noexcept {
    return a.group <= prompt_heads && a.group * a.head_dim <= prompt_dims;
  }

  /// Lays out the queries from `row` on, `count` of them; lanes beyond them are zeros.
  template <Scalar T>
  void pack(const ScorePrompt<T>& a, std::size_t row, std::size_t count) noexcept {
    std::fill_n(queries, a.group * a.head_dim * lanes, 0.0F);
    for (std::size_t r = 0; r < count; ++r) {
      const T* query = a.queries + (row + r) * a.query_stride;
      for (std::size_t i = 0; i < a.group * a.head_dim; ++i) {
        queries[i * lanes + r] = static_cast<float>(query[i]);
      }
    }
  }

  /// Reads `key_tile` keys from `token` on; the last of `count` stands for those beyond it.
  template <Scalar T>
  void load_keys(const ScorePrompt<T>& a, std::size_t token, std::size_t count) noexcept {
    const std::size_t head_dim = a.head_dim;  // a copy, which no store can change
    for (std::size_t k = 0; k < key_tile; ++k) {
      const T* key = a.keys + (token + (std::min)(k, count - 1)) * a.stride;
      float* to = keys + k * head_dim;
      std::size_t d = 0;
      for (; d + 2 * lanes <= head_dim; d += 2 * lanes) {
        store(to + d, load(key + d));
        store(to + d + lanes, load(key + d + lanes));
      }
      for (; d < head_dim; ++d) to[d] = static_cast<float>(key[d]);
    }
  }

  /// logits[h][k][lane] of `Heads` heads, unscaled.
  template <std::size_t Heads, Scalar T>
  void logits(const ScorePrompt<T>& a, std::size_t head, float* out) const noexcept {
    Floats sums[Heads][key_tile];
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t k = 0; k < key_tile; ++k) sums[h][k] = zero();
    }
    const std::size_t head_dim = a.head_dim;
    const float* query = queries + head * head_dim * lanes;
    for (std::size_t d = 0; d < head_dim; ++d) {
      Floats some[Heads];
      MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
        some[h] = load(query + (h * head_dim + d) * lanes);
      }
      MORPHKV_UNROLL for (std::size_t k = 0; k < key_tile; ++k) {
        const Floats key = in_register(all(keys[k * head_dim + d]));
        MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
          sums[h][k] = fma(some[h], key, sums[h][k]);
        }
      }
    }
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t k = 0; k < key_tile; ++k) {
        store(out + (h * key_tile + k) * lanes, sums[h][k]);
      }
    }
  }
};

/// Asks for the keys that come some tiles later.
template <Scalar T>
void fetch_keys(const ScorePrompt<T>& a, std::size_t token) noexcept {
  constexpr std::size_t ahead = 8 * key_tile;
  for (std::size_t k = 0; k < key_tile && token + ahead + k < a.tokens; ++k) {
    const auto* key = reinterpret_cast<const char*>(a.keys + (token + ahead + k) * a.stride);
    for (std::size_t b = 0; b < a.head_dim * sizeof(T); b += 64) __builtin_prefetch(key + b);
  }
}

/// Logits of all heads of the group over a tile of keys: [head][key][lane].
template <class Dots, Scalar T>
void tile_logits(Dots& dots, const ScorePrompt<T>& a, std::size_t token, std::size_t count,
                 float* logits) noexcept {
  fetch_keys(a, token);
  dots.load_keys(a, token, count);
  for (std::size_t h = 0; h < a.group; h += head_block) {
    float* out = logits + h * key_tile * lanes;
    switch ((std::min)(head_block, a.group - h)) {
      case 1:
        dots.template logits<1>(a, h, out);
        break;
      case 2:
        dots.template logits<2>(a, h, out);
        break;
      case 3:
        dots.template logits<(std::min)(std::size_t{3}, head_block)>(a, h, out);
        break;
      default:
        dots.template logits<head_block>(a, h, out);
        break;
    }
  }
}

/// A number a head and lane.
using HeadLanes = float[prompt_heads * lanes];

/// Minus infinity in the lanes of queries that do not see the token yet.
MORPHKV_VECTOR_WORD Floats only_visible(Floats logit, const float* last_token,
                                        std::size_t token) noexcept {
  const Floats hidden = sub(load(last_token), all(static_cast<float>(token)));
  const Floats sign = add(lesser(hidden, zero()), all(0.5F));
  return lesser(mul(sign, all(std::numeric_limits<float>::infinity())), logit);  // NaN stays NaN
}

/// Logarithms of the sums of exponentials, lane by lane, of the queries from `row` on.
template <class Dots, Scalar T>
void find_log_sum_exp(Dots& dots, const ScorePrompt<T>& a, const float* last_token,
                      std::size_t seen, std::size_t seen_by_all, float* logits,
                      HeadLanes& logarithms) noexcept {
  alignas(64) HeadLanes highs;
  alignas(64) HeadLanes totals;
  for (std::size_t i = 0; i < a.group * lanes; ++i) {
    highs[i] = -1e30F;
    totals[i] = 0;
  }
  for (std::size_t t = 0; t < seen; t += key_tile) {
    const std::size_t count = (std::min)(key_tile, seen - t);
    if (a.workspace != nullptr) logits = a.workspace + t * a.group * lanes;
    tile_logits(dots, a, t, count, logits);
    for (std::size_t h = 0; h < a.group; ++h) {
      Floats some[key_tile];
      Floats high = load(highs + h * lanes);
      const Floats before = high;
      for (std::size_t k = 0; k < count; ++k) {
        some[k] = mul(load(logits + (h * key_tile + k) * lanes), all(a.scale));
        if (t + k >= seen_by_all) some[k] = only_visible(some[k], last_token, t + k);
        high = greater(some[k], high);
      }
      Floats total = mul(load(totals + h * lanes), exp_of_negative(sub(before, high)));
      for (std::size_t k = 0; k < count; ++k) {
        total = add(total, exp_of_negative(sub(some[k], high)));
      }
      store(highs + h * lanes, high);
      store(totals + h * lanes, total);
    }
  }
  for (std::size_t i = 0; i < a.group * lanes; ++i) logarithms[i] = highs[i] + std::log(totals[i]);
}

/// Scores a prompt by some way of computing products.
template <class Dots, Scalar T>
bool score_prompt_with(Dots& dots, const ScorePrompt<T>& a) noexcept {
  const Floats share =
      all(a.fusion == GroupFusion::max ? 1.0F : 1.0F / static_cast<float>(a.group));
  std::fill_n(a.sums, a.tokens, 0.0F);
  alignas(64) float logits[prompt_heads * key_tile * lanes];
  alignas(64) HeadLanes logarithms;
  alignas(64) float last_token[lanes];
  bool finite = true;
  for (std::size_t row = 0; row < a.rows; row += lanes) {
    const std::size_t count = (std::min)(lanes, a.rows - row);
    const std::size_t seen_by_all = a.tokens - a.rows + row + 1;
    const std::size_t seen = seen_by_all + count - 1;
    for (std::size_t r = 0; r < lanes; ++r) last_token[r] = static_cast<float>(seen_by_all - 1 + r);
    dots.pack(a, row, count);
    if (a.log_sum_exp == nullptr) {
      find_log_sum_exp(dots, a, last_token, seen, seen_by_all, logits, logarithms);
    }
    for (std::size_t h = 0; h < a.group; ++h) {
      for (std::size_t r = 0; r < lanes; ++r) {
        float& logarithm = logarithms[h * lanes + r];
        if (r >= count) {
          logarithm = 1e30F;  // nobody's query: all weights are 0
        } else if (a.log_sum_exp != nullptr) {
          logarithm = a.log_sum_exp[(row + r) * a.group + h];
        }
        finite = finite && std::isfinite(logarithm);
      }
    }
    for (std::size_t t = 0; t < seen; t += key_tile) {
      const std::size_t keys = (std::min)(key_tile, seen - t);
      const float* known = logits;
      if (a.log_sum_exp == nullptr && a.workspace != nullptr) {
        known = a.workspace + t * a.group * lanes;
      } else {
        tile_logits(dots, a, t, keys, logits);
      }
      Floats fused[key_tile];
      MORPHKV_UNROLL for (Floats& weights : fused) weights = zero();
      for (std::size_t h = 0; h < a.group; ++h) {
        const Floats logarithm = load(logarithms + h * lanes);
        MORPHKV_UNROLL for (std::size_t k = 0; k < key_tile; ++k) {
          Floats logit = mul(load(known + (h * key_tile + k) * lanes), all(a.scale));
          if (t + k >= seen_by_all) logit = only_visible(logit, last_token, t + k);
          const Floats weight = exp_of_negative(sub(logit, logarithm));
          fused[k] =
              a.fusion == GroupFusion::max ? greater(fused[k], weight) : add(fused[k], weight);
        }
      }
      MORPHKV_UNROLL for (Floats& weights : fused) weights = mul(weights, share);
      float sums[(key_tile + 3) / 4 * 4];
      MORPHKV_UNROLL for (std::size_t k = 0; k < key_tile; k += 4) {
        // The last key stands for those beyond it.
        const auto of = [&](std::size_t i) noexcept {
          return fused[(std::min)(k + i, key_tile - 1)];
        };
        store_sums<4>(of(0), of(1), of(2), of(3), 1.0F, sums + k);
      }
      for (std::size_t k = 0; k < keys; ++k) a.sums[t + k] += sums[k];
    }
  }
  for (std::size_t t = 0; t < a.tokens; ++t) finite = finite && std::isfinite(a.sums[t]);
  return finite;
}

/// See kernels::score_prompt.
template <Scalar T>
[[nodiscard]] bool score_prompt(const ScorePrompt<T>& a) noexcept {
  if (!FloatDots::fits(a)) return portable::score_prompt(a);
  FloatDots dots;
  return score_prompt_with(dots, a);
}

}}}}}   // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
