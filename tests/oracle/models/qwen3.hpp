// SPDX-License-Identifier: Apache-2.0
/// \file
/// Qwen3 (arXiv 2505.09388) in double: Llama with a norm of each query and key head.
#ifndef MORPHKV_TESTS_ORACLE_MODELS_QWEN3_HPP
#define MORPHKV_TESTS_ORACLE_MODELS_QWEN3_HPP

#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/models/parts.hpp"

namespace morphkv::oracle {

/// The logits after each token. \param config as in config.json
inline Rows qwen3(const nlohmann::json& config, const ModelWeights& weights,
                  const std::vector<int>& tokens, const Visible& visible) {
  const std::size_t head_dim = config.at("head_dim");
  const double epsilon = config.at("rms_norm_eps");
  const Numbers frequencies = rope_frequencies(head_dim, config.at("rope_theta"));
  const AttentionOptions options{.query_heads = config.at("num_attention_heads"),
                                 .kv_heads = config.at("num_key_value_heads"),
                                 .scale = 1 / std::sqrt(static_cast<double>(head_dim))};
  Rows x = embed(tokens, weights, config.at("hidden_size"));
  for (std::size_t l = 0; l < config.at("num_hidden_layers"); ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    const std::string attn = layer + "self_attn.";
    const auto normed_heads = [&](Rows rows, const std::string& name) {
      for (Numbers& row : rows) {
        for (std::size_t at = 0; at < row.size(); at += head_dim) {
          rms_norm(row.data() + at, weights.at(name), epsilon);
        }
      }
      rotate(rows, head_dim, 0, frequencies, false);
      return rows;
    };
    Rows h = rms_norm(x, weights.at(layer + "input_layernorm.weight"), epsilon);
    const Rows q = normed_heads(linear(h, weights, attn + "q_proj"), attn + "q_norm.weight");
    const Rows k = normed_heads(linear(h, weights, attn + "k_proj"), attn + "k_norm.weight");
    const Rows v = linear(h, weights, attn + "v_proj");
    const auto see = [&](std::size_t head, std::size_t query, std::size_t token) {
      return visible(l, head, query, token);
    };
    add(x, linear(attention(q, k, v, options, see), weights, attn + "o_proj"));
    h = rms_norm(x, weights.at(layer + "post_attention_layernorm.weight"), epsilon);
    add(x, gated_mlp(h, weights, layer + "mlp.", silu));
  }
  return classify(rms_norm(x, weights.at("model.norm.weight"), epsilon), weights);
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_MODELS_QWEN3_HPP
