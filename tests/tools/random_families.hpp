// SPDX-License-Identifier: Apache-2.0
// Random models of families beyond Llama, as folders of their real names, and their oracles.
#ifndef MORPHKV_TESTS_TOOLS_RANDOM_FAMILIES_HPP
#define MORPHKV_TESTS_TOOLS_RANDOM_FAMILIES_HPP

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "oracle/models/deepseek_v2.hpp"
#include "oracle/models/gemma2.hpp"
#include "oracle/models/gpt_oss.hpp"
#include "oracle/models/qwen3.hpp"
#include "support/safetensors.hpp"

namespace morphkv::testing {

using Oracle = oracle::Rows (*)(const nlohmann::json&, const oracle::ModelWeights&,
                                const std::vector<int>&, const oracle::Visible&);

struct RandomFamily {
  std::string name;
  Oracle oracle = nullptr;
  std::vector<bool> slides;  ///< per layer
  nlohmann::json config = {};
  support::Tensors tensors = {};

  [[nodiscard]] oracle::ModelWeights weights() const {
    oracle::ModelWeights result;
    for (const auto& [tensor, value] : tensors) {
      result[tensor] = {value.data.begin(), value.data.end()};
    }
    return result;
  }

  void write(const std::filesystem::path& folder, support::TensorType type) const {
    std::ofstream(folder / "config.json") << config.dump(2);
    support::write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}}, type);
  }
};

/// Adds tensors of numbers that bfloat16 holds exactly.
class TensorMaker {
 public:
  TensorMaker(RandomFamily& family, unsigned seed) : family_(family), random_(seed) {}

  [[nodiscard]] std::size_t size(const char* field) const { return family_.config.at(field); }

  void make(const std::string& name, const std::vector<std::size_t>& shape, float middle = 0) {
    support::Tensor tensor{shape, {}};
    std::size_t count = 1;
    for (const std::size_t extent : shape) count *= extent;
    for (std::size_t i = 0; i < count; ++i) {
      tensor.data.push_back(middle +
                            static_cast<float>(static_cast<int>(random_() % 127) - 63) / 128);
    }
    family_.tensors[name] = std::move(tensor);
  }
  void linear(const std::string& name, std::size_t outputs, std::size_t inputs,
              bool has_bias = false) {
    make(name + ".weight", {outputs, inputs});
    if (has_bias) make(name + ".bias", {outputs});
  }
  void mlp(const std::string& prefix, std::size_t hidden) {
    linear(prefix + "gate_proj", hidden, size("hidden_size"));
    linear(prefix + "up_proj", hidden, size("hidden_size"));
    linear(prefix + "down_proj", size("hidden_size"), hidden);
  }
  void heads(const std::string& prefix, bool has_bias = false) {
    const std::size_t query = size("num_attention_heads") * size("head_dim");
    const std::size_t key = size("num_key_value_heads") * size("head_dim");
    linear(prefix + "q_proj", query, size("hidden_size"), has_bias);
    linear(prefix + "k_proj", key, size("hidden_size"), has_bias);
    linear(prefix + "v_proj", key, size("hidden_size"), has_bias);
    linear(prefix + "o_proj", size("hidden_size"), query, has_bias);
  }
  void ends(float middle_of_norms = 1) {
    make("model.embed_tokens.weight", {size("vocab_size"), size("hidden_size")});
    make("model.norm.weight", {size("hidden_size")}, middle_of_norms);
    if (!family_.config.at("tie_word_embeddings")) {
      linear("lm_head", size("vocab_size"), size("hidden_size"));
    }
  }

 private:
  RandomFamily& family_;
  std::mt19937 random_;
};

[[nodiscard]] inline std::string layer_prefix(std::size_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

[[nodiscard]] inline RandomFamily random_qwen3(bool tied) {
  RandomFamily family{.name = tied ? "qwen3, tied" : "qwen3",
                      .oracle = oracle::qwen3,
                      .slides = std::vector<bool>(3)};
  family.config = {{"architectures", {"Qwen3ForCausalLM"}},
                   {"model_type", "qwen3"},
                   {"attention_bias", false},
                   {"attention_dropout", 0.0},
                   {"head_dim", 10},
                   {"hidden_act", "silu"},
                   {"hidden_size", 24},
                   {"intermediate_size", 40},
                   {"max_position_embeddings", 64},
                   {"max_window_layers", 3},
                   {"num_attention_heads", 4},
                   {"num_hidden_layers", 3},
                   {"num_key_value_heads", 2},
                   {"rms_norm_eps", 1e-6},
                   {"rope_scaling", nullptr},
                   {"rope_theta", 1000000},
                   {"sliding_window", nullptr},
                   {"tie_word_embeddings", tied},
                   {"use_sliding_window", false},
                   {"vocab_size", 31}};
  TensorMaker maker(family, 1);
  maker.ends();
  for (std::size_t l = 0; l < 3; ++l) {
    const std::string layer = layer_prefix(l);
    maker.make(layer + "input_layernorm.weight", {24}, 1);
    maker.make(layer + "post_attention_layernorm.weight", {24}, 1);
    maker.heads(layer + "self_attn.");
    maker.make(layer + "self_attn.q_norm.weight", {10}, 1);
    maker.make(layer + "self_attn.k_norm.weight", {10}, 1);
    maker.mlp(layer + "mlp.", 40);
  }
  return family;
}

/// Soft caps that are low, so that they matter.
[[nodiscard]] inline RandomFamily random_gemma2() {
  RandomFamily family{
      .name = "gemma2", .oracle = oracle::gemma2, .slides = {true, false, true, false}};
  family.config = {{"architectures", {"Gemma2ForCausalLM"}},
                   {"model_type", "gemma2"},
                   {"attention_bias", false},
                   {"attn_logit_softcapping", 1.5},
                   {"cache_implementation", "hybrid"},
                   {"final_logit_softcapping", 4.0},
                   {"head_dim", 8},
                   {"hidden_act", "gelu_pytorch_tanh"},
                   {"hidden_activation", "gelu_pytorch_tanh"},
                   {"hidden_size", 24},
                   {"intermediate_size", 36},
                   {"max_position_embeddings", 64},
                   {"num_attention_heads", 4},
                   {"num_hidden_layers", 4},
                   {"num_key_value_heads", 2},
                   {"query_pre_attn_scalar", 6},
                   {"rms_norm_eps", 1e-6},
                   {"rope_theta", 10000.0},
                   {"sliding_window", 7},
                   {"tie_word_embeddings", true},
                   {"vocab_size", 31}};
  TensorMaker maker(family, 2);
  maker.ends(0);
  for (std::size_t l = 0; l < 4; ++l) {
    const std::string layer = layer_prefix(l);
    for (const char* norm : {"input_layernorm", "post_attention_layernorm",
                             "pre_feedforward_layernorm", "post_feedforward_layernorm"}) {
      maker.make(layer + norm + ".weight", {24});
    }
    maker.heads(layer + "self_attn.");
    maker.mlp(layer + "mlp.", 36);
  }
  return family;
}

/// A clamp that is low, so that it matters, and frequencies on both sides of YaRN's ramp and on it.
[[nodiscard]] inline RandomFamily random_gpt_oss() {
  RandomFamily family{
      .name = "gpt_oss", .oracle = oracle::gpt_oss, .slides = {true, false, true, false}};
  family.config = {{"architectures", {"GptOssForCausalLM"}},
                   {"model_type", "gpt_oss"},
                   {"attention_bias", true},
                   {"experts_per_token", 2},
                   {"head_dim", 12},
                   {"hidden_act", "silu"},
                   {"hidden_size", 24},
                   {"initial_context_length", 16},
                   {"intermediate_size", 20},
                   {"layer_types",
                    {"sliding_attention", "full_attention", "sliding_attention", "full_attention"}},
                   {"max_position_embeddings", 64},
                   {"num_attention_heads", 4},
                   {"num_experts_per_tok", 2},
                   {"num_hidden_layers", 4},
                   {"num_key_value_heads", 2},
                   {"num_local_experts", 5},
                   {"rms_norm_eps", 1e-5},
                   {"rope_scaling",
                    {{"beta_fast", 3.0},
                     {"beta_slow", 0.5},
                     {"factor", 4.0},
                     {"original_max_position_embeddings", 16},
                     {"rope_type", "yarn"},
                     {"truncate", false}}},
                   {"rope_theta", 150},
                   {"router_aux_loss_coef", 0.9},
                   {"sliding_window", 6},
                   {"swiglu_limit", 1.25},
                   {"tie_word_embeddings", false},
                   {"vocab_size", 31}};
  TensorMaker maker(family, 3);
  maker.ends();
  for (std::size_t l = 0; l < 4; ++l) {
    const std::string layer = layer_prefix(l);
    maker.make(layer + "input_layernorm.weight", {24}, 1);
    maker.make(layer + "post_attention_layernorm.weight", {24}, 1);
    maker.heads(layer + "self_attn.", true);
    maker.make(layer + "self_attn.sinks", {4}, 1);
    maker.linear(layer + "mlp.router", 5, 24, true);
    maker.make(layer + "mlp.experts.gate_up_proj", {5, 24, 40});
    maker.make(layer + "mlp.experts.gate_up_proj_bias", {5, 40});
    maker.make(layer + "mlp.experts.down_proj", {5, 20, 24});
    maker.make(layer + "mlp.experts.down_proj_bias", {5, 24});
  }
  return family;
}

/// \param large like DeepSeek-V2 (queries of a low rank, groups of experts, YaRN), or like its Lite
[[nodiscard]] inline RandomFamily random_deepseek_v2(bool large) {
  RandomFamily family{.name = large ? "deepseek_v2" : "deepseek_v2, lite",
                      .oracle = oracle::deepseek_v2,
                      .slides = std::vector<bool>(3)};
  family.config = {{"architectures", {"DeepseekV2ForCausalLM"}},
                   {"model_type", "deepseek_v2"},
                   {"attention_bias", false},
                   {"aux_loss_alpha", 0.001},
                   {"first_k_dense_replace", 1},
                   {"hidden_act", "silu"},
                   {"hidden_size", 24},
                   {"intermediate_size", 40},
                   {"kv_lora_rank", 16},
                   {"max_position_embeddings", 64},
                   {"moe_intermediate_size", 14},
                   {"moe_layer_freq", 1},
                   {"n_group", large ? 3 : 1},
                   {"n_routed_experts", 6},
                   {"n_shared_experts", large ? nlohmann::json(2) : nlohmann::json()},
                   {"norm_topk_prob", false},
                   {"num_attention_heads", 4},
                   {"num_experts_per_tok", 3},
                   {"num_hidden_layers", 3},
                   {"num_key_value_heads", 4},
                   {"q_lora_rank", large ? nlohmann::json(12) : nlohmann::json()},
                   {"qk_nope_head_dim", 5},
                   {"qk_rope_head_dim", 6},
                   {"rms_norm_eps", 1e-5},
                   {"rope_theta", large ? 50 : 10000},
                   {"routed_scaling_factor", large ? 16.0 : 1.0},
                   {"scoring_func", "softmax"},
                   {"seq_aux", true},
                   {"tie_word_embeddings", false},
                   {"topk_group", large ? 2 : 1},
                   {"topk_method", large ? "group_limited_greedy" : "greedy"},
                   {"v_head_dim", 7},
                   {"vocab_size", 31}};
  if (large) {
    family.config["rope_scaling"] = {
        {"beta_fast", 2}, {"beta_slow", 1},        {"factor", 4},
        {"mscale", 0.9},  {"mscale_all_dim", 0.7}, {"original_max_position_embeddings", 16},
        {"type", "yarn"}};
  }
  TensorMaker maker(family, large ? 4 : 5);
  maker.ends();
  for (std::size_t l = 0; l < 3; ++l) {
    const std::string layer = layer_prefix(l);
    const std::string attn = layer + "self_attn.";
    maker.make(layer + "input_layernorm.weight", {24}, 1);
    maker.make(layer + "post_attention_layernorm.weight", {24}, 1);
    if (large) {
      maker.linear(attn + "q_a_proj", 12, 24);
      maker.make(attn + "q_a_layernorm.weight", {12}, 1);
      maker.linear(attn + "q_b_proj", std::size_t{4 * 11}, 12);
    } else {
      maker.linear(attn + "q_proj", std::size_t{4 * 11}, 24);
    }
    maker.linear(attn + "kv_a_proj_with_mqa", 16 + 6, 24);
    maker.make(attn + "kv_a_layernorm.weight", {16}, 1);
    maker.linear(attn + "kv_b_proj", std::size_t{4 * 12}, 16);
    maker.linear(attn + "o_proj", 24, std::size_t{4 * 7});
    if (l < 1) {
      maker.mlp(layer + "mlp.", 40);
      continue;
    }
    maker.linear(layer + "mlp.gate", 6, 24);
    if (large) maker.mlp(layer + "mlp.shared_experts.", std::size_t{2 * 14});
    for (std::size_t e = 0; e < 6; ++e) {
      maker.mlp(layer + "mlp.experts." + std::to_string(e) + ".", 14);
    }
  }
  return family;
}

[[nodiscard]] inline std::vector<RandomFamily> random_families() {
  return {random_qwen3(false), random_qwen3(true),       random_gemma2(),
          random_gpt_oss(),    random_deepseek_v2(true), random_deepseek_v2(false)};
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_TOOLS_RANDOM_FAMILIES_HPP
