// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention weights as 16-bit patterns.
#ifndef MORPHKV_CORE_HALF_BITS_HPP
#define MORPHKV_CORE_HALF_BITS_HPP

#include <Eigen/Core>
#include <cstdint>

#include "morphkv/core/weight_units.hpp"

namespace morphkv { inline namespace v0 {

/// The IEEE binary16 pattern of a weight, rounded to nearest, ties to even. Patterns of
/// non-negative numbers order as the numbers do.
[[nodiscard]] inline std::uint16_t to_half_bits(float weight) noexcept {
  return Eigen::numext::bit_cast<std::uint16_t>(Eigen::half(weight));
}

/// The number behind a pattern.
[[nodiscard]] inline float from_half_bits(std::uint16_t bits) noexcept {
  return static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(bits));
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_HALF_BITS_HPP
