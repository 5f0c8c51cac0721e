// SPDX-License-Identifier: Apache-2.0
/// \file
/// The bytes of a cache, without allocating it.
#ifndef MORPHKV_TOOLS_MEMORY_EXPECTED_MEMORY_HPP
#define MORPHKV_TOOLS_MEMORY_EXPECTED_MEMORY_HPP

#include <cstddef>

#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/morphkv.hpp"

namespace morphkv::memory {

/// Equal to KVCache<T, Policy>(shape, options).memory(). Heads are equal and layers share the
/// scratch memory, so a cache of one head is created and measured.
/// \throws std::invalid_argument where KVCache does
template <Scalar T, EvictionPolicy Policy>
[[nodiscard]] MemoryUsage expected_memory(const CacheShape& shape,
                                          const typename Policy::Options& options) {
  validate(shape);
  const CacheShape one_head{1, shape.group(), 1, shape.head_dim};
  const MemoryUsage one = KVCache<T, Policy>(one_head, options).memory();
  const std::size_t heads = shape.heads();
  return {.keys = heads * one.keys,
          .values = heads * one.values,
          .positions = heads * one.positions,
          .window = heads * one.window,
          .scores = heads * one.scores,
          .history = heads * one.history,
          .scratch = shape.kv_heads * one.scratch};
}

/// The keys and values of one token in all layers: the bytes per token of a cache that keeps
/// everything.
template <Scalar T>
[[nodiscard]] constexpr std::size_t token_bytes(const CacheShape& shape) noexcept {
  return 2 * shape.heads() * shape.head_dim * sizeof(T);
}

}  // namespace morphkv::memory

#endif  // MORPHKV_TOOLS_MEMORY_EXPECTED_MEMORY_HPP
