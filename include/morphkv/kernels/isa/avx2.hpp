// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vocabulary of vectors for AVX2 with FMA and F16C: eight floats.
#ifndef MORPHKV_KERNELS_ISA_AVX2_HPP
#define MORPHKV_KERNELS_ISA_AVX2_HPP

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

MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD::avx2 {

inline constexpr const Tuning& tuning = avx2_tuning;
inline constexpr std::size_t lanes = 8;
inline constexpr std::size_t u16_lanes = 16;

using Floats [[gnu::vector_size(32)]] = float;
using U32s [[gnu::vector_size(32)]] = std::uint32_t;
using I32s [[gnu::vector_size(32)]] = std::int32_t;
using U16s [[gnu::vector_size(32)]] = std::uint16_t;
using I16s [[gnu::vector_size(32)]] = std::int16_t;
using F16s [[gnu::vector_size(16)]] = long long;          ///< patterns, as many as floats
using HalfU64s [[gnu::vector_size(32)]] = std::uint64_t;  ///< half as many as floats
using HalfF64s [[gnu::vector_size(32)]] = double;
/// All bits of a lane, or none.
using Lanes [[gnu::vector_size(32)]] = std::int32_t;
using U16Lanes [[gnu::vector_size(32)]] = std::int16_t;
using HalfLanes [[gnu::vector_size(32)]] = std::int64_t;

template <class Vector>
MORPHKV_VECTOR_WORD __m256i as_int(Vector a) noexcept {
  return reinterpret_cast<__m256i>(a);
}

// --- Lanes

/// The lanes whose bits are clear in a mask of 64-bit words; `index` is a multiple of `lanes`.
MORPHKV_VECTOR_WORD Lanes clear_bits(const std::uint64_t* words, std::size_t index) noexcept {
  const U32s lane_bits = {1, 2, 4, 8, 16, 32, 64, 128};
  char byte = 0;  // the lowest bits of a word are in its first byte
  std::memcpy(&byte, reinterpret_cast<const char*>(words) + index / 8, sizeof byte);
  return (reinterpret_cast<U32s>(_mm256_set1_epi8(byte)) & lane_bits) == 0U;
}
MORPHKV_VECTOR_WORD U16Lanes clear_u16_bits(const std::uint64_t* words,
                                            std::size_t index) noexcept {
  const U16s lane_bits = {1,   2,   4,    8,    16,   32,   64,    128,
                          256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
  short sixteen = 0;
  std::memcpy(&sixteen, reinterpret_cast<const char*>(words) + index / 8, sizeof sixteen);
  return (reinterpret_cast<U16s>(_mm256_set1_epi16(sixteen)) & lane_bits) == 0;
}
/// One bit a lane.
MORPHKV_VECTOR_WORD std::uint32_t bits(Lanes some) noexcept {
  return static_cast<std::uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(some)));
}
MORPHKV_VECTOR_WORD std::uint32_t bits(U16Lanes some) noexcept {
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(as_int(some)),
                                        _mm256_extracti128_si256(as_int(some), 1));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(bytes));
}
MORPHKV_VECTOR_WORD bool any(U16Lanes some) noexcept {
  return _mm256_testz_si256(as_int(some), as_int(some)) == 0;
}
/// a where a lane is named, b elsewhere.
template <class Some, class Vector>
MORPHKV_VECTOR_WORD Vector select(Some at, Vector a, Vector b) noexcept {
  return reinterpret_cast<Vector>(_mm256_blendv_epi8(as_int(b), as_int(a), as_int(at)));
}
MORPHKV_VECTOR_WORD HalfLanes low_half(Lanes some) noexcept {
  return reinterpret_cast<HalfLanes>(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(as_int(some))));
}
MORPHKV_VECTOR_WORD HalfLanes high_half(Lanes some) noexcept {
  return reinterpret_cast<HalfLanes>(
      _mm256_cvtepi32_epi64(_mm256_extracti128_si256(as_int(some), 1)));
}
/// Lanes from those of two halves.
MORPHKV_VECTOR_WORD Lanes join(HalfLanes low, HalfLanes high) noexcept {
  const __m256 even =
      _mm256_shuffle_ps(reinterpret_cast<__m256>(low), reinterpret_cast<__m256>(high), 0x88);
  return reinterpret_cast<Lanes>(_mm256_permute4x64_epi64(as_int(even), 0xd8));
}

// --- Floats

/// Keeps the compiler from loading a number anew for every use of it.
MORPHKV_VECTOR_WORD Floats in_register(Floats a) noexcept {
  asm("" : "+x"(a));
  return a;
}
/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept {
  return _mm256_fmadd_ps(a, b, c);
}
/// The second where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats max(Floats a, Floats b) noexcept { return _mm256_max_ps(a, b); }
MORPHKV_VECTOR_WORD Floats min(Floats a, Floats b) noexcept { return _mm256_min_ps(a, b); }

/// In each half a0 + a1, a2 + a3, b0 + b1, b2 + b3: what hadd gives, with one step less on AMD.
MORPHKV_VECTOR_WORD Floats pair_sums(Floats a, Floats b) noexcept {
  return _mm256_shuffle_ps(a, b, 0x88) + _mm256_shuffle_ps(a, b, 0xdd);
}
/// out[0 ... Count - 1] = scale * (the sums of a, b, c and d), the first ones of these four.
template <std::size_t Count>
MORPHKV_VECTOR_WORD void store_sums(Floats a, Floats b, Floats c, Floats d, float scale,
                                    float* out) noexcept {
  static_assert(Count == 3 || Count == 4);
  const Floats abcd = pair_sums(pair_sums(a, b), pair_sums(c, d));
  const __m128 sums = _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
  const __m128 scaled = _mm_mul_ps(sums, _mm_set1_ps(scale));
  if constexpr (Count == 4) {
    _mm_storeu_ps(out, scaled);
  } else {
    _mm_storel_pi(reinterpret_cast<__m64*>(out), scaled);
    _mm_store_ss(out + 2, _mm_movehl_ps(scaled, scaled));
  }
}
/// out[i * stride ... + 3] = lane i of a, b, c and d.
MORPHKV_VECTOR_WORD void store_transposed(Floats a, Floats b, Floats c, Floats d, float* out,
                                          std::size_t stride) noexcept {
  const Floats ab[] = {_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)};
  const Floats cd[] = {_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d)};
  MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i, out += stride) {
    const Floats abcd = i % 2 == 0 ? _mm256_shuffle_ps(ab[i / 2], cd[i / 2], 0x44)
                                   : _mm256_shuffle_ps(ab[i / 2], cd[i / 2], 0xee);
    _mm_storeu_ps(out, _mm256_castps256_ps128(abcd));
    _mm_storeu_ps(out + 4 * stride, _mm256_extractf128_ps(abcd, 1));
  }
}

// --- 32-bit unsigned integers

template <class Op>
MORPHKV_VECTOR_WORD std::uint32_t reduce(U32s a, const Op& op) noexcept {
  __m128i four = op(_mm256_castsi256_si128(as_int(a)), _mm256_extracti128_si256(as_int(a), 1));
  four = op(four, _mm_shuffle_epi32(four, 0x4e));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(op(four, _mm_shuffle_epi32(four, 0xb1))));
}
MORPHKV_VECTOR_WORD std::uint32_t reduce_min(U32s a) noexcept {
  return reduce(a, [](__m128i x, __m128i y) noexcept { return _mm_min_epu32(x, y); });
}
MORPHKV_VECTOR_WORD std::uint32_t reduce_max(U32s a) noexcept {
  return reduce(a, [](__m128i x, __m128i y) noexcept { return _mm_max_epu32(x, y); });
}

// --- 16-bit unsigned integers

/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD F16s to_f16(Floats a) noexcept {
  return _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
MORPHKV_VECTOR_WORD Floats to_f32(F16s a) noexcept { return _mm256_cvtph_ps(a); }
/// Bytes as 16-bit integers.
MORPHKV_VECTOR_WORD F16s load_signed_bytes(const void* p) noexcept {
  return _mm_cvtepi8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
}
/// Twice as many.
MORPHKV_VECTOR_WORD U16s load_more_signed_bytes(const void* p) noexcept {
  const __m128i bytes = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return reinterpret_cast<U16s>(_mm256_cvtepi8_epi16(bytes));
}
MORPHKV_VECTOR_WORD U32s widen(F16s a) noexcept {
  return reinterpret_cast<U32s>(_mm256_cvtepu16_epi32(a));
}
MORPHKV_VECTOR_WORD F16s high_halves(U32s a) noexcept {
  const __m256i high = _mm256_srli_epi32(as_int(a), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

/// sums + the products of pairs of 16-bit integers, and of one pair that is in each lane.
MORPHKV_VECTOR_WORD I32s add_dots(I32s sums, I16s pairs, I16s pair) noexcept {
  return sums + reinterpret_cast<I32s>(_mm256_madd_epi16(as_int(pairs), as_int(pair)));
}

/// Sixteen bytes each of a and b as pairs of 16-bit integers.
MORPHKV_VECTOR_WORD void zip_bytes(const void* a, const void* b, I16s (&pairs)[2]) noexcept {
  const __m128i first = _mm_loadu_si128(static_cast<const __m128i*>(a));
  const __m128i second = _mm_loadu_si128(static_cast<const __m128i*>(b));
  pairs[0] = reinterpret_cast<I16s>(_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second)));
  pairs[1] = reinterpret_cast<I16s>(_mm256_cvtepu8_epi16(_mm_unpackhi_epi8(first, second)));
}

/// Sixteen bytes at row(0) and row(4).
template <class Row>
MORPHKV_VECTOR_WORD U32s load_parts(const Row& row) noexcept {
  const auto part = [&](std::size_t t) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(row(t)));
  };
  return reinterpret_cast<U32s>(_mm256_set_m128i(part(4), part(0)));
}

// --- 64-bit unsigned integers and doubles

MORPHKV_VECTOR_WORD HalfU64s low_u64(U32s a) noexcept {
  return reinterpret_cast<HalfU64s>(_mm256_cvtepu32_epi64(_mm256_castsi256_si128(as_int(a))));
}
MORPHKV_VECTOR_WORD HalfU64s high_u64(U32s a) noexcept {
  return reinterpret_cast<HalfU64s>(_mm256_cvtepu32_epi64(_mm256_extracti128_si256(as_int(a), 1)));
}
MORPHKV_VECTOR_WORD HalfF64s low_f64(Floats a) noexcept {
  return _mm256_cvtps_pd(_mm256_castps256_ps128(a));
}
MORPHKV_VECTOR_WORD HalfF64s high_f64(Floats a) noexcept {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}
/// Non-negative numbers below 2^52, rounded down. Added to 2^52, a whole number below it lies in
/// the lowest bits.
MORPHKV_VECTOR_WORD HalfU64s to_u64(HalfF64s a) noexcept {
  const HalfF64s magic = 0x1p52 - HalfF64s{};
  return reinterpret_cast<HalfU64s>(_mm256_floor_pd(a) + magic) ^ reinterpret_cast<HalfU64s>(magic);
}
/// The upper and the lower 32 bits become mantissas of 2^84 and 2^52, whose sum rounds once.
MORPHKV_VECTOR_WORD HalfF64s to_f64(HalfU64s a) noexcept {
  const HalfU64s high = (a >> 32) | std::bit_cast<std::uint64_t>(0x1p84);
  const __m256i low = _mm256_blend_epi32(as_int(a), as_int(0x1p52 - HalfF64s{}), 0xaa);
  return (reinterpret_cast<HalfF64s>(high) - (0x1p84 + 0x1p52)) + reinterpret_cast<HalfF64s>(low);
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::avx2

#define MORPHKV_ISA avx2
#include "morphkv/kernels/isa/vectors.hpp"
#undef MORPHKV_ISA
MORPHKV_TARGET_END

#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_ISA_AVX2_HPP
