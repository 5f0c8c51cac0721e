// SPDX-License-Identifier: Apache-2.0
/// \file
/// config.json of a Hugging Face folder. What this engine does not compute is refused by name.
#ifndef MORPHKV_TOOLS_LLAMA_HUGGING_FACE_CONFIG_HPP
#define MORPHKV_TOOLS_LLAMA_HUGGING_FACE_CONFIG_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "llama/config.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama {

namespace detail {

/// What a model type implies.
struct ModelType {
  std::string_view name;
  bool qkv_bias = false;
  bool qk_norm = false;
  bool fused = false;
  bool tied = false;             ///< unless tie_word_embeddings says otherwise
  bool slides_if_asked = false;  ///< sliding_window is in effect only with use_sliding_window
};

inline constexpr std::array<ModelType, 6> model_types = {{
    {.name = "llama"},
    {.name = "mistral"},
    {.name = "phi3", .fused = true},
    {.name = "qwen2", .qkv_bias = true, .slides_if_asked = true},
    {.name = "qwen3", .qk_norm = true, .slides_if_asked = true},
    {.name = "smollm3", .tied = true, .slides_if_asked = true},
}};

[[nodiscard]] inline const ModelType& model_type_of(const support::JsonFile& json) {
  const std::string name = json.text("model_type");
  std::string names;
  for (const ModelType& type : model_types) {
    if (type.name == name) return type;
    names += (names.empty() ? "" : ", ") + std::string(type.name);
  }
  support::expect(false, json.path(), "model_type", name, "one of " + names);
  return model_types.front();
}

inline void refuse_what_is_not_computed(const support::JsonFile& json, const ModelType& type,
                                        std::size_t context) {
  support::expect(!json.flag("mlp_bias", false), json.path(), "mlp_bias", "true", "false");
  if (json.has("hidden_act")) {
    const std::string act = json.text("hidden_act");
    support::expect(act == "silu", json.path(), "hidden_act", act, "silu");
  }
  if (json.has("quantization_config")) {
    support::fail(json.path(), "quantization_config: quantised weights are not supported");
  }
  const bool slides = !type.slides_if_asked || json.flag("use_sliding_window", false);
  if (slides && json.has("sliding_window")) {
    const std::size_t window = json.count("sliding_window", 1, largest_size);
    support::expect(window >= context, json.path(), "sliding_window", window,
                    "null, or at least max_position_embeddings = " + std::to_string(context) +
                        ": attention within a window is not supported");
  }
  if (json.has("layer_types")) {
    for (const nlohmann::json& layer : json.object().at("layer_types")) {
      support::expect(layer == "full_attention", json.path(), "layer_types", layer.dump(),
                      "\"full_attention\"");
    }
  }
}

inline void read_yarn(const support::JsonFile& rope, const std::string& field,
                      RopeScaling& scaling) {
  for (const char* name : {"mscale", "mscale_all_dim"}) {
    if (rope.has(name)) support::fail(rope.path(), field + "." + name + " is not supported");
  }
  if (rope.has("beta_fast")) scaling.beta_fast = rope.positive("beta_fast");
  if (rope.has("beta_slow")) scaling.beta_slow = rope.positive("beta_slow");
  scaling.truncate = rope.flag("truncate", true);
  scaling.attention_factor = rope.has("attention_factor") ? rope.positive("attention_factor")
                             : scaling.factor > 1         ? 0.1 * std::log(scaling.factor) + 1
                                                          : 1;
}

inline void read_rope(const support::JsonFile& json, Config& config) {
  if (json.has("rope_theta")) config.rope_theta = json.positive("rope_theta");
  if (json.has("partial_rotary_factor")) {
    const double share = json.positive("partial_rotary_factor");
    support::expect(share == 1, json.path(), "partial_rotary_factor", share, "1");
  }
  // The name of the object, and of its type, has changed over the years.
  const std::string field = json.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!json.has(field)) return;
  const support::JsonFile rope = json.part(field);
  if (rope.has("rope_theta")) config.rope_theta = rope.positive("rope_theta");
  if (rope.has("partial_rotary_factor")) {
    const double share = rope.positive("partial_rotary_factor");
    support::expect(share == 1, json.path(), field + ".partial_rotary_factor", share, "1");
  }
  const char* type_field = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.has(type_field) ? rope.text(type_field) : "default";
  if (type == "default") return;
  RopeScaling scaling;
  const std::array<std::string_view, 3> types = {"linear", "llama3", "yarn"};
  const auto found = std::find(types.begin(), types.end(), type);
  support::expect(found != types.end(), json.path(), field + "." + type_field, type,
                  "default, linear, llama3 or yarn");
  scaling.type = static_cast<RopeScaling::Type>(found - types.begin());
  scaling.factor = rope.positive("factor");
  scaling.original_context = rope.has("original_max_position_embeddings")
                                 ? rope.positive("original_max_position_embeddings")
                                 : static_cast<double>(config.context);
  if (scaling.type == RopeScaling::Type::yarn) read_yarn(rope, field, scaling);
  if (scaling.type == RopeScaling::Type::llama3) {
    scaling.low_frequency_factor = rope.positive("low_freq_factor");
    scaling.high_frequency_factor = rope.positive("high_freq_factor");
    support::expect(scaling.low_frequency_factor < scaling.high_frequency_factor, json.path(),
                    "low_freq_factor", scaling.low_frequency_factor, "below high_freq_factor");
  }
  config.rope_scaling = scaling;
}

/// SmolLM3 does not rotate in every fourth layer: no_rope_layers has a 1 for each layer that does.
inline void read_layers_with_rope(const support::JsonFile& json, Config& config) {
  if (config.model_type != "smollm3") return;
  const std::size_t interval = json.has("no_rope_layer_interval")
                                   ? json.count("no_rope_layer_interval", 1, largest_size)
                                   : 4;
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    config.use_rope.push_back((layer + 1) % interval != 0);
  }
  if (!json.has("no_rope_layers")) return;
  const nlohmann::json& list = json.object().at("no_rope_layers");
  support::expect(list.is_array() && list.size() == config.layers, json.path(), "no_rope_layers",
                  list.dump(), "a list of one number per layer");
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    support::expect(list[layer] == 0 || list[layer] == 1, json.path(), "no_rope_layers",
                    list.dump(), "a list of 0 and 1");
    config.use_rope[layer] = list[layer] == 1;
  }
}

/// A number, a list of numbers, or nothing.
inline void add_stop_tokens(const support::JsonFile& json, std::vector<int>& tokens) {
  if (!json.has("eos_token_id")) return;
  const nlohmann::json& value = json.object().at("eos_token_id");
  for (const nlohmann::json& token : value.is_array() ? value : nlohmann::json::array({value})) {
    support::expect(token.is_number_unsigned() && token.get<std::size_t>() < largest_size,
                    json.path(), "eos_token_id", value.dump(), "a token or a list of tokens");
    const int id = token.get<int>();
    if (std::find(tokens.begin(), tokens.end(), id) == tokens.end()) tokens.push_back(id);
  }
}

}  // namespace detail

/// \throws std::runtime_error naming the field that is missing, not valid or not supported.
[[nodiscard]] inline Config read_config(const support::JsonFile& json) {
  const auto size = [&](const char* field) { return json.count(field, 1, largest_size); };
  const auto size_or = [&](const char* field, std::size_t otherwise) {
    return json.has(field) ? size(field) : otherwise;
  };
  const detail::ModelType& type = detail::model_type_of(json);
  Config config;
  config.model_type = type.name;
  config.dim = size("hidden_size");
  config.hidden = size("intermediate_size");
  config.layers = size("num_hidden_layers");
  config.query_heads = size("num_attention_heads");
  config.kv_heads = size_or("num_key_value_heads", config.query_heads);
  config.head_dim = size_or("head_dim", config.dim / config.query_heads);
  config.vocabulary = size("vocab_size");
  config.context = size_or("max_position_embeddings", 2048);
  config.tied = json.flag("tie_word_embeddings", type.tied);
  config.qkv_bias = type.qkv_bias || json.flag("attention_bias", false);
  config.output_bias = json.flag("attention_bias", false);
  config.qk_norm = type.qk_norm;
  config.fused = type.fused;
  if (json.has("rms_norm_eps")) {
    config.norm_epsilon = static_cast<float>(json.positive("rms_norm_eps"));
  }
  detail::refuse_what_is_not_computed(json, type, config.context);
  detail::read_rope(json, config);
  detail::read_layers_with_rope(json, config);
  detail::add_stop_tokens(json, config.stop_tokens);
  check_heads(config, json.path());
  return config;
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_HUGGING_FACE_CONFIG_HPP
