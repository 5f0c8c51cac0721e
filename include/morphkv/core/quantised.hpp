// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys and values in 8 bits and less: blocks of numbers with a scale, as ggml lays them out.
#ifndef MORPHKV_CORE_QUANTISED_HPP
#define MORPHKV_CORE_QUANTISED_HPP

#include <Eigen/Core>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>

#include "morphkv/core/error.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// 32 numbers as bytes times a scale, 8.5 bits each: q8_0 of ggml, byte for byte.
struct Q8_0 {  // NOLINT(readability-identifier-naming): as ggml calls it
  static constexpr std::size_t numbers = 32;

  Eigen::half scale{};              ///< the greatest magnitude / 127
  std::int8_t steps[numbers] = {};  ///< number i is steps[i] * scale

  [[nodiscard]] float number(std::size_t i) const noexcept {
    return static_cast<float>(steps[i]) * static_cast<float>(scale);
  }
};

/// 32 numbers as four bits times a scale, 4.5 bits each: q4_0 of ggml, byte for byte.
struct Q4_0 {  // NOLINT(readability-identifier-naming): as ggml calls it
  static constexpr std::size_t numbers = 32;

  Eigen::half scale{};  ///< the number of the greatest magnitude / -8
  /// Number i is (the low four bits of pairs[i] - 8) * scale, number 16 + i that of the high ones.
  std::uint8_t pairs[numbers / 2] = {};

  [[nodiscard]] float number(std::size_t i) const noexcept {
    const int pair = pairs[i % 16];
    return static_cast<float>((i < 16 ? pair & 15 : pair >> 4) - 8) * static_cast<float>(scale);
  }
};
static_assert(sizeof(Q8_0) == 34 && sizeof(Q4_0) == 18);

/// What a cache stores in blocks. Tokens are rounded when they come, and never again.
template <class T>
concept Quantised = std::same_as<T, Q8_0> || std::same_as<T, Q4_0>;

/// What a cache can store.
template <class T>
concept Storable = Scalar<T> || Quantised<T>;

/// A number for each type, in files.
template <Storable T>
inline constexpr std::uint32_t element_kind = std::same_as<T, float>             ? 0
                                              : std::same_as<T, Eigen::half>     ? 1
                                              : std::same_as<T, Eigen::bfloat16> ? 2
                                              : std::same_as<T, E4M3>            ? 3
                                              : std::same_as<T, Q8_0>            ? 8
                                                                                 : 4;

/// Elements of a row of `dim` numbers. \pre a whole number of blocks
template <Storable T>
[[nodiscard]] constexpr std::size_t row_size(std::size_t dim) noexcept {
  if constexpr (Quantised<T>)
    return dim / T::numbers;
  else
    return dim;
}

/// Number `d` of a row. Those of E4M3 still lack the scale of their head.
template <Storable T>
[[nodiscard]] float number_at(const T* row, std::size_t d) noexcept {
  if constexpr (Quantised<T>)
    return row[d / T::numbers].number(d % T::numbers);
  else
    return static_cast<float>(row[d]);
}

/// Elements that a cache of T stores of a head's key and of its value.
struct RowSizes {
  std::size_t key = 0;
  std::size_t value = 0;  ///< 0 where it lies in the key
};
/// \throws std::invalid_argument if the shape is not valid, its dimensions are no whole blocks, or
///         it has scales that T does not take
template <Storable T>
[[nodiscard]] RowSizes row_sizes(const CacheShape& shape) {
  validate(shape);
  if constexpr (Quantised<T>) {
    const std::string allowed = "a multiple of " + std::to_string(T::numbers);
    require(shape.head_dim % T::numbers == 0, "head_dim", shape.head_dim, allowed);
    require(shape.output_dim() % T::numbers == 0, "value_dim", shape.value_dim, allowed);
  }
  if constexpr (!std::same_as<T, E4M3>) {
    const auto require_none = [](const char* name, const float* scales) {
      require(scales == nullptr, name, "given", "null: only a cache of E4M3 takes scales");
    };
    require_none("key_scales", shape.key_scales);
    require_none("value_scales", shape.value_scales);
  }
  return {row_size<T>(shape.head_dim), row_size<T>(shape.stored_value_dim())};
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_QUANTISED_HPP
