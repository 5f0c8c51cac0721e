// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention weights as binary16 patterns, with the same bits on the host and on a device.
#ifndef MORPHKV_CORE_HALF_BITS_HPP
#define MORPHKV_CORE_HALF_BITS_HPP

#include <cstdint>
#include <cstring>

#include "morphkv/core/config.hpp"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace morphkv { inline namespace v0 {

/// The IEEE binary16 pattern of a weight from 0 to max_weight, rounded to nearest, ties to even.
/// Minus zero becomes zero. Patterns of non-negative numbers order as the numbers do.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint16_t to_half_bits(float weight) noexcept {
#if defined(__CUDA_ARCH__)
  return static_cast<std::uint16_t>(__half_as_ushort(__float2half_rn(weight)) & 0x7fffU);
#else
  std::uint32_t bits = 0;
  std::memcpy(&bits, &weight, sizeof bits);
  bits &= 0x7fffffffU;
  const std::uint32_t exponent = bits >> 23U;
  constexpr std::uint32_t min_normal = 113;       // of binary16: 2^-14
  constexpr std::uint32_t half_a_denormal = 102;  // 2^-25
  if (exponent < half_a_denormal) return 0;
  // The significand to round, and how many of its bits are dropped. A carry moves into the
  // exponent, where it belongs.
  const bool normal = exponent >= min_normal;
  const std::uint32_t significand =
      normal ? bits - ((min_normal - 1) << 23U) : (bits & 0x7fffffU) | 0x800000U;
  const std::uint32_t dropped = normal ? 13 : 126 - exponent;
  const std::uint32_t even = (significand >> dropped) & 1U;
  return static_cast<std::uint16_t>((significand + (1U << (dropped - 1)) - 1 + even) >> dropped);
#endif
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_HALF_BITS_HPP
