// SPDX-License-Identifier: Apache-2.0
/// \file
/// Window-row scoring of a bfloat16 prompt with the CPU's bfloat16 dot products: a pair of a key's
/// numbers meets pairs of sixteen queries, with no conversion.
#ifndef MORPHKV_KERNELS_AVX512_SCORE_PROMPT_BF16_HPP
#define MORPHKV_KERNELS_AVX512_SCORE_PROMPT_BF16_HPP

#include <cstring>

#include "morphkv/kernels/avx512/score_prompt.hpp"

#ifdef MORPHKV_KERNELS_X86
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_BF16_FEATURES)
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace avx512_bf16 {

/// Products of queries and keys; avx512::FloatDots says what each member does. head_dim is even.
struct BrainDots {
  alignas(64) Eigen::bfloat16 queries[avx512::prompt_dims * avx512::lanes];  ///< [pair][query][2]
  const Eigen::bfloat16* keys[avx512::key_tile] = {};

  static bool fits(const ScorePrompt<Eigen::bfloat16>& a) noexcept {
    return a.head_dim % 2 == 0 && avx512::FloatDots::fits(a);
  }

  void pack(const ScorePrompt<Eigen::bfloat16>& a, std::size_t row, std::size_t count) noexcept {
    std::fill_n(queries, a.group * a.head_dim * avx512::lanes, Eigen::bfloat16(0.0F));
    for (std::size_t r = 0; r < count; ++r) {
      const Eigen::bfloat16* query = a.queries + (row + r) * a.query_stride;
      for (std::size_t i = 0; i < a.group * a.head_dim; i += 2) {
        Eigen::bfloat16* to = queries + (i / 2 * avx512::lanes + r) * 2;
        to[0] = query[i];
        to[1] = query[i + 1];
      }
    }
  }

  void load_keys(const ScorePrompt<Eigen::bfloat16>& a, std::size_t token,
                 std::size_t count) noexcept {
    for (std::size_t k = 0; k < avx512::key_tile; ++k) {
      keys[k] = a.keys + (token + (std::min)(k, count - 1)) * a.stride;
    }
  }

  template <std::size_t Heads>
  void logits(const ScorePrompt<Eigen::bfloat16>& a, std::size_t head, float* out) const noexcept {
    constexpr std::size_t tile = avx512::key_tile;
    __m512 sums[Heads][tile];
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t k = 0; k < tile; ++k) sums[h][k] = _mm512_setzero_ps();
    }
    const Eigen::bfloat16* query = queries + head * a.head_dim * avx512::lanes;
    for (std::size_t d = 0; d < a.head_dim; d += 2) {
      __m512bh key[tile];
      MORPHKV_UNROLL for (std::size_t k = 0; k < tile; ++k) {
        std::int32_t pair = 0;
        std::memcpy(&pair, keys[k] + d, sizeof pair);
        key[k] = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      }
      MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
        const auto some = reinterpret_cast<__m512bh>(
            _mm512_load_si512(query + (h * a.head_dim + d) * avx512::lanes));
        MORPHKV_UNROLL for (std::size_t k = 0; k < tile; ++k) {
          sums[h][k] = _mm512_dpbf16_ps(sums[h][k], some, key[k]);
        }
      }
    }
    MORPHKV_UNROLL for (std::size_t h = 0; h < Heads; ++h) {
      MORPHKV_UNROLL for (std::size_t k = 0; k < tile; ++k) {
        _mm512_store_ps(out + (h * tile + k) * avx512::lanes, sums[h][k]);
      }
    }
  }
};

/// See kernels::score_prompt.
[[nodiscard]] inline bool score_prompt(const ScorePrompt<Eigen::bfloat16>& a) noexcept {
  if (!BrainDots::fits(a)) return avx512::score_prompt(a);
  BrainDots dots;
  return avx512::score_prompt_with(dots, a);
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::avx512_bf16
MORPHKV_TARGET_END
#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_AVX512_SCORE_PROMPT_BF16_HPP
