// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vector vocabulary of AVX2 with FMA and F16C: eight floats.
#ifndef MORPHKV_KERNELS_AVX2_VECTOR_HPP
#define MORPHKV_KERNELS_AVX2_VECTOR_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/dispatch.hpp"

#ifdef MORPHKV_KERNELS_X86
#include <immintrin.h>

MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace avx2 {

using Floats = __m256;
/// Unsigned 32-bit integers.
struct Units {
  __m256i of;
};
/// All bits of a lane, or none.
struct Lanes {
  __m256i of;
};

inline constexpr std::size_t lanes = 8;
inline constexpr std::size_t registers = 16;  ///< that hold a vector each
/// Query heads that one pass of the attention kernels serves: what the registers hold.
inline constexpr std::size_t head_block = 2;
/// Keys of a prompt that meet them at once.
inline constexpr std::size_t key_tile = 6;

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
MORPHKV_VECTOR_WORD Lanes both(Lanes a, Lanes b) noexcept { return {_mm256_and_si256(a.of, b.of)}; }
MORPHKV_VECTOR_WORD std::size_t number_of(Lanes some) noexcept {
  return static_cast<std::size_t>(_mm_popcnt_u32(bits(some)));
}

// --- Bytes

inline constexpr std::size_t vector_bytes = 32;
MORPHKV_VECTOR_WORD void copy_bytes(void* to, const void* from) noexcept {
  _mm256_storeu_si256(static_cast<__m256i*>(to),
                      _mm256_loadu_si256(static_cast<const __m256i*>(from)));
}
/// Past the caches; `to` is aligned to a vector.
MORPHKV_VECTOR_WORD void stream_bytes(void* to, const void* from) noexcept {
  _mm256_stream_si256(static_cast<__m256i*>(to),
                      _mm256_loadu_si256(static_cast<const __m256i*>(from)));
}
MORPHKV_VECTOR_WORD void end_of_stream() noexcept { _mm_sfence(); }

// --- Floats

/// Keeps the compiler from loading a number anew for every use of it.
MORPHKV_VECTOR_WORD Floats in_register(Floats a) noexcept {
  asm("" : "+x"(a));
  return a;
}
MORPHKV_VECTOR_WORD Floats zero() noexcept { return _mm256_setzero_ps(); }
MORPHKV_VECTOR_WORD Floats all(float x) noexcept { return _mm256_set1_ps(x); }
MORPHKV_VECTOR_WORD Floats add(Floats a, Floats b) noexcept { return _mm256_add_ps(a, b); }
MORPHKV_VECTOR_WORD Floats sub(Floats a, Floats b) noexcept { return _mm256_sub_ps(a, b); }
MORPHKV_VECTOR_WORD Floats mul(Floats a, Floats b) noexcept { return _mm256_mul_ps(a, b); }
MORPHKV_VECTOR_WORD Floats divide(Floats a, Floats b) noexcept { return _mm256_div_ps(a, b); }
/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept {
  return _mm256_fmadd_ps(a, b, c);
}
/// The second where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats greater(Floats a, Floats b) noexcept { return _mm256_max_ps(a, b); }
MORPHKV_VECTOR_WORD Floats lesser(Floats a, Floats b) noexcept { return _mm256_min_ps(a, b); }
MORPHKV_VECTOR_WORD Floats lesser_at(Lanes at, Floats a, Floats b) noexcept {
  return _mm256_blendv_ps(a, _mm256_min_ps(a, b), _mm256_castsi256_ps(at.of));
}
MORPHKV_VECTOR_WORD Lanes equal(Floats a, Floats b) noexcept {
  return {_mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_EQ_OQ))};
}
MORPHKV_VECTOR_WORD float sum(Floats a) noexcept {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
MORPHKV_VECTOR_WORD float greatest(Floats a) noexcept {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
MORPHKV_VECTOR_WORD float least(Floats a) noexcept {
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

MORPHKV_VECTOR_WORD Units all_units(std::uint32_t x) noexcept {
  return {_mm256_set1_epi32(static_cast<int>(x))};
}
MORPHKV_VECTOR_WORD Units all_of(std::uint32_t x) noexcept { return all_units(x); }
MORPHKV_VECTOR_WORD Floats all_of(float x) noexcept { return all(x); }
MORPHKV_VECTOR_WORD Units load(const std::uint32_t* p) noexcept {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
MORPHKV_VECTOR_WORD void store(std::uint32_t* p, Units a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.of);
}
MORPHKV_VECTOR_WORD Units add(Units a, Units b) noexcept { return {_mm256_add_epi32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Units sub(Units a, Units b) noexcept { return {_mm256_sub_epi32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Units lesser(Units a, Units b) noexcept {
  return {_mm256_min_epu32(a.of, b.of)};
}
MORPHKV_VECTOR_WORD Units greater(Units a, Units b) noexcept {
  return {_mm256_max_epu32(a.of, b.of)};
}
MORPHKV_VECTOR_WORD Units lesser_at(Lanes at, Units a, Units b) noexcept {
  return {_mm256_blendv_epi8(a.of, _mm256_min_epu32(a.of, b.of), at.of)};
}
MORPHKV_VECTOR_WORD Lanes equal(Units a, Units b) noexcept {
  return {_mm256_cmpeq_epi32(a.of, b.of)};
}
/// One more in each lane that is named.
MORPHKV_VECTOR_WORD Units one_more_at(Lanes at, Units counts) noexcept {
  return {_mm256_sub_epi32(counts.of, at.of)};
}
MORPHKV_VECTOR_WORD std::uint32_t sum(Units a) noexcept {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a.of), _mm256_extracti128_si256(a.of, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
}
MORPHKV_VECTOR_WORD std::uint32_t least(Units a) noexcept {
  __m128i four = _mm_min_epu32(_mm256_castsi256_si128(a.of), _mm256_extracti128_si256(a.of, 1));
  four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
}
MORPHKV_VECTOR_WORD std::uint32_t greatest(Units a) noexcept {
  __m128i four = _mm_max_epu32(_mm256_castsi256_si128(a.of), _mm256_extracti128_si256(a.of, 1));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
}
MORPHKV_VECTOR_WORD Units pattern(Floats a) noexcept { return {_mm256_castps_si256(a)}; }
MORPHKV_VECTOR_WORD Units either(Units a, Units b) noexcept {
  return {_mm256_or_si256(a.of, b.of)};
}
MORPHKV_VECTOR_WORD Units exclusive_or(Units a, Units b) noexcept {
  return {_mm256_xor_si256(a.of, b.of)};
}
/// All bits where the highest one is set.
MORPHKV_VECTOR_WORD Units sign_of(Units a) noexcept { return {_mm256_srai_epi32(a.of, 31)}; }
/// 0, 1, 2, ...
MORPHKV_VECTOR_WORD Units ascending() noexcept {
  return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)};
}
MORPHKV_VECTOR_WORD Lanes at_most(Units a, Units b) noexcept {
  return {_mm256_cmpeq_epi32(_mm256_min_epu32(a.of, b.of), a.of)};
}
MORPHKV_VECTOR_WORD Lanes at_most(Floats a, Floats b) noexcept {
  return {_mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LE_OQ))};
}
/// Where one of the two is NaN.
MORPHKV_VECTOR_WORD Lanes unordered(Floats a, Floats b) noexcept {
  return {_mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_UNORD_Q))};
}
MORPHKV_VECTOR_WORD Floats from_pattern(Units a) noexcept { return _mm256_castsi256_ps(a.of); }
MORPHKV_VECTOR_WORD Lanes no_lanes() noexcept { return {_mm256_setzero_si256()}; }
MORPHKV_VECTOR_WORD Lanes one_of(Lanes a, Lanes b) noexcept {
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
MORPHKV_VECTOR_WORD std::size_t compress(std::uint32_t* p, Units a, Lanes at) noexcept {
  const std::uint32_t set = bits(at);
  const __m256i order =
      _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(compress_table.order[set])));
  store(p, Units{_mm256_permutevar8x32_epi32(a.of, order)});
  return static_cast<std::size_t>(_mm_popcnt_u32(set));
}

// --- Patterns of binary16, as many as floats

struct Halves {
  __m128i of;
};
/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD Halves narrow(Floats a) noexcept {
  return {_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
MORPHKV_VECTOR_WORD Floats widen(Halves a) noexcept { return _mm256_cvtph_ps(a.of); }
MORPHKV_VECTOR_WORD Halves load_halves(const std::uint16_t* p) noexcept {
  return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
}
MORPHKV_VECTOR_WORD void store_halves(std::uint16_t* p, Halves a) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), a.of);
}
/// Finite non-negative numbers in units of 2^-24: exact.
MORPHKV_VECTOR_WORD Units half_units(Halves a) noexcept {
  return {_mm256_cvtps_epi32(mul(widen(a), all(0x1p24F)))};
}

/// The patterns of bfloat16, rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD Halves to_brains(Floats a) noexcept {
  const Units bits = pattern(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits.of, 16), all_units(1).of);
  const Units rounded = add(add(bits, all_units(0x7fff)), Units{odd});
  const Units nan = either(bits, all_units(0x00400000));
  const __m256i chosen = _mm256_blendv_epi8(rounded.of, nan.of, unordered(a, a).of);
  const __m256i high = _mm256_srli_epi32(chosen, 16);
  return {_mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1))};
}

// --- Patterns of binary16, twice as many: unsigned integers of 16 bits

struct Shorts {
  __m256i of;
};
struct ShortLanes {
  __m256i of;
};
inline constexpr std::size_t short_lanes = 16;

MORPHKV_VECTOR_WORD ShortLanes clear_short_bits(const std::uint64_t* words,
                                                std::size_t index) noexcept {
  const __m256i lane_bits = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048,
                                              4096, 8192, 16384, -32768);
  short sixteen = 0;
  std::memcpy(&sixteen, reinterpret_cast<const char*>(words) + index / 8, sizeof sixteen);
  return {_mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(sixteen), lane_bits),
                             _mm256_setzero_si256())};
}
/// One bit a lane.
MORPHKV_VECTOR_WORD std::uint32_t bits(ShortLanes some) noexcept {
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(some.of), _mm256_extracti128_si256(some.of, 1));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(bytes));
}
MORPHKV_VECTOR_WORD bool any(ShortLanes some) noexcept {
  return _mm256_testz_si256(some.of, some.of) == 0;
}
MORPHKV_VECTOR_WORD ShortLanes one_of(ShortLanes a, ShortLanes b) noexcept {
  return {_mm256_or_si256(a.of, b.of)};
}
MORPHKV_VECTOR_WORD Shorts all_shorts(unsigned x) noexcept {
  return {_mm256_set1_epi16(static_cast<short>(x))};
}
MORPHKV_VECTOR_WORD Shorts load_shorts(const std::uint16_t* p) noexcept {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
MORPHKV_VECTOR_WORD void store_shorts(std::uint16_t* p, Shorts a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.of);
}
MORPHKV_VECTOR_WORD Shorts narrow(Floats low, Floats high) noexcept {
  return {_mm256_set_m128i(narrow(high).of, narrow(low).of)};
}
MORPHKV_VECTOR_WORD Shorts greater(Shorts a, Shorts b) noexcept {
  return {_mm256_max_epu16(a.of, b.of)};
}
MORPHKV_VECTOR_WORD Shorts lesser_at(ShortLanes at, Shorts a, Shorts b) noexcept {
  return {_mm256_blendv_epi8(a.of, _mm256_min_epu16(a.of, b.of), at.of)};
}
MORPHKV_VECTOR_WORD ShortLanes equal(Shorts a, Shorts b) noexcept {
  return {_mm256_cmpeq_epi16(a.of, b.of)};
}
MORPHKV_VECTOR_WORD std::uint16_t least_short(Shorts a) noexcept {
  const __m128i eight =
      _mm_min_epu16(_mm256_castsi256_si128(a.of), _mm256_extracti128_si256(a.of, 1));
  return static_cast<std::uint16_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(eight)));
}

// --- 64-bit integers below 2^63, half as many

struct Longs {
  __m256i of;
};
struct LongLanes {
  __m256i of;
};
inline constexpr std::size_t long_lanes = 4;

MORPHKV_VECTOR_WORD LongLanes half_of(Lanes some, std::size_t half) noexcept {
  return {_mm256_cvtepi32_epi64(half == 0 ? _mm256_castsi256_si128(some.of)
                                          : _mm256_extracti128_si256(some.of, 1))};
}
MORPHKV_VECTOR_WORD Longs all_longs(std::uint64_t x) noexcept {
  return {_mm256_set1_epi64x(static_cast<long long>(x))};
}
MORPHKV_VECTOR_WORD Longs load_longs(const std::uint64_t* p) noexcept {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
MORPHKV_VECTOR_WORD void store_longs(std::uint64_t* p, Longs a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.of);
}
MORPHKV_VECTOR_WORD Longs add(Longs a, Longs b) noexcept { return {_mm256_add_epi64(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Longs lesser_at(LongLanes at, Longs a, Longs b) noexcept {
  const __m256i lesser = _mm256_and_si256(at.of, _mm256_cmpgt_epi64(a.of, b.of));
  return {_mm256_blendv_epi8(a.of, b.of, lesser)};
}
MORPHKV_VECTOR_WORD std::uint64_t least_long(Longs a) noexcept {
  alignas(32) std::uint64_t of[long_lanes];
  store_longs(of, a);
  return (std::min)((std::min)(of[0], of[1]), (std::min)(of[2], of[3]));
}
/// `long_lanes` weights in units of 2^-40, rounded half up. Added to 2^52, a whole number below it
/// lies in the lowest bits.
MORPHKV_VECTOR_WORD Longs fine_units(const float* p) noexcept {
  const __m256d weights = _mm256_cvtps_pd(_mm_loadu_ps(p));
  const __m256d units =
      _mm256_floor_pd(_mm256_fmadd_pd(weights, _mm256_set1_pd(0x1p40), _mm256_set1_pd(0.5)));
  const __m256d magic = _mm256_set1_pd(0x1p52);
  return {_mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(units, magic)),
                           _mm256_castpd_si256(magic))};
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::avx2

#define MORPHKV_ISA avx2
#include "morphkv/kernels/vector/exponential.hpp"
#undef MORPHKV_ISA
MORPHKV_TARGET_END

#endif  // MORPHKV_KERNELS_X86

#endif  // MORPHKV_KERNELS_AVX2_VECTOR_HPP
