// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of queries over a bfloat16 cache with the CPU's bfloat16 dot products. A
/// word is a pair of numbers: two dimensions of a query and a key, or two tokens' weights and
/// values. Weights are rounded to bfloat16 before they meet the values (2^-9), but not in their
/// sum.
#ifndef MORPHKV_KERNELS_VECTOR_BLOCK_ATTENTION_BF16_HPP
#define MORPHKV_KERNELS_VECTOR_BLOCK_ATTENTION_BF16_HPP

#include <bit>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/isa/avx512.hpp"

#if defined(MORPHKV_KERNELS_X86) && !defined(MORPHKV_KERNELS_ELSEWHERE)
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_BF16_FEATURES)
#define MORPHKV_ISA avx512_bf16::loops
#include "morphkv/kernels/vector/block_attention.hpp"
#undef MORPHKV_ISA

namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::avx512_bf16 {

using avx512::block_attention;

/// Products of pairs of bfloat16; FloatWords says what each member does. head_dim is even.
struct Bf16Words {
  static constexpr std::size_t numbers = 2;

  MORPHKV_VECTOR_WORD static Floats multiply_add(Floats a, Floats b, Floats sum) noexcept {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static void pack_query(const float* query, std::size_t head_dim, float* lane) noexcept {
    for (std::size_t d = 0; d < head_dim; d += 2) {
      const Eigen::bfloat16 pair[] = {static_cast<Eigen::bfloat16>(query[d]),
                                      static_cast<Eigen::bfloat16>(query[d + 1])};
      std::memcpy(lane + d / 2 * lanes, pair, sizeof pair);
    }
  }
  static void pack_key(const Eigen::bfloat16* key, std::size_t head_dim, float* words) noexcept {
    std::memcpy(words, key, head_dim * sizeof *key);
  }
  static void pack_values(const Eigen::bfloat16* values, std::size_t stride, std::size_t count,
                          std::size_t head_dim, float* words) noexcept {
    for (std::size_t t = 0; t < count; t += 2, words += head_dim) {
      const Eigen::bfloat16* even = values + t * stride;
      const Eigen::bfloat16* odd = t + 1 < count ? even + stride : nullptr;
      std::size_t d = 0;
      for (; d + lanes <= head_dim; d += lanes) {
        const F16s high = odd == nullptr ? F16s{} : load_as<F16s>(odd + d);
        store(words + d, interleaved(load_as<F16s>(even + d), high));
      }
      for (; d < head_dim; ++d) {
        const Eigen::bfloat16 pair[] = {even[d], odd == nullptr ? Eigen::bfloat16(0.0F) : odd[d]};
        std::memcpy(words + d, pair, sizeof pair);
      }
    }
  }
  static void pack_weights(const float* weights, std::size_t count, float* words) noexcept {
    for (std::size_t k = 0; k < count; k += 2) {
      const Floats odd = k + 1 < count ? load(weights + (k + 1) * lanes) : Floats{};
      store(words + k / 2 * lanes, interleaved(rounded(load(weights + k * lanes)), rounded(odd)));
    }
  }

 private:
  MORPHKV_VECTOR_WORD static F16s rounded(Floats a) noexcept {
    return reinterpret_cast<F16s>(_mm512_cvtneps_pbh(a));
  }
  /// Pairs of a number of the first and one of the second.
  MORPHKV_VECTOR_WORD static U32s interleaved(F16s even, F16s odd) noexcept {
    return widen(even) | widen(odd) << 16;
  }
};

/// Whether bfloat16 holds the numbers as they are.
[[nodiscard]] inline bool are_bf16(const float* numbers, std::size_t count) noexcept {
  std::uint32_t lost = 0;
  for (std::size_t i = 0; i < count; ++i) {
    lost |= std::bit_cast<std::uint32_t>(numbers[i]) & 0xffffU;
  }
  return lost == 0;
}

/// See kernels::block_attention. Queries that bfloat16 does not hold are multiplied in float.
[[nodiscard]] inline bool block_attention(const BlockAttention<Eigen::bfloat16>& a) noexcept {
  if (a.head_dim % 2 != 0 || !are_bf16(a.queries, a.rows * a.group * a.head_dim)) {
    return loops::attend_block<loops::FloatWords>(a);
  }
  return loops::attend_block<Bf16Words>(a);
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::avx512_bf16
MORPHKV_TARGET_END
#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_VECTOR_BLOCK_ATTENTION_BF16_HPP
