// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vocabulary of vectors for NEON on 64-bit Arm: four floats. Every such CPU has it.
#ifndef MORPHKV_KERNELS_ISA_NEON_HPP
#define MORPHKV_KERNELS_ISA_NEON_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/tuning.hpp"

#ifdef MORPHKV_KERNELS_NEON
#include <arm_neon.h>

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::neon {

using Floats = float32x4_t;
using U32s = uint32x4_t;
/// All bits of a lane, or none.
struct Lanes {
  uint32x4_t of;
};

inline constexpr const Tuning& tuning = neon_tuning;
inline constexpr std::size_t lanes = 4;

/// A vector from memory of any type.
template <class Vector>
MORPHKV_VECTOR_WORD Vector load_as(const void* p) noexcept {
  Vector a;
  std::memcpy(&a, p, sizeof a);
  return a;
}

inline constexpr std::uint32_t lane_bits[4] = {1, 2, 4, 8};

/// The lanes whose bits are clear in a mask of 64-bit words; `index` is a multiple of `lanes`.
MORPHKV_VECTOR_WORD Lanes clear_bits(const std::uint64_t* words, std::size_t index) noexcept {
  const auto some = static_cast<std::uint32_t>(words[index / 64] >> (index % 64));
  return {vceqzq_u32(vandq_u32(vdupq_n_u32(some), vld1q_u32(lane_bits)))};
}
MORPHKV_VECTOR_WORD std::uint32_t bits(Lanes some) noexcept {
  return vaddvq_u32(vandq_u32(some.of, vld1q_u32(lane_bits)));
}
MORPHKV_VECTOR_WORD bool any(Lanes some) noexcept { return vmaxvq_u32(some.of) != 0; }
MORPHKV_VECTOR_WORD Lanes bit_and(Lanes a, Lanes b) noexcept { return {vandq_u32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Lanes bit_or(Lanes a, Lanes b) noexcept { return {vorrq_u32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Lanes no_lanes() noexcept { return {vdupq_n_u32(0)}; }
MORPHKV_VECTOR_WORD std::size_t popcount(Lanes some) noexcept {
  return vaddvq_u32(vshrq_n_u32(some.of, 31));
}

// --- Floats

/// Keeps the compiler from loading a number anew for every use of it.
MORPHKV_VECTOR_WORD Floats in_register(Floats a) noexcept { return a; }
MORPHKV_VECTOR_WORD Floats zero() noexcept { return vdupq_n_f32(0); }
MORPHKV_VECTOR_WORD Floats broadcast(float x) noexcept { return vdupq_n_f32(x); }
MORPHKV_VECTOR_WORD Floats add(Floats a, Floats b) noexcept { return vaddq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats sub(Floats a, Floats b) noexcept { return vsubq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats mul(Floats a, Floats b) noexcept { return vmulq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats divide(Floats a, Floats b) noexcept { return vdivq_f32(a, b); }
/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept { return vfmaq_f32(c, a, b); }
/// NaN where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats max(Floats a, Floats b) noexcept { return vmaxq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats min(Floats a, Floats b) noexcept { return vminq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats masked_min(Lanes at, Floats a, Floats b) noexcept {
  return vbslq_f32(at.of, vminq_f32(a, b), a);
}
MORPHKV_VECTOR_WORD Lanes equal(Floats a, Floats b) noexcept { return {vceqq_f32(a, b)}; }
MORPHKV_VECTOR_WORD Lanes less_equal(Floats a, Floats b) noexcept { return {vcleq_f32(a, b)}; }
/// Where one of the two is NaN.
MORPHKV_VECTOR_WORD Lanes unordered(Floats a, Floats b) noexcept {
  return {vmvnq_u32(vandq_u32(vceqq_f32(a, a), vceqq_f32(b, b)))};
}
MORPHKV_VECTOR_WORD float reduce_add(Floats a) noexcept { return vaddvq_f32(a); }
MORPHKV_VECTOR_WORD float reduce_max(Floats a) noexcept { return vmaxvq_f32(a); }
MORPHKV_VECTOR_WORD float reduce_min(Floats a) noexcept { return vminvq_f32(a); }

MORPHKV_VECTOR_WORD Floats load(const float* p) noexcept { return vld1q_f32(p); }
MORPHKV_VECTOR_WORD Floats load(const Eigen::half* p) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u16(load_as<uint16x4_t>(p)));
}
MORPHKV_VECTOR_WORD Floats load(const Eigen::bfloat16* p) noexcept {
  return vreinterpretq_f32_u32(vshll_n_u16(load_as<uint16x4_t>(p), 16));
}
/// The first `count` elements, and zeros.
template <class T>
MORPHKV_VECTOR_WORD Floats load_first(const T* p, std::size_t count) noexcept {
  alignas(16) std::uint8_t elements[lanes * sizeof(T)] = {};
  std::memcpy(elements, p, count * sizeof(T));
  return load(reinterpret_cast<const T*>(elements));
}
MORPHKV_VECTOR_WORD void store(float* p, Floats a) noexcept { vst1q_f32(p, a); }
MORPHKV_VECTOR_WORD void store_first(float* p, Floats a, std::size_t count) noexcept {
  float elements[lanes];
  store(elements, a);
  std::memcpy(p, elements, count * sizeof(float));
}
/// out[i * stride ... + 3] = lane i of a, b, c and d.
MORPHKV_VECTOR_WORD void store_transposed(Floats a, Floats b, Floats c, Floats d, float* out,
                                          std::size_t stride) noexcept {
  const Floats ab[] = {vzip1q_f32(a, b), vzip2q_f32(a, b)};
  const Floats cd[] = {vzip1q_f32(c, d), vzip2q_f32(c, d)};
  MORPHKV_UNROLL for (std::size_t i = 0; i < 2; ++i, out += 2 * stride) {
    store(out, vcombine_f32(vget_low_f32(ab[i]), vget_low_f32(cd[i])));
    store(out + stride, vcombine_f32(vget_high_f32(ab[i]), vget_high_f32(cd[i])));
  }
}
/// out[0 ... 3] = scale * (the sums of a, b, c and d).
template <std::size_t Count>
MORPHKV_VECTOR_WORD void store_sums(Floats a, Floats b, Floats c, Floats d, float scale,
                                    float* out) noexcept {
  static_assert(Count == 4);
  store(out, vmulq_n_f32(vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)), scale));
}

/// The number whose exponent are the lowest bits of a pattern, those of its mantissa zero.
MORPHKV_VECTOR_WORD Floats exponent_of(Floats a) noexcept {
  return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), 23));
}

// --- 32-bit unsigned integers

MORPHKV_VECTOR_WORD U32s broadcast(std::uint32_t x) noexcept { return vdupq_n_u32(x); }
MORPHKV_VECTOR_WORD U32s load(const std::uint32_t* p) noexcept { return vld1q_u32(p); }
MORPHKV_VECTOR_WORD void store(std::uint32_t* p, U32s a) noexcept { vst1q_u32(p, a); }
MORPHKV_VECTOR_WORD U32s add(U32s a, U32s b) noexcept { return vaddq_u32(a, b); }
/// The lower 32 bits.
MORPHKV_VECTOR_WORD U32s mul(U32s a, U32s b) noexcept { return vmulq_u32(a, b); }
template <int Count>
MORPHKV_VECTOR_WORD U32s shift_right(U32s a) noexcept {
  return vshrq_n_u32(a, Count);
}
MORPHKV_VECTOR_WORD U32s sub(U32s a, U32s b) noexcept { return vsubq_u32(a, b); }
MORPHKV_VECTOR_WORD U32s min(U32s a, U32s b) noexcept { return vminq_u32(a, b); }
MORPHKV_VECTOR_WORD U32s max(U32s a, U32s b) noexcept { return vmaxq_u32(a, b); }
MORPHKV_VECTOR_WORD U32s masked_min(Lanes at, U32s a, U32s b) noexcept {
  return vbslq_u32(at.of, vminq_u32(a, b), a);
}
MORPHKV_VECTOR_WORD Lanes equal(U32s a, U32s b) noexcept { return {vceqq_u32(a, b)}; }
MORPHKV_VECTOR_WORD Lanes less_equal(U32s a, U32s b) noexcept { return {vcleq_u32(a, b)}; }
/// One more in each lane that is named.
MORPHKV_VECTOR_WORD U32s masked_increment(Lanes at, U32s counts) noexcept {
  return vsubq_u32(counts, at.of);
}
MORPHKV_VECTOR_WORD std::uint32_t reduce_add(U32s a) noexcept { return vaddvq_u32(a); }
MORPHKV_VECTOR_WORD std::uint32_t reduce_min(U32s a) noexcept { return vminvq_u32(a); }
MORPHKV_VECTOR_WORD std::uint32_t reduce_max(U32s a) noexcept { return vmaxvq_u32(a); }
MORPHKV_VECTOR_WORD U32s as_u32(Floats a) noexcept { return vreinterpretq_u32_f32(a); }
MORPHKV_VECTOR_WORD Floats as_f32(U32s a) noexcept { return vreinterpretq_f32_u32(a); }
MORPHKV_VECTOR_WORD U32s bit_or(U32s a, U32s b) noexcept { return vorrq_u32(a, b); }
MORPHKV_VECTOR_WORD U32s bit_xor(U32s a, U32s b) noexcept { return veorq_u32(a, b); }
/// All bits where the highest one is set.
MORPHKV_VECTOR_WORD U32s sign_mask(U32s a) noexcept {
  return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(a), 31));
}
/// 0, 1, 2, ...
MORPHKV_VECTOR_WORD U32s iota() noexcept {
  constexpr std::uint32_t numbers[4] = {0, 1, 2, 3};
  return vld1q_u32(numbers);
}

/// For every set of lanes, the bytes of its lanes in order.
struct CompressTable {
  std::uint8_t order[16][16] = {};
  constexpr CompressTable() noexcept {
    for (unsigned set = 0; set < 16; ++set) {
      unsigned at = 0;
      for (unsigned lane = 0; lane < 4; ++lane) {
        if (((set >> lane) & 1U) == 0) continue;
        for (unsigned byte = 0; byte < 4; ++byte) {
          order[set][at++] = static_cast<std::uint8_t>(4 * lane + byte);
        }
      }
    }
  }
};
inline constexpr CompressTable compress_table;

/// Stores the lanes named, without gaps, and then anything up to a whole vector. \return how many
MORPHKV_VECTOR_WORD std::size_t compress(std::uint32_t* p, U32s a, Lanes at) noexcept {
  const uint8x16_t order = vld1q_u8(compress_table.order[bits(at)]);
  store(p, vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(a), order)));
  return popcount(at);
}

// --- Patterns of binary16, as many as floats

struct F16s {
  uint16x4_t of;
};
/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD F16s to_f16(Floats a) noexcept {
  return {vreinterpret_u16_f16(vcvt_f16_f32(a))};
}
MORPHKV_VECTOR_WORD Floats to_f32(F16s a) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u16(a.of));
}
MORPHKV_VECTOR_WORD F16s load_f16(const std::uint16_t* p) noexcept { return {vld1_u16(p)}; }
MORPHKV_VECTOR_WORD void store_f16(std::uint16_t* p, F16s a) noexcept { vst1_u16(p, a.of); }
/// Finite non-negative numbers in units of 2^-24: exact.
MORPHKV_VECTOR_WORD U32s half_units(F16s a) noexcept {
  return vcvtq_u32_f32(vmulq_n_f32(to_f32(a), 0x1p24F));
}

/// The patterns of bfloat16, rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD F16s to_bf16(Floats a) noexcept {
  const U32s bits = as_u32(a);
  const U32s odd = vandq_u32(vshrq_n_u32(bits, 16), broadcast(1U));
  const U32s rounded = add(add(bits, broadcast(0x7fffU)), odd);
  const U32s nan = bit_or(bits, broadcast(0x00400000U));
  return {vshrn_n_u32(vbslq_u32(unordered(a, a).of, nan, rounded), 16)};
}

MORPHKV_VECTOR_WORD void store(Eigen::half* p, Floats a) noexcept {
  store_f16(reinterpret_cast<std::uint16_t*>(p), to_f16(a));
}
MORPHKV_VECTOR_WORD void store(Eigen::bfloat16* p, Floats a) noexcept {
  store_f16(reinterpret_cast<std::uint16_t*>(p), to_bf16(a));
}

// --- 16-bit unsigned integers, twice as many

struct U16s {
  uint16x8_t of;
};
struct U16Lanes {
  uint16x8_t of;
};
inline constexpr std::size_t u16_lanes = 8;
inline constexpr std::uint16_t u16_lane_bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};

MORPHKV_VECTOR_WORD U16Lanes clear_u16_bits(const std::uint64_t* words,
                                            std::size_t index) noexcept {
  const auto some = static_cast<std::uint16_t>(words[index / 64] >> (index % 64));
  return {vceqzq_u16(vandq_u16(vdupq_n_u16(some), vld1q_u16(u16_lane_bits)))};
}
/// One bit a lane.
MORPHKV_VECTOR_WORD std::uint32_t bits(U16Lanes some) noexcept {
  return vaddvq_u16(vandq_u16(some.of, vld1q_u16(u16_lane_bits)));
}
MORPHKV_VECTOR_WORD bool any(U16Lanes some) noexcept { return vmaxvq_u16(some.of) != 0; }
MORPHKV_VECTOR_WORD U16Lanes bit_or(U16Lanes a, U16Lanes b) noexcept {
  return {vorrq_u16(a.of, b.of)};
}
MORPHKV_VECTOR_WORD U16s broadcast(std::uint16_t x) noexcept {
  return {vdupq_n_u16(static_cast<std::uint16_t>(x))};
}
MORPHKV_VECTOR_WORD U16s load(const std::uint16_t* p) noexcept { return {vld1q_u16(p)}; }
MORPHKV_VECTOR_WORD void store(std::uint16_t* p, U16s a) noexcept { vst1q_u16(p, a.of); }
/// Weights rounded to binary16.
MORPHKV_VECTOR_WORD U16s load_rounded(const float* p) noexcept {
  const F16s low = to_f16(load(p));
  const F16s high = to_f16(load(p + lanes));
  return {vcombine_u16(low.of, high.of)};
}
MORPHKV_VECTOR_WORD U16s max(U16s a, U16s b) noexcept { return {vmaxq_u16(a.of, b.of)}; }
MORPHKV_VECTOR_WORD U16s masked_min(U16Lanes at, U16s a, U16s b) noexcept {
  return {vbslq_u16(at.of, vminq_u16(a.of, b.of), a.of)};
}
MORPHKV_VECTOR_WORD U16Lanes equal(U16s a, U16s b) noexcept { return {vceqq_u16(a.of, b.of)}; }
MORPHKV_VECTOR_WORD std::uint16_t reduce_min(U16s a) noexcept { return vminvq_u16(a.of); }

// --- 64-bit unsigned integers and doubles, as many as floats: in two registers

struct U64s {
  uint64x2_t low, high;
};
struct F64s {
  float64x2_t low, high;
};
MORPHKV_VECTOR_WORD uint64x2_t low_half(Lanes some) noexcept {
  return vreinterpretq_u64_s64(vmovl_s32(vget_low_s32(vreinterpretq_s32_u32(some.of))));
}
MORPHKV_VECTOR_WORD uint64x2_t high_half(Lanes some) noexcept {
  return vreinterpretq_u64_s64(vmovl_s32(vget_high_s32(vreinterpretq_s32_u32(some.of))));
}
/// Lanes from those of two halves.
MORPHKV_VECTOR_WORD Lanes join(uint64x2_t low, uint64x2_t high) noexcept {
  return {vcombine_u32(vmovn_u64(low), vmovn_u64(high))};
}
MORPHKV_VECTOR_WORD U64s broadcast(std::uint64_t x) noexcept {
  return {vdupq_n_u64(x), vdupq_n_u64(x)};
}
MORPHKV_VECTOR_WORD U64s load(const std::uint64_t* p) noexcept {
  return {vld1q_u64(p), vld1q_u64(p + 2)};
}
MORPHKV_VECTOR_WORD void store(std::uint64_t* p, U64s a) noexcept {
  vst1q_u64(p, a.low);
  vst1q_u64(p + 2, a.high);
}
MORPHKV_VECTOR_WORD U64s add(U64s a, U64s b) noexcept {
  return {vaddq_u64(a.low, b.low), vaddq_u64(a.high, b.high)};
}
MORPHKV_VECTOR_WORD Lanes equal(U64s a, U64s b) noexcept {
  return join(vceqq_u64(a.low, b.low), vceqq_u64(a.high, b.high));
}
MORPHKV_VECTOR_WORD uint64x2_t masked_min(uint64x2_t at, uint64x2_t a, uint64x2_t b) noexcept {
  return vbslq_u64(vandq_u64(at, vcgtq_u64(a, b)), b, a);
}
MORPHKV_VECTOR_WORD U64s min(U64s a, U64s b) noexcept {
  return {vbslq_u64(vcgtq_u64(a.low, b.low), b.low, a.low),
          vbslq_u64(vcgtq_u64(a.high, b.high), b.high, a.high)};
}
MORPHKV_VECTOR_WORD U64s masked_min(Lanes at, U64s a, U64s b) noexcept {
  return {masked_min(low_half(at), a.low, b.low), masked_min(high_half(at), a.high, b.high)};
}
MORPHKV_VECTOR_WORD std::uint64_t reduce_min(U64s a) noexcept {
  std::uint64_t of[lanes];
  store(of, a);
  return *std::min_element(of, of + lanes);
}
/// Weights in units of 2^-40, rounded half up.
MORPHKV_VECTOR_WORD uint64x2_t fine_units(float64x2_t weights) noexcept {
  return vcvtq_u64_f64(vfmaq_f64(vdupq_n_f64(0.5), weights, vdupq_n_f64(0x1p40)));
}
MORPHKV_VECTOR_WORD U64s fine_units(Floats a) noexcept {
  return {fine_units(vcvt_f64_f32(vget_low_f32(a))), fine_units(vcvt_high_f64_f32(a))};
}
MORPHKV_VECTOR_WORD F64s broadcast(double x) noexcept { return {vdupq_n_f64(x), vdupq_n_f64(x)}; }
/// The nearest doubles.
MORPHKV_VECTOR_WORD F64s to_f64(U64s a) noexcept {
  return {vcvtq_f64_u64(a.low), vcvtq_f64_u64(a.high)};
}
MORPHKV_VECTOR_WORD F64s to_f64(U32s a) noexcept {
  return to_f64(U64s{vmovl_u32(vget_low_u32(a)), vmovl_u32(vget_high_u32(a))});
}
MORPHKV_VECTOR_WORD F64s divide(F64s a, F64s b) noexcept {
  return {vdivq_f64(a.low, b.low), vdivq_f64(a.high, b.high)};
}
MORPHKV_VECTOR_WORD Lanes equal(F64s a, F64s b) noexcept {
  return join(vceqq_f64(a.low, b.low), vceqq_f64(a.high, b.high));
}
MORPHKV_VECTOR_WORD F64s masked_min(Lanes at, F64s a, F64s b) noexcept {
  return {vbslq_f64(low_half(at), vminq_f64(a.low, b.low), a.low),
          vbslq_f64(high_half(at), vminq_f64(a.high, b.high), a.high)};
}
MORPHKV_VECTOR_WORD double reduce_min(F64s a) noexcept {
  return vminvq_f64(vminq_f64(a.low, a.high));
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::neon

#define MORPHKV_ISA neon
#include "morphkv/kernels/isa/exponential.hpp"
#undef MORPHKV_ISA

#endif  // MORPHKV_KERNELS_NEON

#endif  // MORPHKV_KERNELS_ISA_NEON_HPP
