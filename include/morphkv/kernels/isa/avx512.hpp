// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vocabulary of vectors for AVX-512: sixteen floats, and lanes in mask registers.
#ifndef MORPHKV_KERNELS_ISA_AVX512_HPP
#define MORPHKV_KERNELS_ISA_AVX512_HPP

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "morphkv/core/scalar.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/tuning.hpp"

#if defined(MORPHKV_KERNELS_X86) && !defined(MORPHKV_KERNELS_ELSEWHERE)
#include <immintrin.h>

MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD::avx512 {

inline constexpr const Tuning& tuning = avx512_tuning;
inline constexpr std::size_t lanes = 16;
inline constexpr std::size_t u16_lanes = 32;

using Floats [[gnu::vector_size(64)]] = float;
using U32s [[gnu::vector_size(64)]] = std::uint32_t;
using I32s [[gnu::vector_size(64)]] = std::int32_t;
using U16s [[gnu::vector_size(64)]] = std::uint16_t;
using I16s [[gnu::vector_size(64)]] = std::int16_t;
using F16s [[gnu::vector_size(32)]] = long long;          ///< patterns, as many as floats
using HalfU64s [[gnu::vector_size(64)]] = std::uint64_t;  ///< half as many as floats
using HalfF64s [[gnu::vector_size(64)]] = double;
using Lanes = __mmask16;
using U16Lanes = __mmask32;
using HalfLanes = __mmask8;

template <class Vector>
MORPHKV_VECTOR_WORD __m512i as_int(Vector a) noexcept {
  return reinterpret_cast<__m512i>(a);
}

// --- Lanes

/// The lanes whose bits are clear in a mask of 64-bit words; `index` is a multiple of `lanes`.
MORPHKV_VECTOR_WORD Lanes clear_bits(const std::uint64_t* words, std::size_t index) noexcept {
  return static_cast<Lanes>(~(words[index / 64] >> (index % 64)));
}
MORPHKV_VECTOR_WORD U16Lanes clear_u16_bits(const std::uint64_t* words,
                                            std::size_t index) noexcept {
  return static_cast<U16Lanes>(~(words[index / 64] >> (index % 64)));
}
MORPHKV_VECTOR_WORD std::uint32_t bits(std::uint32_t some) noexcept { return some; }
MORPHKV_VECTOR_WORD HalfLanes low_half(Lanes some) noexcept { return static_cast<HalfLanes>(some); }
MORPHKV_VECTOR_WORD HalfLanes high_half(Lanes some) noexcept {
  return static_cast<HalfLanes>(some >> 8U);
}
/// Lanes from those of two halves.
MORPHKV_VECTOR_WORD Lanes join(HalfLanes low, HalfLanes high) noexcept {
  return static_cast<Lanes>(low | high << 8U);
}
MORPHKV_VECTOR_WORD Lanes equal(Floats a, Floats b) noexcept {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
MORPHKV_VECTOR_WORD Lanes equal(U32s a, U32s b) noexcept {
  return _mm512_cmpeq_epi32_mask(as_int(a), as_int(b));
}
MORPHKV_VECTOR_WORD U16Lanes equal(U16s a, U16s b) noexcept {
  return _mm512_cmpeq_epi16_mask(as_int(a), as_int(b));
}
MORPHKV_VECTOR_WORD HalfLanes equal(HalfU64s a, HalfU64s b) noexcept {
  return _mm512_cmpeq_epi64_mask(as_int(a), as_int(b));
}
MORPHKV_VECTOR_WORD HalfLanes equal(HalfF64s a, HalfF64s b) noexcept {
  return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ);
}
MORPHKV_VECTOR_WORD Floats masked_min(Lanes at, Floats a, Floats b) noexcept {
  return _mm512_mask_min_ps(a, at, a, b);
}
MORPHKV_VECTOR_WORD U32s masked_min(Lanes at, U32s a, U32s b) noexcept {
  return reinterpret_cast<U32s>(_mm512_mask_min_epu32(as_int(a), at, as_int(a), as_int(b)));
}
MORPHKV_VECTOR_WORD U16s masked_min(U16Lanes at, U16s a, U16s b) noexcept {
  return reinterpret_cast<U16s>(_mm512_mask_min_epu16(as_int(a), at, as_int(a), as_int(b)));
}
MORPHKV_VECTOR_WORD HalfU64s masked_min(HalfLanes at, HalfU64s a, HalfU64s b) noexcept {
  return reinterpret_cast<HalfU64s>(_mm512_mask_min_epu64(as_int(a), at, as_int(a), as_int(b)));
}
MORPHKV_VECTOR_WORD HalfF64s masked_min(HalfLanes at, HalfF64s a, HalfF64s b) noexcept {
  return _mm512_mask_min_pd(a, at, a, b);
}

// --- Floats

/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept {
  return _mm512_fmadd_ps(a, b, c);
}
/// The second where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats max(Floats a, Floats b) noexcept { return _mm512_max_ps(a, b); }
MORPHKV_VECTOR_WORD Floats min(Floats a, Floats b) noexcept { return _mm512_min_ps(a, b); }

/// out[0 ... 3] = scale * (the sums of a, b, c and d).
template <std::size_t Count>
MORPHKV_VECTOR_WORD void store_sums(Floats a, Floats b, Floats c, Floats d, float scale,
                                    float* out) noexcept {
  static_assert(Count == 4);
  const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b));
  const __m512d cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d) + _mm512_unpackhi_ps(c, d));
  const Floats abcd =
      _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)) + _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
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

// --- 16-bit unsigned integers

/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD F16s to_f16(Floats a) noexcept {
  return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
MORPHKV_VECTOR_WORD Floats to_f32(F16s a) noexcept { return _mm512_cvtph_ps(a); }
/// Bytes as 16-bit integers.
MORPHKV_VECTOR_WORD F16s load_signed_bytes(const void* p) noexcept {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
/// Twice as many.
MORPHKV_VECTOR_WORD U16s load_more_signed_bytes(const void* p) noexcept {
  const __m256i bytes = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return reinterpret_cast<U16s>(_mm512_cvtepi8_epi16(bytes));
}
MORPHKV_VECTOR_WORD U32s widen(F16s a) noexcept {
  return reinterpret_cast<U32s>(_mm512_cvtepu16_epi32(a));
}
MORPHKV_VECTOR_WORD F16s high_halves(U32s a) noexcept {
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(as_int(a), 16));
}

/// sums + the products of pairs of 16-bit integers, and of one pair that is in each lane.
MORPHKV_VECTOR_WORD I32s add_dots(I32s sums, I16s pairs, I16s pair) noexcept {
  return sums + reinterpret_cast<I32s>(_mm512_madd_epi16(as_int(pairs), as_int(pair)));
}

/// Sixteen bytes each of a and b as pairs of 16-bit integers.
MORPHKV_VECTOR_WORD void zip_bytes(const void* a, const void* b, I16s (&pairs)[1]) noexcept {
  const __m128i one = _mm_loadu_si128(static_cast<const __m128i*>(a));
  const __m128i other = _mm_loadu_si128(static_cast<const __m128i*>(b));
  const __m512i byte_of_lane =
      _mm512_set_epi32(0x0f0f0f0f, 0x0e0e0e0e, 0x0d0d0d0d, 0x0c0c0c0c, 0x0b0b0b0b, 0x0a0a0a0a,
                       0x09090909, 0x08080808, 0x07070707, 0x06060606, 0x05050505, 0x04040404,
                       0x03030303, 0x02020202, 0x01010101, 0);
  const __m512i first =
      _mm512_maskz_shuffle_epi8(0x1111111111111111, _mm512_broadcast_i32x4(one), byte_of_lane);
  pairs[0] = reinterpret_cast<I16s>(_mm512_mask_shuffle_epi8(
      first, 0x4444444444444444, _mm512_broadcast_i32x4(other), byte_of_lane));
}

/// Sixteen bytes at row(0), row(4), row(8) and row(12).
template <class Row>
MORPHKV_VECTOR_WORD U32s load_parts(const Row& row) noexcept {
  const auto part = [&](std::size_t t) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(row(t)));
  };
  __m512i parts = _mm512_zextsi128_si512(part(0));
  parts = _mm512_inserti32x4(parts, part(4), 1);
  parts = _mm512_inserti32x4(parts, part(8), 2);
  return reinterpret_cast<U32s>(_mm512_inserti32x4(parts, part(12), 3));
}

// --- The first `count` elements, and zeros

MORPHKV_VECTOR_WORD Lanes first(std::size_t count) noexcept {
  return static_cast<Lanes>(_bzhi_u32(0xffffU, static_cast<unsigned>(count)));
}
MORPHKV_VECTOR_WORD Floats load_first(const float* p, std::size_t count) noexcept {
  return _mm512_maskz_loadu_ps(first(count), p);
}
MORPHKV_VECTOR_WORD Floats load_first(const Eigen::half* p, std::size_t count) noexcept {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(count), p));
}
MORPHKV_VECTOR_WORD Floats load_first(const Eigen::bfloat16* p, std::size_t count) noexcept {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(count), p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
MORPHKV_VECTOR_WORD void store_first(float* p, Floats a, std::size_t count) noexcept {
  _mm512_mask_storeu_ps(p, first(count), a);
}

// --- 64-bit unsigned integers and doubles

MORPHKV_VECTOR_WORD HalfU64s low_u64(U32s a) noexcept {
  return reinterpret_cast<HalfU64s>(_mm512_cvtepu32_epi64(_mm512_castsi512_si256(as_int(a))));
}
MORPHKV_VECTOR_WORD HalfU64s high_u64(U32s a) noexcept {
  return reinterpret_cast<HalfU64s>(_mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(as_int(a), 1)));
}
MORPHKV_VECTOR_WORD HalfF64s low_f64(Floats a) noexcept {
  return _mm512_cvtps_pd(_mm512_castps512_ps256(a));
}
MORPHKV_VECTOR_WORD HalfF64s high_f64(Floats a) noexcept {
  return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}
MORPHKV_VECTOR_WORD HalfU64s to_u64(HalfF64s a) noexcept {
  return reinterpret_cast<HalfU64s>(_mm512_cvttpd_epi64(a));
}
MORPHKV_VECTOR_WORD HalfF64s to_f64(HalfU64s a) noexcept { return _mm512_cvtepu64_pd(as_int(a)); }

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::avx512

#define MORPHKV_ISA avx512
#include "morphkv/kernels/isa/vectors.hpp"
#undef MORPHKV_ISA
MORPHKV_TARGET_END

/// With dot products of 16-bit integers and of bfloat16: what is not in it is that of AVX-512.
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_BF16_FEATURES)
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::avx512_bf16 {
using namespace avx512;

MORPHKV_VECTOR_WORD I32s add_dots(I32s sums, I16s pairs, I16s pair) noexcept {
  return reinterpret_cast<I32s>(_mm512_dpwssd_epi32(as_int(sums), as_int(pairs), as_int(pair)));
}
}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::avx512_bf16
MORPHKV_TARGET_END

#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_ISA_AVX512_HPP
