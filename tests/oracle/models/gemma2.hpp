// SPDX-License-Identifier: Apache-2.0
/// \file
/// Gemma 2 (arXiv 2408.00118) in double.
#ifndef MORPHKV_TESTS_ORACLE_MODELS_GEMMA2_HPP
#define MORPHKV_TESTS_ORACLE_MODELS_GEMMA2_HPP

#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/models/parts.hpp"

namespace morphkv::oracle {

/// The logits after each token. \param config as in config.json
inline Rows gemma2(const nlohmann::json& config, const ModelWeights& weights,
                   const std::vector<int>& tokens, const Visible& visible) {
  const std::size_t head_dim = config.at("head_dim");
  const double epsilon = config.at("rms_norm_eps");
  const double scalar = config.at("query_pre_attn_scalar");
  const Numbers frequencies = rope_frequencies(head_dim, config.at("rope_theta"));
  const auto norm = [&](const Rows& rows, const std::string& name) {
    return rms_norm(rows, weights.at(name + ".weight"), epsilon, 1);
  };
  const auto gelu = [](double a) {
    return a / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (a + 0.044715 * a * a * a)));
  };
  Rows x = embed(tokens, weights, config.at("hidden_size"));
  for (Numbers& row : x) {
    for (double& element : row) element *= std::sqrt(static_cast<double>(row.size()));
  }
  for (std::size_t l = 0; l < config.at("num_hidden_layers"); ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    const std::string attn = layer + "self_attn.";
    const AttentionOptions options{
        .query_heads = config.at("num_attention_heads"),
        .kv_heads = config.at("num_key_value_heads"),
        .scale = 1 / std::sqrt(scalar),
        .soft_cap = config.at("attn_logit_softcapping"),
        .window = l % 2 == 0 ? config.at("sliding_window").get<std::size_t>() : SIZE_MAX};
    const Rows h = norm(x, layer + "input_layernorm");
    Rows q = linear(h, weights, attn + "q_proj");
    Rows k = linear(h, weights, attn + "k_proj");
    rotate(q, head_dim, 0, frequencies, false);
    rotate(k, head_dim, 0, frequencies, false);
    const auto see = [&](std::size_t head, std::size_t query, std::size_t token) {
      return visible(l, head, query, token);
    };
    const Rows attended = attention(q, k, linear(h, weights, attn + "v_proj"), options, see);
    add(x, norm(linear(attended, weights, attn + "o_proj"), layer + "post_attention_layernorm"));
    const Rows made =
        gated_mlp(norm(x, layer + "pre_feedforward_layernorm"), weights, layer + "mlp.", gelu);
    add(x, norm(made, layer + "post_feedforward_layernorm"));
  }
  Rows logits = classify(norm(x, "model.norm"), weights);
  const double cap = config.at("final_logit_softcapping");
  for (Numbers& row : logits) {
    for (double& logit : row) logit = cap * std::tanh(logit / cap);
  }
  return logits;
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_MODELS_GEMMA2_HPP
