// SPDX-License-Identifier: Apache-2.0
/// \file
/// The element types of keys and values.
#ifndef MORPHKV_CORE_SCALAR_HPP
#define MORPHKV_CORE_SCALAR_HPP

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <limits>
#include <span>

namespace morphkv { inline namespace v0 {

/// What a cache stores: float, Eigen::half (IEEE binary16) or Eigen::bfloat16. Sums are in float.
/// On CPUs with bfloat16 dot products, attention over a bfloat16 cache rounds its weights to
/// bfloat16 for the output (not for the row that is observed), as it does its values.
template <class T>
concept Scalar =
    std::same_as<T, float> || std::same_as<T, Eigen::half> || std::same_as<T, Eigen::bfloat16>;

/// What an engine passes to and receives from a cache of `Stored`: the same type, or float.
template <class T, class Stored>
concept ElementOf = std::same_as<T, Stored> || std::same_as<T, float>;

/// Whether every number is finite once it is rounded to T.
template <Scalar T, ElementOf<T> E>
[[nodiscard]] bool are_finite(std::span<const E> numbers) noexcept {
  // The least float that rounds to infinity lies half a step above the greatest number of T.
  constexpr float limit = std::same_as<T, Eigen::half> ? 65520.0F
                          : std::same_as<T, Eigen::bfloat16>
                              ? 0x1.ffp127F
                              : std::numeric_limits<float>::infinity();
  bool finite = true;  // without a branch, so that compilers use vectors
  for (const E x : numbers) finite &= std::abs(static_cast<float>(x)) < limit;
  return finite;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_SCALAR_HPP
