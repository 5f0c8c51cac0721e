// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vocabulary of vectors for NEON on 64-bit Arm: four floats. Every such CPU has it.
#ifndef MORPHKV_KERNELS_ISA_NEON_HPP
#define MORPHKV_KERNELS_ISA_NEON_HPP

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "morphkv/core/scalar.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/tuning.hpp"

#if defined(MORPHKV_KERNELS_NEON) && !defined(MORPHKV_KERNELS_ELSEWHERE)
#include <arm_neon.h>

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD::neon {

inline constexpr const Tuning& tuning = neon_tuning;
inline constexpr std::size_t lanes = 4;
inline constexpr std::size_t u16_lanes = 8;

using Floats = float32x4_t;
using U32s = uint32x4_t;
using I32s = int32x4_t;
using U16s = uint16x8_t;
using I16s = int16x8_t;
using F16s = uint16x4_t;      ///< patterns, as many as floats
using HalfU64s = uint64x2_t;  ///< half as many as floats
using HalfF64s = float64x2_t;
/// All bits of a lane, or none.
using Lanes = int32x4_t;
using U16Lanes = int16x8_t;
using HalfLanes = int64x2_t;

// --- Lanes

inline constexpr std::uint32_t lane_bits[4] = {1, 2, 4, 8};
inline constexpr std::uint16_t u16_lane_bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};

/// The lanes whose bits are clear in a mask of 64-bit words; `index` is a multiple of `lanes`.
MORPHKV_VECTOR_WORD Lanes clear_bits(const std::uint64_t* words, std::size_t index) noexcept {
  const auto some = static_cast<std::uint32_t>(words[index / 64] >> (index % 64));
  return (vdupq_n_u32(some) & vld1q_u32(lane_bits)) == 0U;
}
MORPHKV_VECTOR_WORD U16Lanes clear_u16_bits(const std::uint64_t* words,
                                            std::size_t index) noexcept {
  const auto some = static_cast<std::uint16_t>(words[index / 64] >> (index % 64));
  return (vdupq_n_u16(some) & vld1q_u16(u16_lane_bits)) == 0;
}
/// One bit a lane.
MORPHKV_VECTOR_WORD std::uint32_t bits(Lanes some) noexcept {
  return vaddvq_u32(reinterpret_cast<U32s>(some) & vld1q_u32(lane_bits));
}
MORPHKV_VECTOR_WORD std::uint32_t bits(U16Lanes some) noexcept {
  return vaddvq_u16(reinterpret_cast<U16s>(some) & vld1q_u16(u16_lane_bits));
}
MORPHKV_VECTOR_WORD bool any(Lanes some) noexcept {
  return vmaxvq_u32(reinterpret_cast<U32s>(some)) != 0;
}
MORPHKV_VECTOR_WORD bool any(U16Lanes some) noexcept {
  return vmaxvq_u16(reinterpret_cast<U16s>(some)) != 0;
}
MORPHKV_VECTOR_WORD std::size_t popcount(Lanes some) noexcept {
  return vaddvq_u32(reinterpret_cast<U32s>(some) >> 31);
}
/// a where a lane is named, b elsewhere.
template <class Some, class Vector>
MORPHKV_VECTOR_WORD Vector select(Some at, Vector a, Vector b) noexcept {
  return reinterpret_cast<Vector>(
      vbslq_u32(reinterpret_cast<U32s>(at), reinterpret_cast<U32s>(a), reinterpret_cast<U32s>(b)));
}
MORPHKV_VECTOR_WORD HalfLanes low_half(Lanes some) noexcept {
  return vmovl_s32(vget_low_s32(some));
}
MORPHKV_VECTOR_WORD HalfLanes high_half(Lanes some) noexcept { return vmovl_high_s32(some); }
/// Lanes from those of two halves.
MORPHKV_VECTOR_WORD Lanes join(HalfLanes low, HalfLanes high) noexcept {
  return vcombine_s32(vmovn_s64(low), vmovn_s64(high));
}

// --- Floats

/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept { return vfmaq_f32(c, a, b); }
/// NaN where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats max(Floats a, Floats b) noexcept { return vmaxq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats min(Floats a, Floats b) noexcept { return vminq_f32(a, b); }
MORPHKV_VECTOR_WORD float reduce_add(Floats a) noexcept { return vaddvq_f32(a); }
MORPHKV_VECTOR_WORD float reduce_max(Floats a) noexcept { return vmaxvq_f32(a); }
MORPHKV_VECTOR_WORD float reduce_min(Floats a) noexcept { return vminvq_f32(a); }

/// out[0 ... 3] = scale * (the sums of a, b, c and d).
template <std::size_t Count>
MORPHKV_VECTOR_WORD void store_sums(Floats a, Floats b, Floats c, Floats d, float scale,
                                    float* out) noexcept {
  static_assert(Count == 4);
  vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)) * scale);
}
/// out[i * stride ... + 3] = lane i of a, b, c and d.
MORPHKV_VECTOR_WORD void store_transposed(Floats a, Floats b, Floats c, Floats d, float* out,
                                          std::size_t stride) noexcept {
  const Floats ab[] = {vzip1q_f32(a, b), vzip2q_f32(a, b)};
  const Floats cd[] = {vzip1q_f32(c, d), vzip2q_f32(c, d)};
  MORPHKV_UNROLL for (std::size_t i = 0; i < 2; ++i, out += 2 * stride) {
    vst1q_f32(out, vcombine_f32(vget_low_f32(ab[i]), vget_low_f32(cd[i])));
    vst1q_f32(out + stride, vcombine_f32(vget_high_f32(ab[i]), vget_high_f32(cd[i])));
  }
}

// --- 32-bit unsigned integers

MORPHKV_VECTOR_WORD std::uint32_t reduce_min(U32s a) noexcept { return vminvq_u32(a); }
MORPHKV_VECTOR_WORD std::uint32_t reduce_max(U32s a) noexcept { return vmaxvq_u32(a); }

// --- 16-bit unsigned integers

/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD F16s to_f16(Floats a) noexcept { return vreinterpret_u16_f16(vcvt_f16_f32(a)); }
MORPHKV_VECTOR_WORD Floats to_f32(F16s a) noexcept { return vcvt_f32_f16(vreinterpret_f16_u16(a)); }
/// Bytes as 16-bit integers.
MORPHKV_VECTOR_WORD F16s load_signed_bytes(const void* p) noexcept {
  std::uint32_t bytes = 0;
  std::memcpy(&bytes, p, sizeof bytes);
  const int16x8_t words = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)));
  return vreinterpret_u16_s16(vget_low_s16(words));
}
/// Twice as many.
MORPHKV_VECTOR_WORD U16s load_more_signed_bytes(const void* p) noexcept {
  return vreinterpretq_u16_s16(vmovl_s8(vld1_s8(static_cast<const std::int8_t*>(p))));
}
MORPHKV_VECTOR_WORD U32s widen(F16s a) noexcept { return vmovl_u16(a); }
MORPHKV_VECTOR_WORD F16s high_halves(U32s a) noexcept { return vshrn_n_u32(a, 16); }
MORPHKV_VECTOR_WORD std::uint16_t reduce_min(U16s a) noexcept { return vminvq_u16(a); }

/// sums + the products of pairs of 16-bit integers, and of one pair that is in each lane.
MORPHKV_VECTOR_WORD I32s add_dots(I32s sums, I16s pairs, I16s pair) noexcept {
  const int32x4_t both = vreinterpretq_s32_s16(pairs);
  sums = vmlal_laneq_s16(sums, vmovn_s32(both), pair, 0);
  return vmlal_laneq_s16(sums, vshrn_n_s32(both, 16), pair, 1);
}

/// Sixteen bytes each of a and b as pairs of 16-bit integers.
MORPHKV_VECTOR_WORD void zip_bytes(const void* a, const void* b, I16s (&pairs)[4]) noexcept {
  const uint8x16_t first = vld1q_u8(static_cast<const std::uint8_t*>(a));
  const uint8x16_t second = vld1q_u8(static_cast<const std::uint8_t*>(b));
  const uint8x16_t zipped[] = {vzip1q_u8(first, second), vzip2q_u8(first, second)};
  MORPHKV_UNROLL for (std::size_t i = 0; i < 2; ++i) {
    pairs[2 * i] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(zipped[i])));
    pairs[2 * i + 1] = vreinterpretq_s16_u16(vmovl_high_u8(zipped[i]));
  }
}

/// Sixteen bytes at row(0).
template <class Row>
MORPHKV_VECTOR_WORD U32s load_parts(const Row& row) noexcept {
  return vld1q_u32(static_cast<const std::uint32_t*>(row(0)));
}

// --- 64-bit unsigned integers and doubles

MORPHKV_VECTOR_WORD HalfU64s low_u64(U32s a) noexcept { return vmovl_u32(vget_low_u32(a)); }
MORPHKV_VECTOR_WORD HalfU64s high_u64(U32s a) noexcept { return vmovl_high_u32(a); }
MORPHKV_VECTOR_WORD HalfF64s low_f64(Floats a) noexcept { return vcvt_f64_f32(vget_low_f32(a)); }
MORPHKV_VECTOR_WORD HalfF64s high_f64(Floats a) noexcept { return vcvt_high_f64_f32(a); }
MORPHKV_VECTOR_WORD HalfU64s to_u64(HalfF64s a) noexcept { return vcvtq_u64_f64(a); }
MORPHKV_VECTOR_WORD HalfF64s to_f64(HalfU64s a) noexcept { return vcvtq_f64_u64(a); }

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::neon

#define MORPHKV_ISA neon
#include "morphkv/kernels/isa/vectors.hpp"
#undef MORPHKV_ISA

#ifdef MORPHKV_NEON_DOTPROD_FEATURES
/// With dot products of bytes: what is not in it is that of NEON.
MORPHKV_TARGET_BEGIN(MORPHKV_NEON_DOTPROD_FEATURES)
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::neon_dotprod {
using namespace neon;

using I8s = int8x16_t;

/// sums + the products of each four bytes with number Four of the fours in `one`. Clang before 16
/// declares vdotq_laneq_s32 only where all functions of a unit may use it.
template <std::size_t Four>
MORPHKV_VECTOR_WORD I32s add_dots(I32s sums, I8s fours, I8s one) noexcept {
  asm("sdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(sums) : "w"(fours), "w"(one), "i"(Four));
  return sums;
}

/// 16-bit integers of magnitudes up to 32639 in the lower halves of lanes, as 256 * high + low.
MORPHKV_VECTOR_WORD void split_integers(const U32s (&integers)[4], I8s& low, I8s& high) noexcept {
  U16s words[4];
  MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) words[i] = reinterpret_cast<U16s>(integers[i]);
  const U16s first = vuzp1q_u16(words[0], words[1]);
  const U16s last = vuzp1q_u16(words[2], words[3]);
  low = vuzp1q_s8(reinterpret_cast<I8s>(first), reinterpret_cast<I8s>(last));
  high = vuzp2q_s8(reinterpret_cast<I8s>(first + 128), reinterpret_cast<I8s>(last + 128));
}

/// Four rows of bytes by numbers: lane j of out[i] is number 4 i + j of the four rows. A row has
/// eight bytes or, with four vectors, sixteen.
template <class Row, std::size_t Count>
MORPHKV_VECTOR_WORD void zip_rows(const Row& row, I8s (&out)[Count]) noexcept {
  static_assert(Count == 2 || Count == 4);
  I8s rows[4];
  MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) {
    const auto* from = static_cast<const std::int8_t*>(row(i));
    rows[i] = Count == 4 ? vld1q_s8(from) : vcombine_s8(vld1_s8(from), vdup_n_s8(0));
  }
  const auto zip_pairs = [&](U16s ab, U16s cd, std::size_t i) noexcept {
    out[i] = reinterpret_cast<I8s>(vzip1q_u16(ab, cd));
    out[i + 1] = reinterpret_cast<I8s>(vzip2q_u16(ab, cd));
  };
  zip_pairs(reinterpret_cast<U16s>(vzip1q_s8(rows[0], rows[1])),
            reinterpret_cast<U16s>(vzip1q_s8(rows[2], rows[3])), 0);
  if constexpr (Count == 4) {
    zip_pairs(reinterpret_cast<U16s>(vzip2q_s8(rows[0], rows[1])),
              reinterpret_cast<U16s>(vzip2q_s8(rows[2], rows[3])), 2);
  }
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::neon_dotprod
MORPHKV_TARGET_END
#else
namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {
namespace neon_dotprod = neon;
}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD
#endif  // MORPHKV_NEON_DOTPROD_FEATURES

#endif  // MORPHKV_KERNELS_NEON

#endif  // MORPHKV_KERNELS_ISA_NEON_HPP
