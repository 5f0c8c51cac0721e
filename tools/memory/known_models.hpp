// SPDX-License-Identifier: Apache-2.0
/// \file
/// Shapes of models that MorphKV's paper evaluates, from the config.json that comes with their
/// weights.
#ifndef MORPHKV_TOOLS_MEMORY_KNOWN_MODELS_HPP
#define MORPHKV_TOOLS_MEMORY_KNOWN_MODELS_HPP

#include <array>
#include <cstddef>

#include "morphkv/core/shape.hpp"

namespace morphkv::memory {

struct KnownModel {
  const char* name;
  CacheShape shape;     ///< num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim
  std::size_t trained;  ///< tokens of context that it was trained for
};

inline constexpr std::array<KnownModel, 4> known_models = {{
    {"Llama-3.1-8B", {.layers = 32, .query_heads = 32, .kv_heads = 8, .head_dim = 128}, 131072},
    {"Mistral-7B-v0.2", {.layers = 32, .query_heads = 32, .kv_heads = 8, .head_dim = 128}, 32768},
    {"Qwen2.5-7B", {.layers = 28, .query_heads = 28, .kv_heads = 4, .head_dim = 128}, 131072},
    {"Phi-4", {.layers = 40, .query_heads = 40, .kv_heads = 10, .head_dim = 128}, 16384},
}};

}  // namespace morphkv::memory

#endif  // MORPHKV_TOOLS_MEMORY_KNOWN_MODELS_HPP
