// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rounding of a block of numbers to steps of a common scale.
#ifndef MORPHKV_KERNELS_PORTABLE_QUANTISE_HPP
#define MORPHKV_KERNELS_PORTABLE_QUANTISE_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/quantised.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::portable {

/// 1 / scale as it is stored; 0 where all numbers are below its least step.
[[nodiscard]] inline float inverse(Eigen::half scale) noexcept {
  const auto stored = static_cast<float>(scale);
  return stored == 0 ? 0 : 1 / stored;
}

/// Steps of a 127th of the greatest magnitude.
inline void quantise(const float (&numbers)[Q8_0::numbers], Q8_0& block) noexcept {
  float greatest = 0;
  for (const float x : numbers) greatest = (std::max)(greatest, std::abs(x));
  block.scale = static_cast<Eigen::half>(greatest / 127);
  const float per_step = inverse(block.scale);
  for (std::size_t i = 0; i < Q8_0::numbers; ++i) {
    // The scale may have been rounded down.
    const float step = std::clamp(numbers[i] * per_step, -127.0F, 127.0F);
    block.steps[i] = static_cast<std::int8_t>(step + std::copysign(0.5F, step));
  }
}

/// Steps of an eighth of the number with the greatest magnitude, whose sign the scale takes: that
/// one is step -8 and exact, and the others go from there to 7.
inline void quantise(const float (&numbers)[Q4_0::numbers], Q4_0& block) noexcept {
  float greatest = 0;
  for (const float x : numbers) greatest = std::abs(x) > std::abs(greatest) ? x : greatest;
  block.scale = static_cast<Eigen::half>(greatest / -8);
  const float per_step = inverse(block.scale);
  const auto step = [&](float x) noexcept {
    return static_cast<unsigned>(std::clamp(x * per_step + 8.5F, 0.0F, 15.0F));
  };
  for (std::size_t i = 0; i < Q4_0::numbers / 2; ++i) {
    block.pairs[i] = static_cast<std::uint8_t>(step(numbers[i]) | step(numbers[16 + i]) << 4U);
  }
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_QUANTISE_HPP
