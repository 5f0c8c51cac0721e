// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vocabulary of vectors for AVX-512: sixteen floats.
#ifndef MORPHKV_KERNELS_ISA_AVX512_HPP
#define MORPHKV_KERNELS_ISA_AVX512_HPP

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/tuning.hpp"

#ifdef MORPHKV_KERNELS_X86
#include <immintrin.h>

MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::avx512 {

using Floats = __m512;
using U32s = __m512i;  ///< lanes of std::uint32_t
using Lanes = __mmask16;

inline constexpr const Tuning& tuning = avx512_tuning;
inline constexpr std::size_t lanes = 16;

/// The first `count` lanes.
MORPHKV_VECTOR_WORD Lanes first(std::size_t count) noexcept {
  return static_cast<Lanes>(_bzhi_u32(0xffffU, static_cast<unsigned>(count)));
}
/// The lanes whose bits are clear in a mask of 64-bit words; `index` is a multiple of `lanes`.
MORPHKV_VECTOR_WORD Lanes clear_bits(const std::uint64_t* words, std::size_t index) noexcept {
  return static_cast<Lanes>(~(words[index / 64] >> (index % 64)));
}
MORPHKV_VECTOR_WORD bool any(Lanes some) noexcept { return some != 0; }
MORPHKV_VECTOR_WORD unsigned bits(Lanes some) noexcept { return some; }
MORPHKV_VECTOR_WORD Lanes bit_and(Lanes a, Lanes b) noexcept { return static_cast<Lanes>(a & b); }

// --- Floats

/// Keeps the compiler from loading a number anew for every use of it.
MORPHKV_VECTOR_WORD Floats in_register(Floats a) noexcept { return a; }
MORPHKV_VECTOR_WORD Floats zero() noexcept { return _mm512_setzero_ps(); }
MORPHKV_VECTOR_WORD Floats broadcast(float x) noexcept { return _mm512_set1_ps(x); }
MORPHKV_VECTOR_WORD Floats add(Floats a, Floats b) noexcept { return _mm512_add_ps(a, b); }
MORPHKV_VECTOR_WORD Floats sub(Floats a, Floats b) noexcept { return _mm512_sub_ps(a, b); }
MORPHKV_VECTOR_WORD Floats mul(Floats a, Floats b) noexcept { return _mm512_mul_ps(a, b); }
MORPHKV_VECTOR_WORD Floats divide(Floats a, Floats b) noexcept { return _mm512_div_ps(a, b); }
/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept {
  return _mm512_fmadd_ps(a, b, c);
}
/// The second where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats max(Floats a, Floats b) noexcept { return _mm512_max_ps(a, b); }
MORPHKV_VECTOR_WORD Floats min(Floats a, Floats b) noexcept { return _mm512_min_ps(a, b); }
MORPHKV_VECTOR_WORD Floats masked_min(Lanes at, Floats a, Floats b) noexcept {
  return _mm512_mask_min_ps(a, at, a, b);
}
MORPHKV_VECTOR_WORD Lanes equal(Floats a, Floats b) noexcept {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
MORPHKV_VECTOR_WORD float reduce_add(Floats a) noexcept { return _mm512_reduce_add_ps(a); }
MORPHKV_VECTOR_WORD float reduce_max(Floats a) noexcept { return _mm512_reduce_max_ps(a); }
MORPHKV_VECTOR_WORD float reduce_min(Floats a) noexcept { return _mm512_reduce_min_ps(a); }

/// out[0 ... 3] = scale * (the sums of a, b, c and d).
template <std::size_t Count>
MORPHKV_VECTOR_WORD void store_sums(Floats a, Floats b, Floats c, Floats d, float scale,
                                    float* out) noexcept {
  static_assert(Count == 4);
  const Floats ab = add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const Floats cd = add(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d ab2 = _mm512_castps_pd(ab);
  const __m512d cd2 = _mm512_castps_pd(cd);
  const Floats abcd = add(_mm512_castpd_ps(_mm512_unpacklo_pd(ab2, cd2)),
                          _mm512_castpd_ps(_mm512_unpackhi_pd(ab2, cd2)));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
  const __m128 sums = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  _mm_storeu_ps(out, _mm_mul_ps(sums, _mm_set1_ps(scale)));
}

/// out[i * stride ... + 3] = lane i of a, b, c and d.
MORPHKV_VECTOR_WORD void store_transposed(Floats a, Floats b, Floats c, Floats d, float* out,
                                          std::size_t stride) noexcept {
  const Floats ab[] = {_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)};
  const Floats cd[] = {_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)};
  MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i, out += stride) {
    const Floats abcd = i % 2 == 0 ? _mm512_shuffle_ps(ab[i / 2], cd[i / 2], 0x44)
                                   : _mm512_shuffle_ps(ab[i / 2], cd[i / 2], 0xee);
    _mm_storeu_ps(out, _mm512_castps512_ps128(abcd));
    _mm_storeu_ps(out + 4 * stride, _mm512_extractf32x4_ps(abcd, 1));
    _mm_storeu_ps(out + 8 * stride, _mm512_extractf32x4_ps(abcd, 2));
    _mm_storeu_ps(out + 12 * stride, _mm512_extractf32x4_ps(abcd, 3));
  }
}

MORPHKV_VECTOR_WORD Floats load(const float* p) noexcept { return _mm512_loadu_ps(p); }
MORPHKV_VECTOR_WORD Floats load(const Eigen::half* p) noexcept {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
MORPHKV_VECTOR_WORD Floats load(const Eigen::bfloat16* p) noexcept {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
/// The first `count` elements, and zeros.
MORPHKV_VECTOR_WORD Floats load_first(const float* p, std::size_t count) noexcept {
  return _mm512_maskz_loadu_ps(first(count), p);
}
MORPHKV_VECTOR_WORD Floats load_first(const Eigen::half* p, std::size_t count) noexcept {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(count), p));
}
MORPHKV_VECTOR_WORD Floats load_first(const Eigen::bfloat16* p, std::size_t count) noexcept {
  const __m256i bits = _mm256_maskz_loadu_epi16(first(count), p);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
MORPHKV_VECTOR_WORD void store(float* p, Floats a) noexcept { _mm512_storeu_ps(p, a); }
MORPHKV_VECTOR_WORD void store_first(float* p, Floats a, std::size_t count) noexcept {
  _mm512_mask_storeu_ps(p, first(count), a);
}

/// The number whose exponent are the lowest bits of a pattern, those of its mantissa zero.
MORPHKV_VECTOR_WORD Floats exponent_of(Floats a) noexcept {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
}

// --- 32-bit unsigned integers

MORPHKV_VECTOR_WORD U32s broadcast(std::uint32_t x) noexcept {
  return _mm512_set1_epi32(static_cast<int>(x));
}
MORPHKV_VECTOR_WORD U32s load(const std::uint32_t* p) noexcept { return _mm512_loadu_si512(p); }
MORPHKV_VECTOR_WORD void store(std::uint32_t* p, U32s a) noexcept { _mm512_storeu_si512(p, a); }
MORPHKV_VECTOR_WORD U32s add(U32s a, U32s b) noexcept { return _mm512_add_epi32(a, b); }
/// The lower 32 bits.
MORPHKV_VECTOR_WORD U32s mul(U32s a, U32s b) noexcept { return _mm512_mullo_epi32(a, b); }
template <int Count>
MORPHKV_VECTOR_WORD U32s shift_right(U32s a) noexcept {
  return _mm512_srli_epi32(a, Count);
}
MORPHKV_VECTOR_WORD U32s sub(U32s a, U32s b) noexcept { return _mm512_sub_epi32(a, b); }
MORPHKV_VECTOR_WORD U32s min(U32s a, U32s b) noexcept { return _mm512_min_epu32(a, b); }
MORPHKV_VECTOR_WORD U32s max(U32s a, U32s b) noexcept { return _mm512_max_epu32(a, b); }
MORPHKV_VECTOR_WORD U32s masked_min(Lanes at, U32s a, U32s b) noexcept {
  return _mm512_mask_min_epu32(a, at, a, b);
}
MORPHKV_VECTOR_WORD Lanes equal(U32s a, U32s b) noexcept { return _mm512_cmpeq_epi32_mask(a, b); }
/// One more in each lane that is named.
MORPHKV_VECTOR_WORD U32s masked_increment(Lanes at, U32s counts) noexcept {
  return _mm512_mask_add_epi32(counts, at, counts, _mm512_set1_epi32(1));
}
MORPHKV_VECTOR_WORD std::uint32_t reduce_add(U32s a) noexcept {
  return static_cast<std::uint32_t>(_mm512_reduce_add_epi32(a));
}
MORPHKV_VECTOR_WORD std::uint32_t reduce_min(U32s a) noexcept { return _mm512_reduce_min_epu32(a); }
MORPHKV_VECTOR_WORD std::uint32_t reduce_max(U32s a) noexcept { return _mm512_reduce_max_epu32(a); }
MORPHKV_VECTOR_WORD U32s as_u32(Floats a) noexcept { return _mm512_castps_si512(a); }
MORPHKV_VECTOR_WORD U32s bit_or(U32s a, U32s b) noexcept { return _mm512_or_si512(a, b); }
MORPHKV_VECTOR_WORD U32s bit_xor(U32s a, U32s b) noexcept { return _mm512_xor_si512(a, b); }
/// All bits where the highest one is set.
MORPHKV_VECTOR_WORD U32s sign_mask(U32s a) noexcept { return _mm512_srai_epi32(a, 31); }
/// 0, 1, 2, ...
MORPHKV_VECTOR_WORD U32s iota() noexcept {
  return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
MORPHKV_VECTOR_WORD Lanes less_equal(U32s a, U32s b) noexcept {
  return _mm512_cmple_epu32_mask(a, b);
}
MORPHKV_VECTOR_WORD Lanes less_equal(Floats a, Floats b) noexcept {
  return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
/// Where one of the two is NaN.
MORPHKV_VECTOR_WORD Lanes unordered(Floats a, Floats b) noexcept {
  return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
}
MORPHKV_VECTOR_WORD Floats as_f32(U32s a) noexcept { return _mm512_castsi512_ps(a); }
MORPHKV_VECTOR_WORD Lanes no_lanes() noexcept { return 0; }
MORPHKV_VECTOR_WORD Lanes bit_or(Lanes a, Lanes b) noexcept { return static_cast<Lanes>(a | b); }
MORPHKV_VECTOR_WORD std::size_t popcount(Lanes some) noexcept {
  return static_cast<std::size_t>(_mm_popcnt_u32(some));
}
/// Stores the lanes named, without gaps, and then anything up to a whole vector. \return how many
MORPHKV_VECTOR_WORD std::size_t compress(std::uint32_t* p, U32s a, Lanes at) noexcept {
  _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(at, a));
  return popcount(at);
}

// --- Patterns of binary16, as many as floats

struct F16s {
  __m256i of;
};
/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD F16s to_f16(Floats a) noexcept {
  return {_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
MORPHKV_VECTOR_WORD Floats to_f32(F16s a) noexcept { return _mm512_cvtph_ps(a.of); }
MORPHKV_VECTOR_WORD F16s load_f16(const std::uint16_t* p) noexcept {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
MORPHKV_VECTOR_WORD void store_f16(std::uint16_t* p, F16s a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.of);
}
/// Finite non-negative numbers in units of 2^-24: exact.
MORPHKV_VECTOR_WORD U32s half_units(F16s a) noexcept {
  return _mm512_cvtps_epi32(mul(to_f32(a), broadcast(0x1p24F)));
}

/// The patterns of bfloat16, rounded to nearest, ties to even. Unlike the CPU's own conversion it
/// keeps denormals.
MORPHKV_VECTOR_WORD F16s to_bf16(Floats a) noexcept {
  const U32s bits = as_u32(a);
  const U32s odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), broadcast(1U));
  const U32s rounded = add(add(bits, broadcast(0x7fffU)), odd);
  const U32s nan = bit_or(bits, broadcast(0x00400000U));
  const U32s chosen = _mm512_mask_blend_epi32(unordered(a, a), rounded, nan);
  return {_mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16))};
}

MORPHKV_VECTOR_WORD void store(Eigen::half* p, Floats a) noexcept {
  store_f16(reinterpret_cast<std::uint16_t*>(p), to_f16(a));
}
MORPHKV_VECTOR_WORD void store(Eigen::bfloat16* p, Floats a) noexcept {
  store_f16(reinterpret_cast<std::uint16_t*>(p), to_bf16(a));
}

// --- 16-bit unsigned integers, twice as many

struct U16s {
  __m512i of;
};
using U16Lanes = __mmask32;
inline constexpr std::size_t u16_lanes = 32;

MORPHKV_VECTOR_WORD U16Lanes clear_u16_bits(const std::uint64_t* words,
                                            std::size_t index) noexcept {
  return static_cast<U16Lanes>(~(words[index / 64] >> (index % 64)));
}
MORPHKV_VECTOR_WORD bool any(U16Lanes some) noexcept { return some != 0; }
MORPHKV_VECTOR_WORD std::uint32_t bits(U16Lanes some) noexcept { return some; }
MORPHKV_VECTOR_WORD U16Lanes bit_or(U16Lanes a, U16Lanes b) noexcept { return a | b; }
MORPHKV_VECTOR_WORD U16s broadcast(std::uint16_t x) noexcept {
  return {_mm512_set1_epi16(static_cast<short>(x))};
}
MORPHKV_VECTOR_WORD U16s load(const std::uint16_t* p) noexcept { return {_mm512_loadu_si512(p)}; }
MORPHKV_VECTOR_WORD void store(std::uint16_t* p, U16s a) noexcept { _mm512_storeu_si512(p, a.of); }
/// Weights rounded to binary16.
MORPHKV_VECTOR_WORD U16s load_rounded(const float* p) noexcept {
  const F16s low = to_f16(load(p));
  const F16s high = to_f16(load(p + lanes));
  return {_mm512_inserti64x4(_mm512_castsi256_si512(low.of), high.of, 1)};
}
MORPHKV_VECTOR_WORD U16s max(U16s a, U16s b) noexcept { return {_mm512_max_epu16(a.of, b.of)}; }
MORPHKV_VECTOR_WORD U16s masked_min(U16Lanes at, U16s a, U16s b) noexcept {
  return {_mm512_mask_min_epu16(a.of, at, a.of, b.of)};
}
MORPHKV_VECTOR_WORD U16Lanes equal(U16s a, U16s b) noexcept {
  return _mm512_cmpeq_epi16_mask(a.of, b.of);
}
MORPHKV_VECTOR_WORD std::uint16_t reduce_min(U16s a) noexcept {
  const __m256i half =
      _mm256_min_epu16(_mm512_castsi512_si256(a.of), _mm512_extracti64x4_epi64(a.of, 1));
  const __m128i eight =
      _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  return static_cast<std::uint16_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(eight)));
}

// --- 64-bit unsigned integers and doubles, as many as floats: in two registers

struct U64s {
  __m512i low, high;
};
struct F64s {
  __m512d low, high;
};
MORPHKV_VECTOR_WORD __mmask8 low_half(Lanes some) noexcept { return static_cast<__mmask8>(some); }
MORPHKV_VECTOR_WORD __mmask8 high_half(Lanes some) noexcept {
  return static_cast<__mmask8>(some >> 8U);
}
/// Lanes from those of two halves.
MORPHKV_VECTOR_WORD Lanes join(__mmask8 low, __mmask8 high) noexcept {
  return static_cast<Lanes>(low | high << 8U);
}
MORPHKV_VECTOR_WORD U64s broadcast(std::uint64_t x) noexcept {
  const __m512i each = _mm512_set1_epi64(static_cast<long long>(x));
  return {each, each};
}
MORPHKV_VECTOR_WORD U64s load(const std::uint64_t* p) noexcept {
  return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + lanes / 2)};
}
MORPHKV_VECTOR_WORD void store(std::uint64_t* p, U64s a) noexcept {
  _mm512_storeu_si512(p, a.low);
  _mm512_storeu_si512(p + lanes / 2, a.high);
}
MORPHKV_VECTOR_WORD U64s add(U64s a, U64s b) noexcept {
  return {_mm512_add_epi64(a.low, b.low), _mm512_add_epi64(a.high, b.high)};
}
MORPHKV_VECTOR_WORD Lanes equal(U64s a, U64s b) noexcept {
  return join(_mm512_cmpeq_epi64_mask(a.low, b.low), _mm512_cmpeq_epi64_mask(a.high, b.high));
}
MORPHKV_VECTOR_WORD U64s min(U64s a, U64s b) noexcept {
  return {_mm512_min_epu64(a.low, b.low), _mm512_min_epu64(a.high, b.high)};
}
MORPHKV_VECTOR_WORD U64s masked_min(Lanes at, U64s a, U64s b) noexcept {
  return {_mm512_mask_min_epu64(a.low, low_half(at), a.low, b.low),
          _mm512_mask_min_epu64(a.high, high_half(at), a.high, b.high)};
}
MORPHKV_VECTOR_WORD std::uint64_t reduce_min(U64s a) noexcept {
  return _mm512_reduce_min_epu64(_mm512_min_epu64(a.low, a.high));
}
/// Weights in units of 2^-40, rounded half up.
MORPHKV_VECTOR_WORD __m512i fine_units(__m256 weights) noexcept {
  return _mm512_cvttpd_epi64(
      _mm512_fmadd_pd(_mm512_cvtps_pd(weights), _mm512_set1_pd(0x1p40), _mm512_set1_pd(0.5)));
}
MORPHKV_VECTOR_WORD U64s fine_units(Floats a) noexcept {
  return {fine_units(_mm512_castps512_ps256(a)), fine_units(_mm512_extractf32x8_ps(a, 1))};
}
MORPHKV_VECTOR_WORD F64s broadcast(double x) noexcept {
  return {_mm512_set1_pd(x), _mm512_set1_pd(x)};
}
/// The nearest doubles.
MORPHKV_VECTOR_WORD F64s to_f64(U64s a) noexcept {
  return {_mm512_cvtepu64_pd(a.low), _mm512_cvtepu64_pd(a.high)};
}
MORPHKV_VECTOR_WORD F64s to_f64(U32s a) noexcept {
  return {_mm512_cvtepu32_pd(_mm512_castsi512_si256(a)),
          _mm512_cvtepu32_pd(_mm512_extracti64x4_epi64(a, 1))};
}
MORPHKV_VECTOR_WORD F64s divide(F64s a, F64s b) noexcept {
  return {_mm512_div_pd(a.low, b.low), _mm512_div_pd(a.high, b.high)};
}
MORPHKV_VECTOR_WORD Lanes equal(F64s a, F64s b) noexcept {
  return join(_mm512_cmp_pd_mask(a.low, b.low, _CMP_EQ_OQ),
              _mm512_cmp_pd_mask(a.high, b.high, _CMP_EQ_OQ));
}
MORPHKV_VECTOR_WORD F64s masked_min(Lanes at, F64s a, F64s b) noexcept {
  return {_mm512_mask_min_pd(a.low, low_half(at), a.low, b.low),
          _mm512_mask_min_pd(a.high, high_half(at), a.high, b.high)};
}
MORPHKV_VECTOR_WORD double reduce_min(F64s a) noexcept {
  return _mm512_reduce_min_pd(_mm512_min_pd(a.low, a.high));
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::avx512

#define MORPHKV_ISA avx512
#include "morphkv/kernels/isa/exponential.hpp"
#undef MORPHKV_ISA
MORPHKV_TARGET_END

#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_ISA_AVX512_HPP
