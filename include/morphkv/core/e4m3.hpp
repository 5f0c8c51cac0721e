// SPDX-License-Identifier: Apache-2.0
/// \file
/// Floating point numbers in eight bits.
#ifndef MORPHKV_CORE_E4M3_HPP
#define MORPHKV_CORE_E4M3_HPP

#include <bit>
#include <cstdint>
#include <limits>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// fp8 e4m3 (OCP 8-bit Floating Point Specification, revision 1.0), as caches in 8 bits of vLLM,
/// FlashInfer and TensorRT-LLM hold it: a sign, four bits of exponent with a bias of 7, and three
/// of mantissa. There are denormals and no infinities; 0x7f and 0xff are NaN. Magnitudes are 0 and
/// from 2^-9 to 448.
struct E4M3 {
  std::uint8_t bits = 0;

  static constexpr float greatest = 448;
  static constexpr float least_normal = 0x1p-6F;

  constexpr E4M3() noexcept = default;
  /// The nearest number, ties to even; beyond the greatest magnitude that one, also for an
  /// infinity. NaN stays NaN.
  explicit constexpr E4M3(float x) noexcept {
    const auto pattern = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t magnitude = pattern & 0x7fffffffU;
    std::uint32_t code = 0;
    if (magnitude > 0x7f800000U) {
      code = 0x7f;
    } else if (magnitude >= std::bit_cast<std::uint32_t>(greatest)) {
      code = 0x7e;
    } else if (magnitude < std::bit_cast<std::uint32_t>(least_normal)) {
      // From 2^14 to 2^15 the last bit of a float weighs 2^-9, as that of a denormal does.
      code = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0x1p14F) & 0xfU;
    } else {
      code = ((magnitude + 0x7ffffU + (magnitude >> 20U & 1U)) >> 20U) - (120U << 3U);
    }
    bits = static_cast<std::uint8_t>((pattern >> 24U & 0x80U) | code);
  }

  explicit constexpr operator float() const noexcept {
    const std::uint32_t magnitude = bits & 0x7fU;
    float x = 0;
    if (magnitude == 0x7f) {
      x = std::numeric_limits<float>::quiet_NaN();
    } else if (magnitude < 8) {
      x = static_cast<float>(magnitude) * 0x1p-9F;
    } else {
      x = std::bit_cast<float>((magnitude << 20U) + (120U << 23U));
    }
    return bits < 0x80 ? x : -x;
  }

  /// Of the bits: NaN equals itself, and 0 not -0.
  friend constexpr bool operator==(E4M3, E4M3) noexcept = default;
};
static_assert(sizeof(E4M3) == 1);

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_E4M3_HPP
