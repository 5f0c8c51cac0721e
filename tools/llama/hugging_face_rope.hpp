// SPDX-License-Identifier: Apache-2.0
/// \file
/// RoPE in config.json.
#ifndef MORPHKV_TOOLS_LLAMA_HUGGING_FACE_ROPE_HPP
#define MORPHKV_TOOLS_LLAMA_HUGGING_FACE_ROPE_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "llama/config.hpp"
#include "llama/config_fields.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama::detail {

inline void refuse_partial_rotation(const support::JsonFile& json) {
  if (!json.has("partial_rotary_factor")) return;
  const double share = json.positive("partial_rotary_factor");
  support::expect(share == 1, json.path(), "partial_rotary_factor", share, "1");
}

inline void read_yarn(const support::JsonFile& rope, RopeScaling& scaling) {
  if (rope.has("beta_fast")) scaling.beta_fast = rope.positive("beta_fast");
  if (rope.has("beta_slow")) scaling.beta_slow = rope.positive("beta_slow");
  scaling.truncate = rope.flag("truncate", true);
  const auto magnitude = [&](double weight) {
    return scaling.factor > 1 ? 0.1 * weight * std::log(scaling.factor) + 1 : 1;
  };
  scaling.attention_factor = magnitude(1);
  support::expect(rope.has("mscale") == rope.has("mscale_all_dim"), rope.path(), "mscale",
                  rope.has("mscale") ? "given" : "missing", "given beside mscale_all_dim, or not");
  if (rope.has("mscale")) {
    const double all = magnitude(rope.positive("mscale_all_dim"));
    scaling.attention_factor = magnitude(rope.positive("mscale")) / all;
    // As in DeepSeek's own code; DeepSeek-V2 of transformers 5.2 leaves it out.
    scaling.latent_logit_factor = all * all;
  }
  if (rope.has("attention_factor")) {
    scaling.attention_factor = rope.positive("attention_factor");
  }
}

/// The context that a model was first trained on; transformers takes it from either place.
[[nodiscard]] inline double original_context(const support::JsonFile& json,
                                             const support::JsonFile& rope, const Config& config) {
  constexpr const char* field = "original_max_position_embeddings";
  if (json.has(field)) return json.positive(field);
  return rope.has(field) ? rope.positive(field) : static_cast<double>(config.context);
}

[[nodiscard]] inline RopeScaling read_scaling(const support::JsonFile& json,
                                              const support::JsonFile& rope,
                                              const std::string& type, const Config& config) {
  RopeScaling scaling;
  const std::array<std::string_view, 3> types = {"linear", "llama3", "yarn"};
  const auto found = std::find(types.begin(), types.end(), type);
  support::expect(found != types.end(), rope.path(), "rope_scaling.type", type,
                  "default, linear, llama3 or yarn");
  scaling.type = static_cast<RopeScaling::Type>(found - types.begin());
  scaling.factor = rope.positive("factor");
  scaling.original_context = original_context(json, rope, config);
  if (scaling.type == RopeScaling::Type::yarn) read_yarn(rope, scaling);
  if (scaling.type == RopeScaling::Type::llama3) {
    scaling.low_frequency_factor = rope.positive("low_freq_factor");
    scaling.high_frequency_factor = rope.positive("high_freq_factor");
    support::expect(scaling.low_frequency_factor < scaling.high_frequency_factor, rope.path(),
                    "low_freq_factor", scaling.low_frequency_factor, "below high_freq_factor");
  }
  return scaling;
}

inline void read_rope(const support::JsonFile& json, double default_theta, Config& config) {
  config.rope_theta = json.has("rope_theta") ? json.positive("rope_theta") : default_theta;
  refuse_partial_rotation(json);
  (void)json.has("original_max_position_embeddings");  // of no effect where nothing is scaled
  // The name of the object, and of its type, has changed over the years.
  const std::string field = json.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!json.has(field)) return;
  const support::JsonFile rope = json.part(field);
  if (rope.has("rope_theta")) config.rope_theta = rope.positive("rope_theta");
  refuse_partial_rotation(rope);
  std::string type = rope.has("type") ? rope.text("type") : "default";
  if (rope.has("rope_type")) type = rope.text("rope_type");
  if (type != "default") config.rope_scaling = read_scaling(json, rope, type, config);
  refuse_unknown_fields(rope, field + ".");
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

}  // namespace morphkv::llama::detail

#endif  // MORPHKV_TOOLS_LLAMA_HUGGING_FACE_ROPE_HPP
