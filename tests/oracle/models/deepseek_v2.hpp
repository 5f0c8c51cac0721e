// SPDX-License-Identifier: Apache-2.0
/// \file
/// DeepSeek V2 (arXiv 2405.04434) in double: keys and values of every head are made from the
/// latents, as in training, and nothing is absorbed.
#ifndef MORPHKV_TESTS_ORACLE_MODELS_DEEPSEEK_V2_HPP
#define MORPHKV_TESTS_ORACLE_MODELS_DEEPSEEK_V2_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/models/parts.hpp"

namespace morphkv::oracle {

/// The experts of a token are those of the best groups, where groups limit them.
inline Numbers deepseek_experts(const nlohmann::json& config, const ModelWeights& weights,
                                const std::string& mlp, const Numbers& x) {
  const std::size_t experts = config.at("n_routed_experts");
  Numbers share = linear({x}, weights, mlp + "gate")[0];
  double total = 0;
  for (double& logit : share) total += logit = std::exp(logit);
  for (double& each : share) each /= total;
  Numbers allowed = share;
  if (config.at("topk_method") == "group_limited_greedy") {
    const std::size_t groups = config.at("n_group");
    const std::size_t size = experts / groups;
    Numbers best(groups);
    for (std::size_t e = 0; e < experts; ++e) best[e / size] = std::max(best[e / size], share[e]);
    const auto kept = largest(best, config.at("topk_group"));
    for (std::size_t e = 0; e < experts; ++e) {
      if (std::find(kept.begin(), kept.end(), e / size) == kept.end()) allowed[e] = 0;
    }
  }
  Numbers out(x.size());
  for (const std::size_t e : largest(allowed, config.at("num_experts_per_tok"))) {
    const Rows made = gated_mlp({x}, weights, mlp + "experts." + std::to_string(e) + ".", silu);
    const double weight = share[e] * config.at("routed_scaling_factor").get<double>();
    for (std::size_t i = 0; i < x.size(); ++i) out[i] += weight * made[0][i];
  }
  return out;
}

/// The logits after each token. \param config as in config.json
inline Rows deepseek_v2(const nlohmann::json& config, const ModelWeights& weights,
                        const std::vector<int>& tokens, const Visible& visible) {
  const std::size_t heads = config.at("num_attention_heads");
  const std::size_t latent_dim = config.at("kv_lora_rank");
  const std::size_t plain = config.at("qk_nope_head_dim");
  const std::size_t rotated = config.at("qk_rope_head_dim");
  const std::size_t value_dim = config.at("v_head_dim");
  const std::size_t head_dim = plain + rotated;
  const double epsilon = config.at("rms_norm_eps");
  const double latent_epsilon = 1e-6;
  double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  double magnitude = 1;
  Numbers frequencies = rope_frequencies(rotated, config.at("rope_theta"));
  if (config.contains("rope_scaling")) {
    const nlohmann::json& scaling = config.at("rope_scaling");
    const auto mscale = [&](const char* field) {
      return 0.1 * scaling.at(field).get<double>() * std::log(scaling.at("factor").get<double>()) +
             1;
    };
    frequencies = yarn_frequencies(rotated, config.at("rope_theta"), scaling);
    magnitude = mscale("mscale") / mscale("mscale_all_dim");
    scale *= mscale("mscale_all_dim") * mscale("mscale_all_dim");
  }
  Rows x = embed(tokens, weights, config.at("hidden_size"));
  for (std::size_t l = 0; l < config.at("num_hidden_layers"); ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    const std::string attn = layer + "self_attn.";
    Rows h = rms_norm(x, weights.at(layer + "input_layernorm.weight"), epsilon);
    Rows q;
    if (config.at("q_lora_rank").is_null()) {
      q = linear(h, weights, attn + "q_proj");
    } else {
      const Rows low = rms_norm(linear(h, weights, attn + "q_a_proj"),
                                weights.at(attn + "q_a_layernorm.weight"), latent_epsilon);
      q = linear(low, weights, attn + "q_b_proj");
    }
    rotate(q, head_dim, plain, frequencies, true, magnitude);
    Rows latents;
    Rows shared_keys;
    for (const Numbers& row : linear(h, weights, attn + "kv_a_proj_with_mqa")) {
      const auto middle = row.begin() + static_cast<std::ptrdiff_t>(latent_dim);
      latents.emplace_back(row.begin(), middle);
      shared_keys.emplace_back(middle, row.end());
    }
    rotate(shared_keys, rotated, 0, frequencies, true, magnitude);
    latents = rms_norm(latents, weights.at(attn + "kv_a_layernorm.weight"), latent_epsilon);
    const Rows both = linear(latents, weights, attn + "kv_b_proj");
    Rows k(x.size());
    Rows v(x.size());
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t head = 0; head < heads; ++head) {
        const double* own = both[t].data() + head * (plain + value_dim);
        k[t].insert(k[t].end(), own, own + plain);
        k[t].insert(k[t].end(), shared_keys[t].begin(), shared_keys[t].end());
        v[t].insert(v[t].end(), own + plain, own + plain + value_dim);
      }
    }
    const auto see = [&](std::size_t, std::size_t query, std::size_t token) {
      return visible(l, 0, query, token);  // one latent for all heads
    };
    const AttentionOptions options{.query_heads = heads, .kv_heads = heads, .scale = scale};
    add(x, linear(attention(q, k, v, options, see), weights, attn + "o_proj"));
    h = rms_norm(x, weights.at(layer + "post_attention_layernorm.weight"), epsilon);
    const std::string mlp = layer + "mlp.";
    if (l < config.at("first_k_dense_replace")) {
      add(x, gated_mlp(h, weights, mlp, silu));
      continue;
    }
    if (!config.at("n_shared_experts").is_null()) {
      add(x, gated_mlp(h, weights, mlp + "shared_experts.", silu));
    }
    for (Numbers& row : h) row = deepseek_experts(config, weights, mlp, row);
    add(x, h);
  }
  return classify(rms_norm(x, weights.at("model.norm.weight"), epsilon), weights);
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_MODELS_DEEPSEEK_V2_HPP
