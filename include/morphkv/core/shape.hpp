// SPDX-License-Identifier: Apache-2.0
/// \file
/// The shape of a model's attention.
#ifndef MORPHKV_CORE_SHAPE_HPP
#define MORPHKV_CORE_SHAPE_HPP

#include <cstddef>

#include "morphkv/core/error.hpp"

namespace morphkv { inline namespace v0 {

/// Layers and heads of a model. `query_heads == kv_heads` is multi-head attention, `kv_heads == 1`
/// multi-query attention, and anything between grouped-query attention: query head `h` reads KV
/// head `h / group()`.
struct CacheShape {
  std::size_t layers = 1;
  std::size_t query_heads = 1;
  std::size_t kv_heads = 1;
  std::size_t head_dim = 1;

  /// Query heads to a KV head.
  [[nodiscard]] constexpr std::size_t group() const noexcept { return query_heads / kv_heads; }
  /// KV heads of all layers.
  [[nodiscard]] constexpr std::size_t heads() const noexcept { return layers * kv_heads; }

  friend constexpr bool operator==(const CacheShape&, const CacheShape&) = default;
};

/// \throws std::invalid_argument if a number is 0 or the KV heads do not divide the query heads.
inline void validate(const CacheShape& shape) {
  require(shape.layers > 0, "layers", shape.layers, "at least 1");
  require(shape.head_dim > 0, "head_dim", shape.head_dim, "at least 1");
  require(shape.kv_heads > 0, "kv_heads", shape.kv_heads, "at least 1");
  require(shape.query_heads > 0 && shape.query_heads % shape.kv_heads == 0, "query_heads",
          shape.query_heads, "a multiple of kv_heads = " + std::to_string(shape.kv_heads));
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_SHAPE_HPP
