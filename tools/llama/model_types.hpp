// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a model type of config.json implies. A family is a row of this table.
#ifndef MORPHKV_TOOLS_LLAMA_MODEL_TYPES_HPP
#define MORPHKV_TOOLS_LLAMA_MODEL_TYPES_HPP

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "llama/config.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama::detail {

/// Which layers attend within sliding_window, where layer_types does not say it.
enum class Sliding {
  never,
  all,
  even,            ///< 0, 2, ...
  from_max_layer,  ///< if use_sliding_window: those from max_window_layers on
  without_rope,    ///< if use_sliding_window: those that do not rotate
};

enum class Experts { none, gpt_oss, deepseek };

struct ModelType {
  std::string_view name;
  bool qkv_bias = false;
  bool attention_bias = false;  ///< the default of the field
  bool qk_norm = false;
  bool fused = false;
  bool tied = false;  ///< the default of tie_word_embeddings
  Sliding sliding = Sliding::never;
  std::size_t window = 0;  ///< the default of sliding_window; 0: none
  double rope_theta = 10000;
  bool latent = false;
  bool sinks = false;
  Experts experts = Experts::none;
  bool gemma = false;  ///< offset and post norms, scaled embedding, GELU, soft caps, its own scale
};

inline constexpr std::array<ModelType, 9> model_types = {{
    {.name = "llama"},
    {.name = "mistral", .sliding = Sliding::all, .window = 4096},
    {.name = "phi3", .fused = true, .sliding = Sliding::all},
    {.name = "qwen2", .qkv_bias = true, .sliding = Sliding::from_max_layer, .window = 4096},
    {.name = "qwen3", .qk_norm = true, .sliding = Sliding::from_max_layer, .window = 4096},
    {.name = "smollm3", .tied = true, .sliding = Sliding::without_rope, .rope_theta = 2e6},
    {.name = "gemma2", .tied = true, .sliding = Sliding::even, .window = 4096, .gemma = true},
    {.name = "gpt_oss",
     .attention_bias = true,
     .sliding = Sliding::even,
     .window = 128,
     .rope_theta = 150000,
     .sinks = true,
     .experts = Experts::gpt_oss},
    {.name = "deepseek_v2", .latent = true, .experts = Experts::deepseek},
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

}  // namespace morphkv::llama::detail

#endif  // MORPHKV_TOOLS_LLAMA_MODEL_TYPES_HPP
