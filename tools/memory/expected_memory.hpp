// SPDX-License-Identifier: Apache-2.0
/// \file
/// The bytes of a cache, without allocating it.
#ifndef MORPHKV_TOOLS_MEMORY_EXPECTED_MEMORY_HPP
#define MORPHKV_TOOLS_MEMORY_EXPECTED_MEMORY_HPP

#include <algorithm>
#include <cstddef>
#include <map>

#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/morphkv.hpp"

namespace morphkv::memory {

/// How many layers have each window; 0: none.
[[nodiscard]] inline std::map<std::size_t, std::size_t> layers_of_windows(const CacheShape& shape) {
  if (shape.windows == nullptr) return {{0, shape.layers}};
  std::map<std::size_t, std::size_t> result;
  for (std::size_t layer = 0; layer < shape.layers; ++layer) ++result[shape.window(layer)];
  return result;
}

/// Equal to KVCache<T, Policy>(shape, options).memory(). The heads of layers with one window are
/// equal, and layers share the scratch memory, so a cache of one such head is created and measured.
/// \throws std::invalid_argument where KVCache does
template <Scalar T, EvictionPolicy Policy>
[[nodiscard]] MemoryUsage expected_memory(const CacheShape& shape,
                                          const typename Policy::Options& options) {
  validate(shape);
  MemoryUsage all;
  for (const auto& [window, layers] : layers_of_windows(shape)) {
    CacheShape one_head = shape;
    one_head.layers = one_head.kv_heads = 1;
    one_head.query_heads = shape.group();
    one_head.windows = &window;
    one_head.sinks = one_head.slopes = nullptr;
    const MemoryUsage one = KVCache<T, Policy>(one_head, options).memory();
    const std::size_t heads = layers * shape.kv_heads;
    all += {.keys = heads * one.keys,
            .values = heads * one.values,
            .positions = heads * one.positions,
            .window = heads * one.window,
            .scores = heads * one.scores,
            .history = heads * one.history};
    all.scratch = (std::max)(all.scratch, shape.kv_heads * one.scratch);
  }
  return all;
}

/// The keys and values of `tokens` tokens in a cache that keeps everything, but for what a sliding
/// layer does not see any more.
template <Scalar T>
[[nodiscard]] std::size_t full_bytes(const CacheShape& shape, std::size_t tokens) {
  std::size_t held = 0;
  for (const auto& [window, layers] : layers_of_windows(shape)) {
    held += layers * (window == 0 ? tokens : (std::min)(tokens, window));
  }
  return held * (shape.key_width() + shape.value_width()) * sizeof(T);
}

}  // namespace morphkv::memory

#endif  // MORPHKV_TOOLS_MEMORY_EXPECTED_MEMORY_HPP
