// SPDX-License-Identifier: Apache-2.0
/// \file
/// The shape of a model's cache from its config.json. The model need not be one that tools/llama
/// computes: only its sizes matter here.
#ifndef MORPHKV_TOOLS_MEMORY_MODEL_CONFIG_HPP
#define MORPHKV_TOOLS_MEMORY_MODEL_CONFIG_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama/model_types.hpp"
#include "morphkv/core/shape.hpp"
#include "support/json_file.hpp"

namespace morphkv::memory {

struct ModelConfig {
  std::string type;                  ///< model_type
  CacheShape shape;                  ///< without windows
  std::vector<std::size_t> windows;  ///< [layers] as in CacheShape; empty: no layer slides
  std::size_t trained = 0;           ///< max_position_embeddings; 0: not given

  /// Of the model's cache. It points into this object.
  [[nodiscard]] CacheShape cache_shape() const noexcept {
    CacheShape result = shape;
    if (!windows.empty()) result.windows = windows.data();
    return result;
  }
};

namespace detail {

struct OtherCache {
  const char* field;
  const char* reason;
};

/// Fields of models whose layers do not all cache keys and values of their own for each token, or
/// for a window of them, or whose number of KV heads goes by another name. null, false and 0 mean
/// that the feature is off.
inline constexpr std::array<OtherCache, 12> other_caches = {{
    {"attention_chunk_size", "layers that attend within a chunk keep no more than the chunk"},
    {"full_attention_interval", "the layers between do not cache keys and values"},
    {"hybrid_override_pattern", "not every layer has attention"},
    {"layers_block_type", "not every layer has attention"},
    {"block_types", "not every layer has attention"},
    {"attn_layer_period", "not every layer has attention"},
    {"num_kv_shared_layers", "some layers share a cache"},
    {"cross_attention_layers", "cross attention has a cache of its own"},
    {"is_encoder_decoder", "cross attention has a cache of its own"},
    {"multi_query", "the number of KV heads must be in num_key_value_heads"},
    {"multi_query_attention", "the number of KV heads must be in num_key_value_heads"},
    {"num_kv_heads", "the number of KV heads must be in num_key_value_heads"},
}};

inline void refuse_other_caches(const support::JsonFile& json) {
  for (const auto& [field, reason] : other_caches) {
    if (!json.has(field)) continue;
    const nlohmann::json& value = json.object().at(field);
    if (value == false || value == 0) continue;
    support::fail(json.path(), std::string(field) + " = " + value.dump() +
                                   ": this program cannot count such a cache: " + reason);
  }
}

/// Whether a layer attends within sliding_window, where layer_types does not say it.
[[nodiscard]] inline bool slides(const support::JsonFile& json, std::size_t layer) {
  using llama::detail::Sliding;
  constexpr std::size_t most = std::size_t{1} << 30U;
  if (json.has("sliding_window_pattern")) {  // Gemma 3, Cohere: the last one of so many is full
    return (layer + 1) % json.count("sliding_window_pattern", 1, most) != 0;
  }
  const std::string name = json.has("model_type") ? json.text("model_type") : "";
  for (const llama::detail::ModelType& type : llama::detail::model_types) {
    if (type.name != name) continue;
    if (type.sliding == Sliding::all) return true;
    if (type.sliding == Sliding::even) return layer % 2 == 0;
    if (type.sliding == Sliding::from_max_layer && json.has("max_window_layers")) {
      return layer >= json.count("max_window_layers", 0, most);
    }
  }
  support::fail(json.path(), "sliding_window = " + json.object().at("sliding_window").dump() +
                                 ": this program does not know which layers of a \"" + name +
                                 "\" slide: layer_types must say it");
}

/// \param asked whether layers may slide at all
[[nodiscard]] inline std::vector<bool> sliding_layers(const support::JsonFile& json,
                                                      std::size_t layers, bool asked) {
  std::vector<bool> result(layers);
  if (!json.has("layer_types")) {
    for (std::size_t layer = 0; asked && layer < layers; ++layer)
      result[layer] = slides(json, layer);
    return result;
  }
  const nlohmann::json& types = json.object().at("layer_types");
  support::expect(types.is_array() && types.size() == layers, json.path(), "layer_types",
                  types.dump(), "a list of one text per layer");
  for (std::size_t layer = 0; layer < layers; ++layer) {
    result[layer] = types[layer] == "sliding_attention";
    if (result[layer] || types[layer] == "full_attention" || types[layer] == "attention") continue;
    support::fail(json.path(), "layer_types has " + types[layer].dump() +
                                   ": this program can only count \"full_attention\" and "
                                   "\"sliding_attention\"");
  }
  return result;
}

/// A window that is not shorter than the trained context changes nothing.
inline void read_windows(const support::JsonFile& json, ModelConfig& config) {
  const bool is_optional = config.type == "qwen2" || config.type == "qwen3";
  const auto window = [&] { return json.count("sliding_window", 1, std::size_t{1} << 31U); };
  const bool matters = json.has("sliding_window") &&
                       json.flag("use_sliding_window", !is_optional) &&
                       (config.trained == 0 || window() < config.trained);
  const std::vector<bool> sliding = sliding_layers(json, config.shape.layers, matters);
  if (std::find(sliding.begin(), sliding.end(), true) == sliding.end()) return;
  const std::size_t seen = window();  // which is missing if only layer_types speaks of it
  if (!matters) return;
  for (const bool layer : sliding) config.windows.push_back(layer ? seen : 0);
}

/// The cache of the absorbed form: a latent and a rotated part that serve all query heads, and
/// values that lie in the latent.
inline void read_latent(const support::JsonFile& json, CacheShape& shape) {
  constexpr std::size_t most = std::size_t{1} << 29U;
  shape.value_dim = json.count("kv_lora_rank", 1, most);
  shape.head_dim = shape.value_dim + json.count("qk_rope_head_dim", 1, most);
  shape.kv_heads = 1;
  shape.values_in_keys = true;
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
  refuse_other_caches(json);
  CacheShape& shape = config.shape;
  shape.layers = size("num_hidden_layers");
  shape.query_heads = size("num_attention_heads");
  if (json.has("kv_lora_rank")) {
    read_latent(json, shape);
  } else {
    shape.kv_heads = size_or("num_key_value_heads", [&] { return shape.query_heads; });
    shape.head_dim = size_or("head_dim", [&] {
      const std::size_t hidden = size("hidden_size");
      support::expect(hidden % shape.query_heads == 0, json.path(), "hidden_size", hidden,
                      "a multiple of num_attention_heads = " + std::to_string(shape.query_heads) +
                          ", as there is no head_dim");
      return hidden / shape.query_heads;
    });
  }
  try {
    validate(shape);
  } catch (const std::invalid_argument& error) {
    support::fail(json.path(), error.what());
  }
  read_windows(json, config);
  return config;
}

}  // namespace detail

/// The language model of a Hugging Face config.json, which may be a part of a larger one.
/// \throws std::runtime_error naming the field that is missing, not valid, or of a model whose
///         cache has other parts than keys and values, or latents, per token and layer.
[[nodiscard]] inline ModelConfig read_model_config(const support::JsonFile& json) {
  return detail::read_language_config(json.has("text_config") ? json.part("text_config") : json);
}

}  // namespace morphkv::memory

#endif  // MORPHKV_TOOLS_MEMORY_MODEL_CONFIG_HPP
