// SPDX-License-Identifier: Apache-2.0
/// \file
/// The shape of a model's cache from its config.json. The model need not be one that tools/llama
/// computes: only its sizes matter here.
#ifndef MORPHKV_TOOLS_MEMORY_MODEL_CONFIG_HPP
#define MORPHKV_TOOLS_MEMORY_MODEL_CONFIG_HPP

#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "morphkv/core/shape.hpp"
#include "support/json_file.hpp"

namespace morphkv::memory {

struct ModelConfig {
  std::string type;  ///< model_type
  CacheShape shape;
  std::size_t trained = 0;  ///< max_position_embeddings; 0: not given
};

namespace detail {

struct OtherCache {
  const char* field;
  const char* reason;
};

/// Fields of models that do not have one key and one value per token, KV head and layer, or whose
/// number of KV heads goes by another name. null, false and 0 mean that the feature is off.
inline constexpr std::array<OtherCache, 14> other_caches = {{
    {"kv_lora_rank", "latent attention (MLA) caches one vector per token and layer"},
    {"attention_chunk_size", "layers that attend within a chunk keep no more than the chunk"},
    {"full_attention_interval", "the layers between do not cache keys and values"},
    {"hybrid_override_pattern", "not every layer has attention"},
    {"layers_block_type", "not every layer has attention"},
    {"block_types", "not every layer has attention"},
    {"attn_layer_period", "not every layer has attention"},
    {"sliding_window_pattern", "layers that attend within a window keep no more than the window"},
    {"num_kv_shared_layers", "some layers share a cache"},
    {"cross_attention_layers", "cross attention has a cache of its own"},
    {"is_encoder_decoder", "cross attention has a cache of its own"},
    {"multi_query", "the number of KV heads must be in num_key_value_heads"},
    {"multi_query_attention", "the number of KV heads must be in num_key_value_heads"},
    {"num_kv_heads", "the number of KV heads must be in num_key_value_heads"},
}};

inline void refuse_other_caches(const support::JsonFile& json, std::size_t trained) {
  for (const auto& [field, reason] : other_caches) {
    if (!json.has(field)) continue;
    const nlohmann::json& value = json.object().at(field);
    if (value == false || value == 0) continue;
    support::fail(json.path(), std::string(field) + " = " + value.dump() +
                                   ": this program cannot count such a cache: " + reason);
  }
  if (json.flag("use_sliding_window", true) && json.has("sliding_window")) {
    const std::size_t window = json.count("sliding_window", 1, std::size_t{1} << 31U);
    if (trained == 0 || window < trained) {
      support::fail(json.path(), "sliding_window = " + std::to_string(window) +
                                     ": this program cannot count such a cache: layers that "
                                     "attend within a window keep no more than the window");
    }
  }
  if (json.has("layer_types")) {
    for (const nlohmann::json& layer : json.object().at("layer_types")) {
      if (layer == "full_attention" || layer == "attention") continue;
      support::fail(json.path(), "layer_types has " + layer.dump() +
                                     ": this program can only count \"full_attention\"");
    }
  }
}

[[nodiscard]] inline ModelConfig read_language_config(const support::JsonFile& json) {
  constexpr std::size_t most = std::size_t{1} << 30U;  // as validate(CacheShape)
  const auto size = [&](const char* field) { return json.count(field, 1, most); };
  const auto size_or = [&](const char* field, auto otherwise) {
    return json.has(field) ? size(field) : otherwise();
  };
  ModelConfig config;
  config.type = json.has("model_type") ? json.text("model_type") : "model";
  config.trained = size_or("max_position_embeddings", [] { return std::size_t{0}; });
  refuse_other_caches(json, config.trained);
  CacheShape& shape = config.shape;
  shape.layers = size("num_hidden_layers");
  shape.query_heads = size("num_attention_heads");
  shape.kv_heads = size_or("num_key_value_heads", [&] { return shape.query_heads; });
  shape.head_dim = size_or("head_dim", [&] {
    const std::size_t hidden = size("hidden_size");
    support::expect(hidden % shape.query_heads == 0, json.path(), "hidden_size", hidden,
                    "a multiple of num_attention_heads = " + std::to_string(shape.query_heads) +
                        ", as there is no head_dim");
    return hidden / shape.query_heads;
  });
  try {
    validate(shape);
  } catch (const std::invalid_argument& error) {
    support::fail(json.path(), error.what());
  }
  return config;
}

}  // namespace detail

/// The language model of a Hugging Face config.json, which may be a part of a larger one.
/// \throws std::runtime_error naming the field that is missing, not valid, or of a model whose
///         cache is not one key and one value per token, KV head and layer.
[[nodiscard]] inline ModelConfig read_model_config(const support::JsonFile& json) {
  return detail::read_language_config(json.has("text_config") ? json.part("text_config") : json);
}

}  // namespace morphkv::memory

#endif  // MORPHKV_TOOLS_MEMORY_MODEL_CONFIG_HPP
