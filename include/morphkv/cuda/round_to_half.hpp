// SPDX-License-Identifier: Apache-2.0
/// \file
/// A weight as a binary16 pattern, on the device and on the host with the same bits.
#ifndef MORPHKV_CUDA_ROUND_TO_HALF_HPP
#define MORPHKV_CUDA_ROUND_TO_HALF_HPP

#include <cstdint>
#include <cstring>

#include "morphkv/core/config.hpp"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace morphkv { inline namespace v0 { namespace cuda {

/// The binary16 pattern of a weight from 0 to greatest_weight, rounded to nearest, ties to even:
/// to_half_bits() of the portable library. Minus zero is zero.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint16_t round_to_half(float weight) noexcept {
#if defined(__CUDA_ARCH__)
  return static_cast<std::uint16_t>(__half_as_ushort(__float2half_rn(weight)) & 0x7fffU);
#else
  std::uint32_t bits = 0;
  std::memcpy(&bits, &weight, sizeof bits);
  bits &= 0x7fffffffU;
  const std::uint32_t exponent = bits >> 23U;
  constexpr std::uint32_t least_normal = 113;     // of binary16: 2^-14
  constexpr std::uint32_t half_a_denormal = 102;  // 2^-25
  if (exponent < half_a_denormal) return 0;
  // The significand that is rounded, and how many of its bits go. A carry runs into the exponent,
  // where it belongs.
  const bool normal = exponent >= least_normal;
  const std::uint32_t significand =
      normal ? bits - ((least_normal - 1) << 23U) : (bits & 0x7fffffU) | 0x800000U;
  const std::uint32_t dropped = normal ? 13 : 126 - exponent;
  const std::uint32_t even = (significand >> dropped) & 1U;
  return static_cast<std::uint16_t>((significand + (1U << (dropped - 1)) - 1 + even) >> dropped);
#endif
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_ROUND_TO_HALF_HPP
