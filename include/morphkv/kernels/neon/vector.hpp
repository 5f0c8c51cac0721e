// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vector vocabulary of NEON on 64-bit Arm: four floats. Every such CPU has it.
#ifndef MORPHKV_KERNELS_NEON_VECTOR_HPP
#define MORPHKV_KERNELS_NEON_VECTOR_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/dispatch.hpp"

#ifdef MORPHKV_KERNELS_NEON
#include <arm_neon.h>

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace neon {

using Floats = float32x4_t;
using Units = uint32x4_t;
/// All bits of a lane, or none.
struct Lanes {
  uint32x4_t of;
};

inline constexpr std::size_t lanes = 4;
inline constexpr std::size_t registers = 32;  ///< that hold a vector each
/// Query heads that one pass of the attention kernels serves: what the registers hold.
inline constexpr std::size_t head_block = 4;
/// Keys of a prompt that meet them at once.
inline constexpr std::size_t key_tile = 4;

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
MORPHKV_VECTOR_WORD Lanes both(Lanes a, Lanes b) noexcept { return {vandq_u32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Lanes one_of(Lanes a, Lanes b) noexcept { return {vorrq_u32(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Lanes no_lanes() noexcept { return {vdupq_n_u32(0)}; }
MORPHKV_VECTOR_WORD std::size_t number_of(Lanes some) noexcept {
  return vaddvq_u32(vshrq_n_u32(some.of, 31));
}

// --- Bytes

inline constexpr std::size_t vector_bytes = 16;
MORPHKV_VECTOR_WORD void copy_bytes(void* to, const void* from) noexcept {
  std::memcpy(to, from, vector_bytes);
}
/// There are no intrinsics for stores past the caches.
MORPHKV_VECTOR_WORD void stream_bytes(void* to, const void* from) noexcept { copy_bytes(to, from); }
MORPHKV_VECTOR_WORD void end_of_stream() noexcept {}

// --- Floats

/// Keeps the compiler from loading a number anew for every use of it.
MORPHKV_VECTOR_WORD Floats in_register(Floats a) noexcept { return a; }
MORPHKV_VECTOR_WORD Floats zero() noexcept { return vdupq_n_f32(0); }
MORPHKV_VECTOR_WORD Floats all(float x) noexcept { return vdupq_n_f32(x); }
MORPHKV_VECTOR_WORD Floats add(Floats a, Floats b) noexcept { return vaddq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats sub(Floats a, Floats b) noexcept { return vsubq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats mul(Floats a, Floats b) noexcept { return vmulq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats divide(Floats a, Floats b) noexcept { return vdivq_f32(a, b); }
/// a * b + c
MORPHKV_VECTOR_WORD Floats fma(Floats a, Floats b, Floats c) noexcept { return vfmaq_f32(c, a, b); }
/// NaN where one of the two is NaN.
MORPHKV_VECTOR_WORD Floats greater(Floats a, Floats b) noexcept { return vmaxq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats lesser(Floats a, Floats b) noexcept { return vminq_f32(a, b); }
MORPHKV_VECTOR_WORD Floats lesser_at(Lanes at, Floats a, Floats b) noexcept {
  return vbslq_f32(at.of, vminq_f32(a, b), a);
}
MORPHKV_VECTOR_WORD Lanes equal(Floats a, Floats b) noexcept { return {vceqq_f32(a, b)}; }
MORPHKV_VECTOR_WORD Lanes at_most(Floats a, Floats b) noexcept { return {vcleq_f32(a, b)}; }
/// Where one of the two is NaN.
MORPHKV_VECTOR_WORD Lanes unordered(Floats a, Floats b) noexcept {
  return {vmvnq_u32(vandq_u32(vceqq_f32(a, a), vceqq_f32(b, b)))};
}
MORPHKV_VECTOR_WORD float sum(Floats a) noexcept { return vaddvq_f32(a); }
MORPHKV_VECTOR_WORD float greatest(Floats a) noexcept { return vmaxvq_f32(a); }
MORPHKV_VECTOR_WORD float least(Floats a) noexcept { return vminvq_f32(a); }

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

MORPHKV_VECTOR_WORD Units all_units(std::uint32_t x) noexcept { return vdupq_n_u32(x); }
MORPHKV_VECTOR_WORD Units all_of(std::uint32_t x) noexcept { return all_units(x); }
MORPHKV_VECTOR_WORD Floats all_of(float x) noexcept { return all(x); }
MORPHKV_VECTOR_WORD Units load(const std::uint32_t* p) noexcept { return vld1q_u32(p); }
MORPHKV_VECTOR_WORD void store(std::uint32_t* p, Units a) noexcept { vst1q_u32(p, a); }
MORPHKV_VECTOR_WORD Units add(Units a, Units b) noexcept { return vaddq_u32(a, b); }
MORPHKV_VECTOR_WORD Units sub(Units a, Units b) noexcept { return vsubq_u32(a, b); }
MORPHKV_VECTOR_WORD Units lesser(Units a, Units b) noexcept { return vminq_u32(a, b); }
MORPHKV_VECTOR_WORD Units greater(Units a, Units b) noexcept { return vmaxq_u32(a, b); }
MORPHKV_VECTOR_WORD Units lesser_at(Lanes at, Units a, Units b) noexcept {
  return vbslq_u32(at.of, vminq_u32(a, b), a);
}
MORPHKV_VECTOR_WORD Lanes equal(Units a, Units b) noexcept { return {vceqq_u32(a, b)}; }
MORPHKV_VECTOR_WORD Lanes at_most(Units a, Units b) noexcept { return {vcleq_u32(a, b)}; }
/// One more in each lane that is named.
MORPHKV_VECTOR_WORD Units one_more_at(Lanes at, Units counts) noexcept {
  return vsubq_u32(counts, at.of);
}
MORPHKV_VECTOR_WORD std::uint32_t sum(Units a) noexcept { return vaddvq_u32(a); }
MORPHKV_VECTOR_WORD std::uint32_t least(Units a) noexcept { return vminvq_u32(a); }
MORPHKV_VECTOR_WORD std::uint32_t greatest(Units a) noexcept { return vmaxvq_u32(a); }
MORPHKV_VECTOR_WORD Units pattern(Floats a) noexcept { return vreinterpretq_u32_f32(a); }
MORPHKV_VECTOR_WORD Floats from_pattern(Units a) noexcept { return vreinterpretq_f32_u32(a); }
MORPHKV_VECTOR_WORD Units either(Units a, Units b) noexcept { return vorrq_u32(a, b); }
MORPHKV_VECTOR_WORD Units exclusive_or(Units a, Units b) noexcept { return veorq_u32(a, b); }
/// All bits where the highest one is set.
MORPHKV_VECTOR_WORD Units sign_of(Units a) noexcept {
  return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(a), 31));
}
/// 0, 1, 2, ...
MORPHKV_VECTOR_WORD Units ascending() noexcept {
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
MORPHKV_VECTOR_WORD std::size_t compress(std::uint32_t* p, Units a, Lanes at) noexcept {
  const uint8x16_t order = vld1q_u8(compress_table.order[bits(at)]);
  store(p, vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(a), order)));
  return number_of(at);
}

// --- Patterns of binary16, as many as floats

struct Halves {
  uint16x4_t of;
};
/// Rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD Halves narrow(Floats a) noexcept {
  return {vreinterpret_u16_f16(vcvt_f16_f32(a))};
}
MORPHKV_VECTOR_WORD Floats widen(Halves a) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u16(a.of));
}
MORPHKV_VECTOR_WORD Halves load_halves(const std::uint16_t* p) noexcept { return {vld1_u16(p)}; }
MORPHKV_VECTOR_WORD void store_halves(std::uint16_t* p, Halves a) noexcept { vst1_u16(p, a.of); }
/// Finite non-negative numbers in units of 2^-24: exact.
MORPHKV_VECTOR_WORD Units half_units(Halves a) noexcept {
  return vcvtq_u32_f32(vmulq_n_f32(widen(a), 0x1p24F));
}

/// The patterns of bfloat16, rounded to nearest, ties to even.
MORPHKV_VECTOR_WORD Halves to_brains(Floats a) noexcept {
  const Units bits = pattern(a);
  const Units odd = vandq_u32(vshrq_n_u32(bits, 16), all_units(1));
  const Units rounded = add(add(bits, all_units(0x7fff)), odd);
  const Units nan = either(bits, all_units(0x00400000));
  return {vshrn_n_u32(vbslq_u32(unordered(a, a).of, nan, rounded), 16)};
}

// --- Patterns of binary16, twice as many: unsigned integers of 16 bits

struct Shorts {
  uint16x8_t of;
};
struct ShortLanes {
  uint16x8_t of;
};
inline constexpr std::size_t short_lanes = 8;
inline constexpr std::uint16_t short_lane_bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};

MORPHKV_VECTOR_WORD ShortLanes clear_short_bits(const std::uint64_t* words,
                                                std::size_t index) noexcept {
  const auto some = static_cast<std::uint16_t>(words[index / 64] >> (index % 64));
  return {vceqzq_u16(vandq_u16(vdupq_n_u16(some), vld1q_u16(short_lane_bits)))};
}
/// One bit a lane.
MORPHKV_VECTOR_WORD std::uint32_t bits(ShortLanes some) noexcept {
  return vaddvq_u16(vandq_u16(some.of, vld1q_u16(short_lane_bits)));
}
MORPHKV_VECTOR_WORD bool any(ShortLanes some) noexcept { return vmaxvq_u16(some.of) != 0; }
MORPHKV_VECTOR_WORD ShortLanes one_of(ShortLanes a, ShortLanes b) noexcept {
  return {vorrq_u16(a.of, b.of)};
}
MORPHKV_VECTOR_WORD Shorts all_shorts(unsigned x) noexcept {
  return {vdupq_n_u16(static_cast<std::uint16_t>(x))};
}
MORPHKV_VECTOR_WORD Shorts load_shorts(const std::uint16_t* p) noexcept { return {vld1q_u16(p)}; }
MORPHKV_VECTOR_WORD void store_shorts(std::uint16_t* p, Shorts a) noexcept { vst1q_u16(p, a.of); }
MORPHKV_VECTOR_WORD Shorts narrow(Floats low, Floats high) noexcept {
  return {vcombine_u16(narrow(low).of, narrow(high).of)};
}
MORPHKV_VECTOR_WORD Shorts greater(Shorts a, Shorts b) noexcept { return {vmaxq_u16(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Shorts lesser_at(ShortLanes at, Shorts a, Shorts b) noexcept {
  return {vbslq_u16(at.of, vminq_u16(a.of, b.of), a.of)};
}
MORPHKV_VECTOR_WORD ShortLanes equal(Shorts a, Shorts b) noexcept {
  return {vceqq_u16(a.of, b.of)};
}
MORPHKV_VECTOR_WORD std::uint16_t least_short(Shorts a) noexcept { return vminvq_u16(a.of); }

// --- 64-bit integers below 2^63, half as many

struct Longs {
  uint64x2_t of;
};
struct LongLanes {
  uint64x2_t of;
};
inline constexpr std::size_t long_lanes = 2;

MORPHKV_VECTOR_WORD LongLanes half_of(Lanes some, std::size_t half) noexcept {
  const int32x4_t words = vreinterpretq_s32_u32(some.of);
  return {vreinterpretq_u64_s64(vmovl_s32(half == 0 ? vget_low_s32(words) : vget_high_s32(words)))};
}
MORPHKV_VECTOR_WORD Longs all_longs(std::uint64_t x) noexcept { return {vdupq_n_u64(x)}; }
MORPHKV_VECTOR_WORD Longs load_longs(const std::uint64_t* p) noexcept { return {vld1q_u64(p)}; }
MORPHKV_VECTOR_WORD void store_longs(std::uint64_t* p, Longs a) noexcept { vst1q_u64(p, a.of); }
MORPHKV_VECTOR_WORD Longs add(Longs a, Longs b) noexcept { return {vaddq_u64(a.of, b.of)}; }
MORPHKV_VECTOR_WORD Longs lesser_at(LongLanes at, Longs a, Longs b) noexcept {
  return {vbslq_u64(vandq_u64(at.of, vcgtq_u64(a.of, b.of)), b.of, a.of)};
}
MORPHKV_VECTOR_WORD std::uint64_t least_long(Longs a) noexcept {
  return (std::min)(vgetq_lane_u64(a.of, 0), vgetq_lane_u64(a.of, 1));
}
/// `long_lanes` weights in units of 2^-40, rounded half up.
MORPHKV_VECTOR_WORD Longs fine_units(const float* p) noexcept {
  const float64x2_t weights = vcvt_f64_f32(vld1_f32(p));
  return {vcvtq_u64_f64(vfmaq_f64(vdupq_n_f64(0.5), weights, vdupq_n_f64(0x1p40)))};
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::neon

#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/exponential.hpp"
#undef MORPHKV_ISA

#endif  // MORPHKV_KERNELS_NEON

#endif  // MORPHKV_KERNELS_NEON_VECTOR_HPP
