// SPDX-License-Identifier: Apache-2.0
/// \file
/// The element types of keys and values.
#ifndef MORPHKV_CORE_SCALAR_HPP
#define MORPHKV_CORE_SCALAR_HPP

#include <Eigen/Core>
#include <concepts>

namespace morphkv { inline namespace v0 {

/// What a cache stores: float, Eigen::half (IEEE binary16) or Eigen::bfloat16. Sums are in float.
/// On CPUs with bfloat16 dot products, attention over a bfloat16 cache rounds its weights to
/// bfloat16 for the output (not for the row that is observed), as it does its values.
template <class T>
concept Scalar =
    std::same_as<T, float> || std::same_as<T, Eigen::half> || std::same_as<T, Eigen::bfloat16>;

/// What an engine may hand in and receive for a cache of `Stored`: the same type, or float.
template <class T, class Stored>
concept ElementOf = std::same_as<T, Stored> || std::same_as<T, float>;

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_SCALAR_HPP
