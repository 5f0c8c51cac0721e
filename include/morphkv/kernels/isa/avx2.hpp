// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vocabulary of vectors for AVX2 with FMA and F16C: eight floats.
#ifndef MORPHKV_KERNELS_ISA_AVX2_HPP
#define MORPHKV_KERNELS_ISA_AVX2_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/tuning.hpp"

#ifdef MORPHKV_KERNELS_X86
#include <immintrin.h>

MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::avx2 {

using Floats = __m256;
/// Unsigned 32-bit integers.
struct U32s {
  __m256i of;
};
/// All bits of a lane, or none.
struct Lanes {
  __m256i of;
};

inline constexpr const Tuning& tuning = avx2_tuning;
inline constexpr std::size_t lanes = 8;

/// The lanes whose bits are clear in a mask of 64-bit words; `index` is a multiple of `lanes`.
MORPHKV_VECTOR_WORD Lanes clear_bits(const std::uint64_t* words, std::size_t index) noexcept {
  const __m256i lane_bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  char byte = 0;  // the lowest bits of a word are in its first byte
  std::memcpy(&byte, reinterpret_cast<const char*>(words) + index / 8, sizeof byte);
  return {_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi8(byte), lane_bits),
                             _mm256_setzero_si256())};
}
MORPHKV_VECTOR_WORD std::uint32_t bits(Lanes some) noexcept {
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(some.of)));
}
MORPHKV_VECTOR_WORD bool any(Lanes some) noexcept { return bits(some) != 0; }
MORPHKV_VECTOR_WORD Lanes bit_and(Lanes a, Lanes b) noexcept {
  return {_mm256_and_si256(a.of, b.of)};
}
MORPHKV_VECTOR_WORD std::size_t popcount(Lanes some) noexcept {
  return static_cast<std::size_t>(_mm_popcnt_u32(bits(some)));
}

// --- Floats

/// Keeps the compiler from loading a number anew for every use of it.
MORPHKV_VECTOR_WORD Floats in_register(Floats a) noexcept {
  asm("" : "+x"(a));
  return a;
}
MORPHKV_VECTOR_WORD Floats zero() noexcept { return _mm256_setzero_ps(); }
MORPHKV_VECTOR_WORD Floats broadcast(float x) noexcept { return _mm256_set1_ps(x); }
MORPHKV_VECTOR_WORD Floats add(Floats a, Floats b) noexcept { return _mm256_add_ps(a, b); }
MORPHKV_VECTOR_WORD Floats sub(Floats a, Floats b) noexcept { return _mm256_sub_ps(a, b); }
MORPHKV_VECTOR_WORD Floats mul(Floats a, Floats b) noexcept { return _mm256_mul_ps(a, b); }
MORPHKV_VECTOR_WORD Floats divide(Floats a, Floats b) noexcept { return _mm256_div_ps(a, b); }
/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept {
  return _mm256_fmadd_ps(a, b, c);
}
/// The second where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats max(Floats a, Floats b) noexcept { return _mm256_max_ps(a, b); }
MORPHKV_VECTOR_WORD Floats min(Floats a, Floats b) noexcept { return _mm256_min_ps(a, b); }
MORPHKV_VECTOR_WORD Floats masked_min(Lanes at, Floats a, Floats b) noexcept {
  return _mm256_blendv_ps(a, _mm256_min_ps(a, b), _mm256_castsi256_ps(at.of));
}
MORPHKV_VECTOR_WORD Lanes equal(Floats a, Floats b) noexcept {
  return {_mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_EQ_OQ))};
}
MORPHKV_VECTOR_WORD float reduce_add(Floats a) noexcept {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
MORPHKV_VECTOR_WORD float reduce_max(Floats a) noexcept {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
MORPHKV_VECTOR_WORD float reduce_min(Floats a) noexcept {
  __m128 four = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  four = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(four, _mm_movehdup_ps(four)));
}

/// In each half a0 + a1, a2 + a3, b0 + b1, b2 + b3: what hadd gives, with one step less on AMD.
MORPHKV_VECTOR_WORD Floats pair_sums(Floats a, Floats b) noexcept {
  return add(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
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

MORPHKV_VECTOR_WORD Floats load(const float* p) noexcept { return _mm256_loadu_ps(p); }
MORPHKV_VECTOR_WORD Floats load(const Eigen::half* p) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
MORPHKV_VECTOR_WORD Floats load(const Eigen::bfloat16* p) noexcept {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
/// The first `count` elements, and zeros.
template <class T>
MORPHKV_VECTOR_WORD Floats load_first(const T* p, std::size_t count) noexcept {
  alignas(32) std::uint8_t elements[lanes * sizeof(T)] = {};
  std::memcpy(elements, p, count * sizeof(T));
  return load(reinterpret_cast<const T*>(elements));
}
MORPHKV_VECTOR_WORD void store(float* p, Floats a) noexcept { _mm256_storeu_ps(p, a); }
MORPHKV_VECTOR_WORD void store_first(float* p, Floats a, std::size_t count) noexcept {
  alignas(32) float elements[lanes];
  store(elements, a);
  std::memcpy(p, elements, count * sizeof(float));
}

/// The number whose exponent are the lowest bits of a pattern, those of its mantissa zero.
MORPHKV_VECTOR_WORD Floats exponent_of(Floats a) noexcept {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23));
}

// --- 32-bit unsigned integers

MORPHKV_VECTOR_WORD U32s broadcast(std::uint32_t x) noexcept {
  return {_mm256_set1_epi32(static_cast<int>(x))};
}
MORPHKV_VECTOR_WORD U32s load(const std::uint32_t* p) noexcept {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
MORPHKV_VECTOR_WORD void store(std::uint32_t* p, U32s a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.of);
}
MORPHKV_VECTOR_WORD U32s add(U32s a, U32s b) noexcept { return {_mm256_add_epi32(a.of, b.of)}; }
/// The lower 32 bits.
MORPHKV_VECTOR_WORD U32s mul(U32s a, U32s b) noexcept { return {_mm256_mullo_epi32(a.of, b.of)}; }
template <int Count>
MORPHKV_VECTOR_WORD U32s shift_right(U32s a) noexcept {
  return {_mm256_srli_epi32(a.of, Count)};
}
MORPHKV_VECTOR_WORD U32s sub(U32s a, U32s b) noexcept { return {_mm256_sub_epi32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD U32s min(U32s a, U32s b) noexcept { return {_mm256_min_epu32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD U32s max(U32s a, U32s b) noexcept { return {_mm256_max_epu32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD U32s masked_min(Lanes at, U32s a, U32s b) noexcept {
  return {_mm256_blendv_epi8(a.of, _mm256_min_epu32(a.of, b.of), at.of)};
}
MORPHKV_VECTOR_WORD Lanes equal(U32s a, U32s b) noexcept {
  return {_mm256_cmpeq_epi32(a.of, b.of)};
}
/// One more in each lane that is named.
MORPHKV_VECTOR_WORD U32s masked_increment(Lanes at, U32s counts) noexcept {
  return {_mm256_sub_epi32(counts.of, at.of)};
}
MORPHKV_VECTOR_WORD std::uint32_t reduce_add(U32s a) noexcept {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a.of), _mm256_extracti128_si256(a.of, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
}
MORPHKV_VECTOR_WORD std::uint32_t reduce_min(U32s a) noexcept {
  __m128i four = _mm_min_epu32(_mm256_castsi256_si128(a.of), _mm256_extracti128_si256(a.of, 1));
  four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
}
MORPHKV_VECTOR_WORD std::uint32_t reduce_max(U32s a) noexcept {
  __m128i four = _mm_max_epu32(_mm256_castsi256_si128(a.of), _mm256_extracti128_si256(a.of, 1));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
}
MORPHKV_VECTOR_WORD U32s as_u32(Floats a) noexcept { return {_mm256_castps_si256(a)}; }
MORPHKV_VECTOR_WORD U32s bit_or(U32s a, U32s b) noexcept { return {_mm256_or_si256(a.of, b.of)}; }
MORPHKV_VECTOR_WORD U32s bit_xor(U32s a, U32s b) noexcept { return {_mm256_xor_si256(a.of, b.of)}; }
/// All bits where the highest one is set.
MORPHKV_VECTOR_WORD U32s sign_mask(U32s a) noexcept { return {_mm256_srai_epi32(a.of, 31)}; }
/// 0, 1, 2, ...
MORPHKV_VECTOR_WORD U32s iota() noexcept { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
MORPHKV_VECTOR_WORD Lanes less_equal(U32s a, U32s b) noexcept {
  return {_mm256_cmpeq_epi32(_mm256_min_epu32(a.of, b.of), a.of)};
}
MORPHKV_VECTOR_WORD Lanes less_equal(Floats a, Floats b) noexcept {
  return {_mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LE_OQ))};
}
/// Where one of the two is NaN.
MORPHKV_VECTOR_WORD Lanes unordered(Floats a, Floats b) noexcept {
  return {_mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_UNORD_Q))};
}
MORPHKV_VECTOR_WORD Floats as_f32(U32s a) noexcept { return _mm256_castsi256_ps(a.of); }
MORPHKV_VECTOR_WORD Lanes no_lanes() noexcept { return {_mm256_setzero_si256()}; }
MORPHKV_VECTOR_WORD Lanes bit_or(Lanes a, Lanes b) noexcept {
  return {_mm256_or_si256(a.of, b.of)};
}

/// For every set of lanes, their numbers in order, a byte each.
struct CompressTable {
  std::uint64_t order[256] = {};
  constexpr CompressTable() noexcept {
    for (unsigned set = 0; set < 256; ++set) {
      unsigned at = 0;
      for (std::uint64_t lane = 0; lane < 8; ++lane) {
        if (((set >> lane) & 1U) != 0) order[set] |= lane << (8 * at++);
      }
    }
  }
};
inline constexpr CompressTable compress_table;

/// Stores the lanes named, without gaps, and then anything up to a whole vector. \return how many
MORPHKV_VECTOR_WORD std::size_t compress(std::uint32_t* p, U32s a, Lanes at) noexcept {
  const std::uint32_t set = bits(at);
  const __m256i order =
      _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(compress_table.order[set])));
  store(p, U32s{_mm256_permutevar8x32_epi32(a.of, order)});
  return static_cast<std::size_t>(_mm_popcnt_u32(set));
}

// --- Patterns of binary16, as many as floats

struct F16s {
  __m128i of;
};
/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD F16s to_f16(Floats a) noexcept {
  return {_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
MORPHKV_VECTOR_WORD Floats to_f32(F16s a) noexcept { return _mm256_cvtph_ps(a.of); }
MORPHKV_VECTOR_WORD F16s load_f16(const std::uint16_t* p) noexcept {
  return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
}
MORPHKV_VECTOR_WORD void store_f16(std::uint16_t* p, F16s a) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), a.of);
}
/// Finite non-negative numbers in units of 2^-24: exact.
MORPHKV_VECTOR_WORD U32s half_units(F16s a) noexcept {
  return {_mm256_cvtps_epi32(mul(to_f32(a), broadcast(0x1p24F)))};
}

/// The patterns of bfloat16, rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD F16s to_bf16(Floats a) noexcept {
  const U32s bits = as_u32(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits.of, 16), broadcast(1U).of);
  const U32s rounded = add(add(bits, broadcast(0x7fffU)), U32s{odd});
  const U32s nan = bit_or(bits, broadcast(0x00400000U));
  const __m256i chosen = _mm256_blendv_epi8(rounded.of, nan.of, unordered(a, a).of);
  const __m256i high = _mm256_srli_epi32(chosen, 16);
  return {_mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1))};
}

MORPHKV_VECTOR_WORD void store(Eigen::half* p, Floats a) noexcept {
  store_f16(reinterpret_cast<std::uint16_t*>(p), to_f16(a));
}
MORPHKV_VECTOR_WORD void store(Eigen::bfloat16* p, Floats a) noexcept {
  store_f16(reinterpret_cast<std::uint16_t*>(p), to_bf16(a));
}

// --- 16-bit unsigned integers, twice as many

struct U16s {
  __m256i of;
};
struct U16Lanes {
  __m256i of;
};
inline constexpr std::size_t u16_lanes = 16;

MORPHKV_VECTOR_WORD U16Lanes clear_u16_bits(const std::uint64_t* words,
                                            std::size_t index) noexcept {
  const __m256i lane_bits = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048,
                                              4096, 8192, 16384, -32768);
  short sixteen = 0;
  std::memcpy(&sixteen, reinterpret_cast<const char*>(words) + index / 8, sizeof sixteen);
  return {_mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(sixteen), lane_bits),
                             _mm256_setzero_si256())};
}
/// One bit a lane.
MORPHKV_VECTOR_WORD std::uint32_t bits(U16Lanes some) noexcept {
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(some.of), _mm256_extracti128_si256(some.of, 1));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(bytes));
}
MORPHKV_VECTOR_WORD bool any(U16Lanes some) noexcept {
  return _mm256_testz_si256(some.of, some.of) == 0;
}
MORPHKV_VECTOR_WORD U16Lanes bit_or(U16Lanes a, U16Lanes b) noexcept {
  return {_mm256_or_si256(a.of, b.of)};
}
MORPHKV_VECTOR_WORD U16s broadcast(std::uint16_t x) noexcept {
  return {_mm256_set1_epi16(static_cast<short>(x))};
}
MORPHKV_VECTOR_WORD U16s load(const std::uint16_t* p) noexcept {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
MORPHKV_VECTOR_WORD void store(std::uint16_t* p, U16s a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.of);
}
/// Weights rounded to binary16.
MORPHKV_VECTOR_WORD U16s load_rounded(const float* p) noexcept {
  const F16s low = to_f16(load(p));
  const F16s high = to_f16(load(p + lanes));
  return {_mm256_set_m128i(high.of, low.of)};
}
MORPHKV_VECTOR_WORD U16s max(U16s a, U16s b) noexcept { return {_mm256_max_epu16(a.of, b.of)}; }
MORPHKV_VECTOR_WORD U16s masked_min(U16Lanes at, U16s a, U16s b) noexcept {
  return {_mm256_blendv_epi8(a.of, _mm256_min_epu16(a.of, b.of), at.of)};
}
MORPHKV_VECTOR_WORD U16Lanes equal(U16s a, U16s b) noexcept {
  return {_mm256_cmpeq_epi16(a.of, b.of)};
}
MORPHKV_VECTOR_WORD std::uint16_t reduce_min(U16s a) noexcept {
  const __m128i eight =
      _mm_min_epu16(_mm256_castsi256_si128(a.of), _mm256_extracti128_si256(a.of, 1));
  return static_cast<std::uint16_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(eight)));
}

// --- 64-bit unsigned integers and doubles, as many as floats: in two registers

struct U64s {
  __m256i low, high;
};
struct F64s {
  __m256d low, high;
};
MORPHKV_VECTOR_WORD __m256i low_half(Lanes some) noexcept {
  return _mm256_cvtepi32_epi64(_mm256_castsi256_si128(some.of));
}
MORPHKV_VECTOR_WORD __m256i high_half(Lanes some) noexcept {
  return _mm256_cvtepi32_epi64(_mm256_extracti128_si256(some.of, 1));
}
/// Lanes from those of two halves.
MORPHKV_VECTOR_WORD Lanes join(__m256i low, __m256i high) noexcept {
  const __m256 even = _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), 0x88);
  return {_mm256_permute4x64_epi64(_mm256_castps_si256(even), 0xd8)};
}
MORPHKV_VECTOR_WORD U64s broadcast(std::uint64_t x) noexcept {
  const __m256i each = _mm256_set1_epi64x(static_cast<long long>(x));
  return {each, each};
}
MORPHKV_VECTOR_WORD U64s load(const std::uint64_t* p) noexcept {
  const auto* from = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
}
MORPHKV_VECTOR_WORD void store(std::uint64_t* p, U64s a) noexcept {
  auto* to = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(to, a.low);
  _mm256_storeu_si256(to + 1, a.high);
}
MORPHKV_VECTOR_WORD U64s add(U64s a, U64s b) noexcept {
  return {_mm256_add_epi64(a.low, b.low), _mm256_add_epi64(a.high, b.high)};
}
MORPHKV_VECTOR_WORD Lanes equal(U64s a, U64s b) noexcept {
  return join(_mm256_cmpeq_epi64(a.low, b.low), _mm256_cmpeq_epi64(a.high, b.high));
}
MORPHKV_VECTOR_WORD __m256i masked_min(__m256i at, __m256i a, __m256i b) noexcept {
  const __m256i sign = _mm256_slli_epi64(_mm256_set1_epi64x(1), 63);
  const __m256i above = _mm256_cmpgt_epi64(_mm256_xor_si256(a, sign), _mm256_xor_si256(b, sign));
  return _mm256_blendv_epi8(a, b, _mm256_and_si256(at, above));
}
MORPHKV_VECTOR_WORD U64s min(U64s a, U64s b) noexcept {
  const __m256i all = _mm256_set1_epi64x(-1);
  return {masked_min(all, a.low, b.low), masked_min(all, a.high, b.high)};
}
MORPHKV_VECTOR_WORD U64s masked_min(Lanes at, U64s a, U64s b) noexcept {
  return {masked_min(low_half(at), a.low, b.low), masked_min(high_half(at), a.high, b.high)};
}
MORPHKV_VECTOR_WORD std::uint64_t reduce_min(U64s a) noexcept {
  alignas(32) std::uint64_t of[lanes];
  store(of, a);
  return *std::min_element(of, of + lanes);
}
/// Four weights in units of 2^-40, rounded half up. Added to 2^52, a whole number below it lies in
/// the lowest bits.
MORPHKV_VECTOR_WORD __m256i fine_units(__m128 weights) noexcept {
  const __m256d units = _mm256_floor_pd(
      _mm256_fmadd_pd(_mm256_cvtps_pd(weights), _mm256_set1_pd(0x1p40), _mm256_set1_pd(0.5)));
  const __m256d magic = _mm256_set1_pd(0x1p52);
  return _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(units, magic)),
                          _mm256_castpd_si256(magic));
}
MORPHKV_VECTOR_WORD U64s fine_units(Floats a) noexcept {
  return {fine_units(_mm256_castps256_ps128(a)), fine_units(_mm256_extractf128_ps(a, 1))};
}
MORPHKV_VECTOR_WORD F64s broadcast(double x) noexcept {
  return {_mm256_set1_pd(x), _mm256_set1_pd(x)};
}
/// The nearest doubles. The upper and the lower 32 bits become mantissas of 2^84 and 2^52, whose
/// sum rounds once.
MORPHKV_VECTOR_WORD __m256d to_f64(__m256i a) noexcept {
  const __m256i high =
      _mm256_or_si256(_mm256_srli_epi64(a, 32), _mm256_castpd_si256(_mm256_set1_pd(0x1p84)));
  const __m256i low = _mm256_blend_epi32(a, _mm256_castpd_si256(_mm256_set1_pd(0x1p52)), 0xaa);
  return _mm256_add_pd(_mm256_sub_pd(_mm256_castsi256_pd(high), _mm256_set1_pd(0x1p84 + 0x1p52)),
                       _mm256_castsi256_pd(low));
}
MORPHKV_VECTOR_WORD F64s to_f64(U64s a) noexcept { return {to_f64(a.low), to_f64(a.high)}; }
MORPHKV_VECTOR_WORD F64s to_f64(U32s a) noexcept {
  return {to_f64(_mm256_cvtepu32_epi64(_mm256_castsi256_si128(a.of))),
          to_f64(_mm256_cvtepu32_epi64(_mm256_extracti128_si256(a.of, 1)))};
}
MORPHKV_VECTOR_WORD F64s divide(F64s a, F64s b) noexcept {
  return {_mm256_div_pd(a.low, b.low), _mm256_div_pd(a.high, b.high)};
}
MORPHKV_VECTOR_WORD Lanes equal(F64s a, F64s b) noexcept {
  return join(_mm256_castpd_si256(_mm256_cmp_pd(a.low, b.low, _CMP_EQ_OQ)),
              _mm256_castpd_si256(_mm256_cmp_pd(a.high, b.high, _CMP_EQ_OQ)));
}
MORPHKV_VECTOR_WORD __m256d masked_min(__m256i at, __m256d a, __m256d b) noexcept {
  return _mm256_blendv_pd(a, _mm256_min_pd(a, b), _mm256_castsi256_pd(at));
}
MORPHKV_VECTOR_WORD F64s masked_min(Lanes at, F64s a, F64s b) noexcept {
  return {masked_min(low_half(at), a.low, b.low), masked_min(high_half(at), a.high, b.high)};
}
MORPHKV_VECTOR_WORD double reduce_min(F64s a) noexcept {
  alignas(32) double of[lanes / 2];
  _mm256_store_pd(of, _mm256_min_pd(a.low, a.high));
  return *std::min_element(of, of + lanes / 2);
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::avx2

#define MORPHKV_ISA avx2
#include "morphkv/kernels/isa/exponential.hpp"
#undef MORPHKV_ISA
MORPHKV_TARGET_END

#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_ISA_AVX2_HPP
