// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vector vocabulary of AVX-512: sixteen floats.
#ifndef MORPHKV_KERNELS_AVX512_VECTOR_HPP
#define MORPHKV_KERNELS_AVX512_VECTOR_HPP

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/dispatch.hpp"

#ifdef MORPHKV_KERNELS_X86
#include <immintrin.h>

MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace avx512 {

using Floats = __m512;
using Units = __m512i;  ///< lanes of std::uint32_t
using Lanes = __mmask16;

inline constexpr std::size_t lanes = 16;
inline constexpr std::size_t registers = 32;  ///< that hold a vector each
/// Query heads that one pass of the attention kernels serves: what the registers hold.
inline constexpr std::size_t head_block = 4;
/// Keys of a prompt that meet them at once.
inline constexpr std::size_t key_tile = 4;

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
MORPHKV_VECTOR_WORD Lanes both(Lanes a, Lanes b) noexcept { return static_cast<Lanes>(a & b); }

// --- Bytes

inline constexpr std::size_t vector_bytes = 64;
MORPHKV_VECTOR_WORD void copy_bytes(void* to, const void* from) noexcept {
  _mm512_storeu_si512(to, _mm512_loadu_si512(from));
}
/// Past the caches; `to` is aligned to a vector.
MORPHKV_VECTOR_WORD void stream_bytes(void* to, const void* from) noexcept {
  _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
}
MORPHKV_VECTOR_WORD void end_of_stream() noexcept { _mm_sfence(); }

// --- Floats

/// Keeps the compiler from loading a number anew for every use of it.
MORPHKV_VECTOR_WORD Floats in_register(Floats a) noexcept { return a; }
MORPHKV_VECTOR_WORD Floats zero() noexcept { return _mm512_setzero_ps(); }
MORPHKV_VECTOR_WORD Floats all(float x) noexcept { return _mm512_set1_ps(x); }
MORPHKV_VECTOR_WORD Floats add(Floats a, Floats b) noexcept { return _mm512_add_ps(a, b); }
MORPHKV_VECTOR_WORD Floats sub(Floats a, Floats b) noexcept { return _mm512_sub_ps(a, b); }
MORPHKV_VECTOR_WORD Floats mul(Floats a, Floats b) noexcept { return _mm512_mul_ps(a, b); }
MORPHKV_VECTOR_WORD Floats divide(Floats a, Floats b) noexcept { return _mm512_div_ps(a, b); }
/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept {
  return _mm512_fmadd_ps(a, b, c);
}
/// The second where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats greater(Floats a, Floats b) noexcept { return _mm512_max_ps(a, b); }
MORPHKV_VECTOR_WORD Floats lesser(Floats a, Floats b) noexcept { return _mm512_min_ps(a, b); }
MORPHKV_VECTOR_WORD Floats lesser_at(Lanes at, Floats a, Floats b) noexcept {
  return _mm512_mask_min_ps(a, at, a, b);
}
MORPHKV_VECTOR_WORD Lanes equal(Floats a, Floats b) noexcept {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
MORPHKV_VECTOR_WORD float sum(Floats a) noexcept { return _mm512_reduce_add_ps(a); }
MORPHKV_VECTOR_WORD float greatest(Floats a) noexcept { return _mm512_reduce_max_ps(a); }
MORPHKV_VECTOR_WORD float least(Floats a) noexcept { return _mm512_reduce_min_ps(a); }

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

MORPHKV_VECTOR_WORD Units all_units(std::uint32_t x) noexcept {
  return _mm512_set1_epi32(static_cast<int>(x));
}
MORPHKV_VECTOR_WORD Units all_of(std::uint32_t x) noexcept { return all_units(x); }
MORPHKV_VECTOR_WORD Floats all_of(float x) noexcept { return all(x); }
MORPHKV_VECTOR_WORD Units load(const std::uint32_t* p) noexcept { return _mm512_loadu_si512(p); }
MORPHKV_VECTOR_WORD void store(std::uint32_t* p, Units a) noexcept { _mm512_storeu_si512(p, a); }
MORPHKV_VECTOR_WORD Units add(Units a, Units b) noexcept { return _mm512_add_epi32(a, b); }
MORPHKV_VECTOR_WORD Units sub(Units a, Units b) noexcept { return _mm512_sub_epi32(a, b); }
MORPHKV_VECTOR_WORD Units lesser(Units a, Units b) noexcept { return _mm512_min_epu32(a, b); }
MORPHKV_VECTOR_WORD Units greater(Units a, Units b) noexcept { return _mm512_max_epu32(a, b); }
MORPHKV_VECTOR_WORD Units lesser_at(Lanes at, Units a, Units b) noexcept {
  return _mm512_mask_min_epu32(a, at, a, b);
}
MORPHKV_VECTOR_WORD Lanes equal(Units a, Units b) noexcept { return _mm512_cmpeq_epi32_mask(a, b); }
/// One more in each lane that is named.
MORPHKV_VECTOR_WORD Units one_more_at(Lanes at, Units counts) noexcept {
  return _mm512_mask_add_epi32(counts, at, counts, _mm512_set1_epi32(1));
}
MORPHKV_VECTOR_WORD std::uint32_t sum(Units a) noexcept {
  return static_cast<std::uint32_t>(_mm512_reduce_add_epi32(a));
}
MORPHKV_VECTOR_WORD std::uint32_t least(Units a) noexcept { return _mm512_reduce_min_epu32(a); }
MORPHKV_VECTOR_WORD std::uint32_t greatest(Units a) noexcept { return _mm512_reduce_max_epu32(a); }
MORPHKV_VECTOR_WORD Units pattern(Floats a) noexcept { return _mm512_castps_si512(a); }
MORPHKV_VECTOR_WORD Units either(Units a, Units b) noexcept { return _mm512_or_si512(a, b); }
MORPHKV_VECTOR_WORD Units exclusive_or(Units a, Units b) noexcept { return _mm512_xor_si512(a, b); }
/// All bits where the highest one is set.
MORPHKV_VECTOR_WORD Units sign_of(Units a) noexcept { return _mm512_srai_epi32(a, 31); }
/// 0, 1, 2, ...
MORPHKV_VECTOR_WORD Units ascending() noexcept {
  return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
MORPHKV_VECTOR_WORD Lanes at_most(Units a, Units b) noexcept {
  return _mm512_cmple_epu32_mask(a, b);
}
MORPHKV_VECTOR_WORD Lanes at_most(Floats a, Floats b) noexcept {
  return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
/// Where one of the two is NaN.
MORPHKV_VECTOR_WORD Lanes unordered(Floats a, Floats b) noexcept {
  return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
}
MORPHKV_VECTOR_WORD Floats from_pattern(Units a) noexcept { return _mm512_castsi512_ps(a); }
MORPHKV_VECTOR_WORD Lanes no_lanes() noexcept { return 0; }
MORPHKV_VECTOR_WORD Lanes one_of(Lanes a, Lanes b) noexcept { return static_cast<Lanes>(a | b); }
MORPHKV_VECTOR_WORD std::size_t number_of(Lanes some) noexcept {
  return static_cast<std::size_t>(_mm_popcnt_u32(some));
}
/// Stores the lanes named, without gaps, and then anything up to a whole vector. \return how many
MORPHKV_VECTOR_WORD std::size_t compress(std::uint32_t* p, Units a, Lanes at) noexcept {
  _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(at, a));
  return number_of(at);
}

// --- Patterns of binary16, as many as floats

struct Halves {
  __m256i of;
};
/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD Halves narrow(Floats a) noexcept {
  return {_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
MORPHKV_VECTOR_WORD Floats widen(Halves a) noexcept { return _mm512_cvtph_ps(a.of); }
MORPHKV_VECTOR_WORD Halves load_halves(const std::uint16_t* p) noexcept {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
MORPHKV_VECTOR_WORD void store_halves(std::uint16_t* p, Halves a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.of);
}
/// Finite non-negative numbers in units of 2^-24: exact.
MORPHKV_VECTOR_WORD Units half_units(Halves a) noexcept {
  return _mm512_cvtps_epi32(mul(widen(a), all(0x1p24F)));
}

/// The patterns of bfloat16, rounded to nearest, ties to even. Unlike the CPU's own conversion it
/// keeps denormals.
MORPHKV_VECTOR_WORD Halves to_brains(Floats a) noexcept {
  const Units bits = pattern(a);
  const Units odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), all_units(1));
  const Units rounded = add(add(bits, all_units(0x7fff)), odd);
  const Units nan = either(bits, all_units(0x00400000));
  const Units chosen = _mm512_mask_blend_epi32(unordered(a, a), rounded, nan);
  return {_mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16))};
}

// --- Patterns of binary16, twice as many: unsigned integers of 16 bits

struct Shorts {
  __m512i of;
};
using ShortLanes = __mmask32;
inline constexpr std::size_t short_lanes = 32;

MORPHKV_VECTOR_WORD ShortLanes clear_short_bits(const std::uint64_t* words,
                                                std::size_t index) noexcept {
  return static_cast<ShortLanes>(~(words[index / 64] >> (index % 64)));
}
MORPHKV_VECTOR_WORD bool any(ShortLanes some) noexcept { return some != 0; }
MORPHKV_VECTOR_WORD std::uint32_t bits(ShortLanes some) noexcept { return some; }
MORPHKV_VECTOR_WORD ShortLanes one_of(ShortLanes a, ShortLanes b) noexcept { return a | b; }
MORPHKV_VECTOR_WORD Shorts all_shorts(unsigned x) noexcept {
  return {_mm512_set1_epi16(static_cast<short>(x))};
}
MORPHKV_VECTOR_WORD Shorts load_shorts(const std::uint16_t* p) noexcept {
  return {_mm512_loadu_si512(p)};
}
MORPHKV_VECTOR_WORD void store_shorts(std::uint16_t* p, Shorts a) noexcept {
  _mm512_storeu_si512(p, a.of);
}
MORPHKV_VECTOR_WORD Shorts narrow(Floats low, Floats high) noexcept {
  return {_mm512_inserti64x4(_mm512_castsi256_si512(narrow(low).of), narrow(high).of, 1)};
}
MORPHKV_VECTOR_WORD Shorts greater(Shorts a, Shorts b) noexcept {
  return {_mm512_max_epu16(a.of, b.of)};
}
MORPHKV_VECTOR_WORD Shorts lesser_at(ShortLanes at, Shorts a, Shorts b) noexcept {
  return {_mm512_mask_min_epu16(a.of, at, a.of, b.of)};
}
MORPHKV_VECTOR_WORD ShortLanes equal(Shorts a, Shorts b) noexcept {
  return _mm512_cmpeq_epi16_mask(a.of, b.of);
}
MORPHKV_VECTOR_WORD std::uint16_t least_short(Shorts a) noexcept {
  const __m256i half =
      _mm256_min_epu16(_mm512_castsi512_si256(a.of), _mm512_extracti64x4_epi64(a.of, 1));
  const __m128i eight =
      _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  return static_cast<std::uint16_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(eight)));
}

// --- 64-bit integers below 2^63, half as many

struct Longs {
  __m512i of;
};
using LongLanes = __mmask8;
inline constexpr std::size_t long_lanes = 8;

MORPHKV_VECTOR_WORD LongLanes half_of(Lanes some, std::size_t half) noexcept {
  return static_cast<LongLanes>(some >> (half * long_lanes));
}
MORPHKV_VECTOR_WORD Longs all_longs(std::uint64_t x) noexcept {
  return {_mm512_set1_epi64(static_cast<long long>(x))};
}
MORPHKV_VECTOR_WORD Longs load_longs(const std::uint64_t* p) noexcept {
  return {_mm512_loadu_si512(p)};
}
MORPHKV_VECTOR_WORD void store_longs(std::uint64_t* p, Longs a) noexcept {
  _mm512_storeu_si512(p, a.of);
}
MORPHKV_VECTOR_WORD Longs add(Longs a, Longs b) noexcept { return {_mm512_add_epi64(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Longs lesser_at(LongLanes at, Longs a, Longs b) noexcept {
  return {_mm512_mask_min_epu64(a.of, at, a.of, b.of)};
}
MORPHKV_VECTOR_WORD std::uint64_t least_long(Longs a) noexcept {
  return _mm512_reduce_min_epu64(a.of);
}
/// `long_lanes` weights in units of 2^-40, rounded half up.
MORPHKV_VECTOR_WORD Longs fine_units(const float* p) noexcept {
  const __m512d weights = _mm512_cvtps_pd(_mm256_loadu_ps(p));
  return {
      _mm512_cvttpd_epi64(_mm512_fmadd_pd(weights, _mm512_set1_pd(0x1p40), _mm512_set1_pd(0.5)))};
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::avx512

#define MORPHKV_ISA avx512
#include "morphkv/kernels/vector/exponential.hpp"
#undef MORPHKV_ISA
MORPHKV_TARGET_END

#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_AVX512_VECTOR_HPP
