// SPDX-License-Identifier: Apache-2.0
/// \file
/// Decode attention of bfloat16 with the CPU's bfloat16 dot products: twice the arithmetic an
/// instruction, and no conversion of keys and values.
///
/// Products and sums are in float. A query that holds more than bfloat16 can is split into two
/// bfloat16 parts, and loses nothing that matters (2^-17); a weight is rounded to bfloat16 before
/// it meets the values, as on a GPU (2^-9), but not in the row and the sums.
#ifndef MORPHKV_KERNELS_VECTOR_DECODE_ATTENTION_BF16_HPP
#define MORPHKV_KERNELS_VECTOR_DECODE_ATTENTION_BF16_HPP

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/isa/avx512.hpp"
#include "morphkv/kernels/vector/read_ahead.hpp"

#if defined(MORPHKV_KERNELS_X86) && !defined(MORPHKV_KERNELS_ELSEWHERE)
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_BF16_FEATURES)
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::avx512_bf16 {

using Bf16s = __m512bh;  ///< thirty-two bfloat16

inline constexpr std::size_t pairs = 16;          ///< sums in a vector, of two products each
inline constexpr std::size_t chunk = 2 * pairs;   ///< bfloat16 in a vector
inline constexpr std::size_t max_head_dim = 576;  ///< of MLA

MORPHKV_VECTOR_WORD Bf16s load_bf16(const void* p) noexcept {
  return reinterpret_cast<Bf16s>(_mm512_loadu_si512(p));
}
/// Half of a vector, and zeros.
MORPHKV_VECTOR_WORD Bf16s load_bf16_half(const void* p) noexcept {
  const __m256i half = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return reinterpret_cast<Bf16s>(_mm512_zextsi256_si512(half));
}
/// Element 2 i is the first of pair i.
MORPHKV_VECTOR_WORD Bf16s to_bf16s(Floats low, Floats high) noexcept {
  return _mm512_cvtne2ps_pbh(high, low);
}

/// The queries of `max_heads` heads as sums of two bfloat16.
struct SplitQueries {
  alignas(64) std::uint16_t parts[2][max_heads * max_head_dim];
  bool exact = true;  ///< the second part is zero

  SplitQueries(const float* query, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; i += pairs) {
      const Floats whole = load(query + i);
      const Floats rest = whole - narrow_to(parts[0] + i, whole);
      narrow_to(parts[1] + i, rest);
      exact = exact && popcount(equal(rest, Floats{})) == lanes;
    }
  }

 private:
  /// Stores the numbers rounded. \return what was stored
  static Floats narrow_to(std::uint16_t* to, Floats a) noexcept {
    const auto rounded = reinterpret_cast<F16s>(_mm512_cvtneps_pbh(a));
    store(to, rounded);
    return as_f32(widen(rounded) << 16);
  }
};

/// Logits of `Tokens` tokens from `token` on, whose keys are those at `keys`, for `Heads` query
/// heads, whose queries have `Parts` parts.
template <std::size_t Heads, std::size_t Tokens, std::size_t Parts>
MORPHKV_VECTOR_WORD void key_step(const DecodeAttention<Eigen::bfloat16>& a,
                                  const SplitQueries& queries, const Eigen::bfloat16* keys,
                                  std::size_t head, std::size_t token) noexcept {
  Floats sums[Heads][Tokens];
  MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
    MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) sums[h][t] = Floats{};
  }
  const auto add_products = [&](std::size_t d, auto is_half) noexcept {
    const auto load_some = [is_half](const void* from) noexcept {
      return is_half ? load_bf16_half(from) : load_bf16(from);
    };
    Bf16s key[Tokens];
    MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) {
      key[t] = load_some(keys + t * a.keys.stride + d);
    }
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t part = 0; part < Parts; ++part) {
        const Bf16s q = load_some(queries.parts[part] + h * a.head_dim + d);
        MORPHKV_UNROLL for (std::size_t t = 0; t < Tokens; ++t) {
          sums[h][t] = _mm512_dpbf16_ps(sums[h][t], key[t], q);
        }
      }
    }
  };
  std::size_t d = 0;
  for (; d + chunk <= a.head_dim; d += chunk) add_products(d, std::false_type());
  if (d < a.head_dim) add_products(d, std::true_type());
  store_logits(sums, a.logits.scale, a.weights + head * a.weight_stride + token, a.weight_stride);
}

/// The two products of attention, in dot products of bfloat16. Dimensions are multiples of `pairs`.
///
/// While values are summed, the vectors of a chunk of a head's output hold dimensions in the order
/// in which unpacking interleaves the values of two tokens; finish() restores it.
struct DotProducts {
  template <std::size_t Heads>
  void logits(const DecodeAttention<Eigen::bfloat16>& a, std::size_t head, std::size_t lines,
              ReadAhead<Eigen::bfloat16>& ahead) const noexcept {
    const SplitQueries queries(a.query + head * a.head_dim, Heads * a.head_dim);
    queries.exact ? logits_of<Heads, 1>(a, queries, head, lines, ahead)
                  : logits_of<Heads, 2>(a, queries, head, lines, ahead);
  }

  template <std::size_t Heads>
  void values(const DecodeAttention<Eigen::bfloat16>& a, const KvCursor<Eigen::bfloat16>& cursor,
              std::size_t head, std::size_t token, std::size_t tokens, std::size_t lines,
              ReadAhead<Eigen::bfloat16>& ahead) const noexcept {
    alignas(64) std::uint16_t weights[Heads][tuning.value_tokens];
    for (std::size_t h = 0; h < Heads; ++h) {
      const float* from = a.weights + (head + h) * a.weight_stride + token;
      for (std::size_t t = 0; t < tokens; t += chunk) {
        const std::size_t low = (std::min)(pairs, tokens - t);
        const std::size_t high = (std::min)(chunk, tokens - t) - low;
        _mm512_store_si512(
            weights[h] + t,
            reinterpret_cast<__m512i>(to_bf16s(
                load_first(from + t, low), load_first(from + t + (high > 0 ? pairs : 0), high))));
      }
    }
    const std::size_t vectors = a.output_dim() / pairs;
    lines = read_block<Eigen::bfloat16> * lines / ((vectors + max_vectors - 1) / max_vectors);
    std::size_t v = 0;
    while (v < vectors) {
      // Two and three, not one that is too narrow.
      const std::size_t left = vectors - v == max_vectors + 1 ? 2 : vectors - v;
      with_constant<max_vectors>(left, [&](auto count) noexcept {
        value_pass<Heads, count>(a, cursor, weights, head, tokens, v * pairs, lines, ahead);
        v += count;
      });
    }
  }

  static void finish(float* output, std::size_t dim, float share) noexcept {
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    std::size_t d = 0;
    for (; d + chunk <= dim; d += chunk) {
      const Floats first = load(output + d) * share;
      const Floats second = load(output + d + pairs) * share;
      store(output + d, _mm512_permutex2var_ps(first, low, second));
      store(output + d + pairs, _mm512_permutex2var_ps(first, high, second));
    }
    if (d < dim) store(output + d, load(output + d) * share);
  }

 private:
  static constexpr std::size_t max_vectors = 4;  ///< of the values that one pass sums

  template <std::size_t Heads, std::size_t Parts>
  static void logits_of(const DecodeAttention<Eigen::bfloat16>& a, const SplitQueries& queries,
                        std::size_t head, std::size_t lines,
                        ReadAhead<Eigen::bfloat16>& ahead) noexcept {
    KvCursor<Eigen::bfloat16> cursor(a.keys);
    for (std::size_t t = 0; t < a.tokens;) {
      const Eigen::bfloat16* keys = nullptr;
      const std::size_t end = t + cursor.next(a.tokens - t, keys);
      constexpr std::size_t block = block_for<Heads>;
      for (; t + block <= end; t += block, keys += block * a.keys.stride) {
        ahead.lines(block * lines);
        key_step<Heads, block, Parts>(a, queries, keys, head, t);
      }
      for (; t < end; ++t, keys += a.keys.stride) {
        ahead.lines(lines);
        key_step<Heads, 1, Parts>(a, queries, keys, head, t);
      }
    }
  }

  /// The values of two tokens in the `Vectors` vectors of pairs from their dimensions on: two for a
  /// chunk, and one for half of a chunk at the end.
  template <std::size_t Vectors>
  MORPHKV_VECTOR_WORD static void pair_values(const Eigen::bfloat16* even,
                                              const Eigen::bfloat16* odd,
                                              Bf16s (&value)[Vectors]) noexcept {
    MORPHKV_UNROLL for (std::size_t v = 0; v + 2 <= Vectors; v += 2) {
      const __m512i first = _mm512_loadu_si512(even + v * pairs);
      const __m512i second = _mm512_loadu_si512(odd + v * pairs);
      value[v] = reinterpret_cast<Bf16s>(_mm512_unpacklo_epi16(first, second));
      value[v + 1] = reinterpret_cast<Bf16s>(_mm512_unpackhi_epi16(first, second));
    }
    if constexpr (Vectors % 2 == 1) {
      const std::size_t d = (Vectors - 1) * pairs;
      value[Vectors - 1] = reinterpret_cast<Bf16s>(widen(load_as<F16s>(even + d)) |
                                                   widen(load_as<F16s>(odd + d)) << 16);
    }
  }

  /// sums += weights * values for `Vectors` vectors of the values of two tokens, number `t` of the
  /// tile and the one after it.
  template <std::size_t Heads, std::size_t Vectors>
  MORPHKV_VECTOR_WORD static void value_step(const Eigen::bfloat16* even,
                                             const Eigen::bfloat16* odd,
                                             const std::uint16_t (*weights)[tuning.value_tokens],
                                             std::size_t t,
                                             Floats (&sums)[Heads][Vectors]) noexcept {
    Bf16s value[Vectors];
    pair_values(even, odd, value);
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      std::uint32_t both = 0;
      std::memcpy(&both, weights[h] + t, sizeof both);
      const auto weight = reinterpret_cast<Bf16s>(_mm512_set1_epi32(static_cast<int>(both)));
      MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
        sums[h][v] = _mm512_dpbf16_ps(sums[h][v], value[v], weight);
      }
    }
  }

  /// output += weights * values for `Vectors` vectors of the values from dimension `d` on; two
  /// tokens at a time, of which the second is nothing at an odd end.
  template <std::size_t Heads, std::size_t Vectors>
  static void value_pass(const DecodeAttention<Eigen::bfloat16>& a,
                         KvCursor<Eigen::bfloat16> cursor,
                         const std::uint16_t (*weights)[tuning.value_tokens], std::size_t head,
                         std::size_t tokens, std::size_t d, std::size_t lines,
                         ReadAhead<Eigen::bfloat16>& ahead) noexcept {
    const std::size_t dim = a.output_dim();
    float* output = a.output + head * dim + d;
    Floats sums[Heads][Vectors];
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
        sums[h][v] = load(output + h * dim + v * pairs);
      }
    }
    for (std::size_t t = 0; t < tokens;) {
      const Eigen::bfloat16* values = nullptr;
      const std::size_t end = t + cursor.next(tokens - t, values);
      for (; t + 2 <= end; t += 2, values += 2 * a.values.stride) {
        if (t % read_block<Eigen::bfloat16> == 0) ahead.lines(lines);
        value_step<Heads, Vectors>(values + d, values + a.values.stride + d, weights, t, sums);
      }
      if (t == end) continue;
      if (t % read_block<Eigen::bfloat16> == 0) ahead.lines(lines);
      const Eigen::bfloat16* odd = values;  // times 0 at the end of the tile
      if (t + 1 < tokens) cursor.next(1, odd);
      value_step<Heads, Vectors>(values + d, odd + d, weights, t, sums);
      t += 2;
    }
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t v = 0; v < Vectors; ++v) {
        store(output + h * dim + v * pairs, sums[h][v]);
      }
    }
  }
};

/// See kernels::decode_attention.
template <Scalar T>
bool decode_attention(const DecodeAttention<T>& a) noexcept {
  return avx512::decode_attention(a);
}
inline bool decode_attention(const DecodeAttention<Eigen::bfloat16>& a) noexcept {
  if (a.head_dim % pairs != 0 || a.output_dim() % pairs != 0 || a.head_dim > max_head_dim ||
      a.group > max_group) {
    return avx512::decode_attention(a);
  }
  return decode_with(DotProducts(), a);
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::avx512_bf16
MORPHKV_TARGET_END
#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_VECTOR_DECODE_ATTENTION_BF16_HPP
