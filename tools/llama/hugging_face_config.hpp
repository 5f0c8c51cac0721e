// SPDX-License-Identifier: Apache-2.0
/// \file
/// config.json of a Hugging Face folder. What this engine does not compute is refused by name.
#ifndef MORPHKV_TOOLS_LLAMA_HUGGING_FACE_CONFIG_HPP
#define MORPHKV_TOOLS_LLAMA_HUGGING_FACE_CONFIG_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "llama/config.hpp"
#include "llama/config_fields.hpp"
#include "llama/hugging_face_rope.hpp"
#include "llama/model_types.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama {

namespace detail {

[[nodiscard]] inline std::size_t size_of(const support::JsonFile& json, const char* field) {
  return json.count(field, 1, largest_size);
}

[[nodiscard]] inline std::size_t size_or(const support::JsonFile& json, const char* field,
                                         std::size_t otherwise) {
  return json.has(field) ? size_of(json, field) : otherwise;
}

/// A field of which null means 0, and for which there is a default where it is missing.
[[nodiscard]] inline double positive_or_null(const support::JsonFile& json, const char* field,
                                             double otherwise) {
  if (json.has(field)) return json.positive(field);
  return json.object().contains(field) ? 0 : otherwise;
}

inline void expect_text(const support::JsonFile& json, const char* field, const char* allowed) {
  if (!json.has(field)) return;
  const std::string text = json.text(field);
  support::expect(text == allowed, json.path(), field, text, allowed);
}

inline void expect_false(const support::JsonFile& json, const char* field) {
  support::expect(!json.flag(field, false), json.path(), field, "true", "false");
}

/// Whether each layer attends within sliding_window.
[[nodiscard]] inline std::vector<bool> sliding_layers(const support::JsonFile& json,
                                                      const ModelType& type, const Config& config) {
  std::vector<bool> slides(config.layers, type.sliding == Sliding::all);
  if (type.sliding == Sliding::never || type.sliding == Sliding::all) return slides;
  const std::size_t first = json.has("max_window_layers")
                                ? json.count("max_window_layers", 0, largest_size)
                                : 28;  // as transformers has it
  const bool asked = type.sliding == Sliding::even || json.flag("use_sliding_window", false);
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    slides[layer] = asked && (type.sliding == Sliding::even             ? layer % 2 == 0
                              : type.sliding == Sliding::from_max_layer ? layer >= first
                                                                        : !config.use_rope[layer]);
  }
  if (!json.has("layer_types")) return slides;
  const nlohmann::json& list = json.object().at("layer_types");
  support::expect(list.is_array() && list.size() == config.layers, json.path(), "layer_types",
                  list.dump(), "a list of one text per layer");
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    slides[layer] = list[layer] == "sliding_attention";
    support::expect(list[layer] == "full_attention" || (slides[layer] && asked), json.path(),
                    "layer_types", list[layer].dump(),
                    asked ? R"("full_attention" or "sliding_attention")"
                          : R"("full_attention", as use_sliding_window is not true)");
  }
  return slides;
}

inline void read_windows(const support::JsonFile& json, const ModelType& type, Config& config) {
  const std::vector<bool> slides = sliding_layers(json, type, config);
  if (type.sliding == Sliding::never) return;
  std::size_t window = json.object().contains("sliding_window") ? 0 : type.window;
  if (json.has("sliding_window")) window = size_of(json, "sliding_window");
  if (window == 0 || window >= config.context) return;
  if (std::find(slides.begin(), slides.end(), true) == slides.end()) return;
  for (const bool layer : slides) config.windows.push_back(layer ? window : 0);
}

/// Multi-head latent attention, whose cache has one head.
inline void read_latent_attention(const support::JsonFile& json, Config& config) {
  LatentAttention latent;
  latent.query_rank = size_or(json, "q_lora_rank", 0);
  latent.latent_dim = size_of(json, "kv_lora_rank");
  latent.plain_dim = size_of(json, "qk_nope_head_dim");
  latent.rotated_dim = size_of(json, "qk_rope_head_dim");
  latent.value_dim = size_of(json, "v_head_dim");
  const double factor = config.rope_scaling ? config.rope_scaling->latent_logit_factor : 1;
  config.attention_scale =
      factor / std::sqrt(static_cast<double>(latent.plain_dim + latent.rotated_dim));
  config.latent = latent;
  config.kv_heads = 1;
  config.head_dim = latent.latent_dim + latent.rotated_dim;
  config.rope_pairs = RopePairs::neighbours;
}

[[nodiscard]] inline Mixture read_gpt_oss_experts(const support::JsonFile& json) {
  Mixture mixture;
  mixture.experts = size_of(json, "num_local_experts");
  mixture.per_token = size_of(json, "num_experts_per_tok");
  mixture.hidden = size_of(json, "intermediate_size");
  return mixture;
}

[[nodiscard]] inline Mixture read_deepseek_experts(const support::JsonFile& json) {
  Mixture mixture;
  mixture.experts = size_of(json, "n_routed_experts");
  mixture.per_token = size_of(json, "num_experts_per_tok");
  mixture.hidden = size_of(json, "moe_intermediate_size");
  if (json.has("n_shared_experts")) {
    mixture.shared_hidden = mixture.hidden * json.count("n_shared_experts", 0, 1U << 16U);
  }
  if (json.has("first_k_dense_replace")) {
    mixture.first_layer = json.count("first_k_dense_replace", 0, largest_size);
  }
  mixture.softmax_of_the_chosen = false;
  if (json.has("routed_scaling_factor")) mixture.scale = json.positive("routed_scaling_factor");
  expect_text(json, "scoring_func", "softmax");
  expect_false(json, "norm_topk_prob");
  support::expect(size_or(json, "moe_layer_freq", 1) == 1, json.path(), "moe_layer_freq",
                  size_or(json, "moe_layer_freq", 1), "1");
  const std::string method = json.has("topk_method") ? json.text("topk_method") : "greedy";
  const std::size_t groups = size_or(json, "n_group", 1);
  const std::size_t groups_per_token = size_or(json, "topk_group", 1);
  if (method == "greedy") return mixture;
  support::expect(method == "group_limited_greedy", json.path(), "topk_method", method,
                  "greedy or group_limited_greedy");
  mixture.groups = groups;
  mixture.groups_per_token = groups_per_token;
  support::expect(mixture.experts % groups == 0, json.path(), "n_group", groups,
                  "a divisor of n_routed_experts = " + std::to_string(mixture.experts));
  support::expect(groups_per_token <= groups, json.path(), "topk_group", groups_per_token,
                  "at most n_group = " + std::to_string(groups));
  return mixture;
}

inline void read_experts(const support::JsonFile& json, Experts experts, Config& config) {
  if (experts == Experts::none) return;
  const bool packed = experts == Experts::gpt_oss;
  config.mixture = packed ? read_gpt_oss_experts(json) : read_deepseek_experts(json);
  const Mixture& mixture = *config.mixture;
  const std::size_t candidates = mixture.experts / mixture.groups * mixture.groups_per_token;
  support::expect(mixture.per_token <= candidates, json.path(), "num_experts_per_tok",
                  mixture.per_token, "at most the experts = " + std::to_string(candidates));
  config.packed_experts = packed;
  if (!packed) return;
  config.gate = Gate::clamped_silu;
  if (json.has("swiglu_limit")) config.gate_limit = json.positive("swiglu_limit");
}

inline void read_gemma(const support::JsonFile& json, Config& config) {
  config.norm_offset = config.post_norms = true;
  config.embedding_scale = std::sqrt(static_cast<double>(config.dim));
  config.gate = Gate::gelu_tanh;
  expect_text(json, "hidden_activation", "gelu_pytorch_tanh");
  const double scalar =
      json.has("query_pre_attn_scalar") ? json.positive("query_pre_attn_scalar") : 256;
  config.attention_scale = 1 / std::sqrt(scalar);
  config.attention_soft_cap = positive_or_null(json, "attn_logit_softcapping", 50);
  config.final_soft_cap = positive_or_null(json, "final_logit_softcapping", 30);
  expect_false(json, "use_bidirectional_attention");
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
  using detail::size_of;
  using detail::size_or;
  const detail::ModelType& type = detail::model_type_of(json);
  Config config;
  config.model_type = type.name;
  if (json.has("quantization_config")) {
    const support::JsonFile quantised = json.part("quantization_config");
    const std::string method =
        quantised.has("quant_method") ? quantised.text("quant_method") : "unknown";
    support::expect(false, json.path(), "quantization_config.quant_method", method,
                    "absent: quantised weights are not supported");
  }
  config.dim = size_of(json, "hidden_size");
  config.hidden = size_of(json, "intermediate_size");
  config.layers = size_of(json, "num_hidden_layers");
  config.query_heads = size_of(json, "num_attention_heads");
  config.kv_heads = size_or(json, "num_key_value_heads", config.query_heads);
  config.head_dim = size_or(json, "head_dim", config.dim / config.query_heads);
  config.vocabulary = size_of(json, "vocab_size");
  config.context = size_or(json, "max_position_embeddings", 2048);
  config.norm_epsilon = static_cast<float>(json.positive("rms_norm_eps"));
  config.tied = json.flag("tie_word_embeddings", type.tied);
  config.output_bias = json.flag("attention_bias", type.attention_bias);
  config.qkv_bias = type.qkv_bias || config.output_bias;
  config.mlp_bias = json.flag("mlp_bias", false);
  config.qk_norm = type.qk_norm;
  config.fused = type.fused;
  config.sinks = type.sinks;
  detail::expect_text(json, "hidden_act", type.gemma ? "gelu_pytorch_tanh" : "silu");
  detail::expect_false(json, "rope_interleaved");
  detail::expect_false(json, "use_mrope");
  detail::read_rope(json, type.rope_theta, config);
  detail::read_layers_with_rope(json, config);
  detail::read_windows(json, type, config);
  if (type.latent) detail::read_latent_attention(json, config);
  detail::read_experts(json, type.experts, config);
  if (type.gemma) detail::read_gemma(json, config);
  detail::add_stop_tokens(json, config.stop_tokens);
  detail::refuse_unknown_fields(json);
  check_heads(config, json.path());
  return config;
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_HUGGING_FACE_CONFIG_HPP
