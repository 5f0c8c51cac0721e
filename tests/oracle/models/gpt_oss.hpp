// SPDX-License-Identifier: Apache-2.0
/// \file
/// gpt-oss (arXiv 2508.10925) in double.
#ifndef MORPHKV_TESTS_ORACLE_MODELS_GPT_OSS_HPP
#define MORPHKV_TESTS_ORACLE_MODELS_GPT_OSS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/models/parts.hpp"

namespace morphkv::oracle {

/// What the experts of a token make of it. Their tensors are [experts][inputs][outputs].
inline Numbers gpt_oss_experts(const nlohmann::json& config, const ModelWeights& weights,
                               const std::string& mlp, const Numbers& x) {
  const std::size_t dim = x.size();
  const std::size_t hidden = config.at("intermediate_size");
  const double limit = config.value("swiglu_limit", 7.0);
  const Numbers logits = linear({x}, weights, mlp + "router")[0];
  const auto chosen = largest(logits, config.at("num_experts_per_tok"));
  double total = 0;
  for (const std::size_t expert : chosen) total += std::exp(logits[expert]);
  Numbers out(dim);
  for (const std::size_t expert : chosen) {
    const double* both =
        weights.at(mlp + "experts.gate_up_proj").data() + expert * dim * 2 * hidden;
    const double* both_bias =
        weights.at(mlp + "experts.gate_up_proj_bias").data() + expert * 2 * hidden;
    const double* down = weights.at(mlp + "experts.down_proj").data() + expert * hidden * dim;
    const double* down_bias = weights.at(mlp + "experts.down_proj_bias").data() + expert * dim;
    Numbers made(down_bias, down_bias + dim);
    for (std::size_t j = 0; j < hidden; ++j) {
      double gate = both_bias[2 * j];
      double up = both_bias[2 * j + 1];
      for (std::size_t i = 0; i < dim; ++i) {
        gate += x[i] * both[i * 2 * hidden + 2 * j];
        up += x[i] * both[i * 2 * hidden + 2 * j + 1];
      }
      gate = std::min(gate, limit);
      up = std::clamp(up, -limit, limit);
      const double value = gate / (1 + std::exp(-1.702 * gate)) * (up + 1);
      for (std::size_t i = 0; i < dim; ++i) made[i] += value * down[j * dim + i];
    }
    for (std::size_t i = 0; i < dim; ++i) out[i] += std::exp(logits[expert]) / total * made[i];
  }
  return out;
}

/// The logits after each token. \param config as in config.json
inline Rows gpt_oss(const nlohmann::json& config, const ModelWeights& weights,
                    const std::vector<int>& tokens, const Visible& visible) {
  const std::size_t head_dim = config.at("head_dim");
  const double epsilon = config.at("rms_norm_eps");
  const nlohmann::json& scaling = config.at("rope_scaling");
  const Numbers frequencies = yarn_frequencies(head_dim, config.at("rope_theta"), scaling);
  const double magnitude = 0.1 * std::log(scaling.at("factor").get<double>()) + 1;
  Rows x = embed(tokens, weights, config.at("hidden_size"));
  for (std::size_t l = 0; l < config.at("num_hidden_layers"); ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    const std::string attn = layer + "self_attn.";
    const bool slides = config.at("layer_types")[l] == "sliding_attention";
    const AttentionOptions options{
        .query_heads = config.at("num_attention_heads"),
        .kv_heads = config.at("num_key_value_heads"),
        .scale = 1 / std::sqrt(static_cast<double>(head_dim)),
        .sinks = weights.at(attn + "sinks").data(),
        .window = slides ? config.at("sliding_window").get<std::size_t>() : SIZE_MAX};
    Rows h = rms_norm(x, weights.at(layer + "input_layernorm.weight"), epsilon);
    Rows q = linear(h, weights, attn + "q_proj");
    Rows k = linear(h, weights, attn + "k_proj");
    rotate(q, head_dim, 0, frequencies, false, magnitude);
    rotate(k, head_dim, 0, frequencies, false, magnitude);
    const auto see = [&](std::size_t head, std::size_t query, std::size_t token) {
      return visible(l, head, query, token);
    };
    const Rows v = linear(h, weights, attn + "v_proj");
    add(x, linear(attention(q, k, v, options, see), weights, attn + "o_proj"));
    h = rms_norm(x, weights.at(layer + "post_attention_layernorm.weight"), epsilon);
    for (Numbers& row : h) row = gpt_oss_experts(config, weights, layer + "mlp.", row);
    add(x, h);
  }
  return classify(rms_norm(x, weights.at("model.norm.weight"), epsilon), weights);
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_MODELS_GPT_OSS_HPP
