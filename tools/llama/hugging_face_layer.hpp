// SPDX-License-Identifier: Apache-2.0
/// \file
/// The tensors of a layer in a Hugging Face folder.
#ifndef MORPHKV_TOOLS_LLAMA_HUGGING_FACE_LAYER_HPP
#define MORPHKV_TOOLS_LLAMA_HUGGING_FACE_LAYER_HPP

#include <cstddef>
#include <string>
#include <vector>

#include "llama/config.hpp"
#include "llama/model.hpp"
#include "llama/tensor_folder.hpp"

namespace morphkv::llama::detail {

[[nodiscard]] inline RowVector read_norm(TensorFolder& tensors, const Config& c,
                                         const std::string& name, std::size_t size) {
  RowVector norm = tensors.vector(name + ".weight", size);
  if (c.norm_offset) norm.array() += 1;
  return norm;
}

/// Queries, keys and values of `prefix`.
inline void read_projections(TensorFolder& tensors, const Config& c, const std::string& prefix,
                             Layer& layer) {
  if (c.fused) {
    const Weights all =
        tensors.matrix(prefix + "qkv_proj.weight", c.query_dim() + 2 * c.kv_dim(), c.dim);
    layer.query.weights = all.middle_rows(0, c.query_dim());
    layer.key.weights = all.middle_rows(c.query_dim(), c.kv_dim());
    layer.value.weights = all.middle_rows(c.query_dim() + c.kv_dim(), c.kv_dim());
  } else {
    layer.query = tensors.linear(prefix + "q_proj", c.query_dim(), c.dim, c.qkv_bias);
    layer.key = tensors.linear(prefix + "k_proj", c.kv_dim(), c.dim, c.qkv_bias);
    layer.value = tensors.linear(prefix + "v_proj", c.kv_dim(), c.dim, c.qkv_bias);
  }
  if (c.qk_norm) {
    layer.query_norm = read_norm(tensors, c, prefix + "q_norm", c.head_dim);
    layer.key_norm = read_norm(tensors, c, prefix + "k_norm", c.head_dim);
  }
}

/// The same of latent attention.
inline void read_latent_projections(TensorFolder& tensors, const Config& c,
                                    const std::string& prefix, Layer& layer) {
  const LatentAttention& l = *c.latent;
  const std::size_t query_dim = c.query_heads * (l.plain_dim + l.rotated_dim);
  if (l.query_rank > 0) {
    layer.query_down = tensors.linear(prefix + "q_a_proj", l.query_rank, c.dim, c.qkv_bias);
    layer.query_down_norm = read_norm(tensors, c, prefix + "q_a_layernorm", l.query_rank);
    layer.query = tensors.linear(prefix + "q_b_proj", query_dim, l.query_rank);
  } else {
    layer.query = tensors.linear(prefix + "q_proj", query_dim, c.dim);
  }
  layer.key = tensors.linear(prefix + "kv_a_proj_with_mqa", c.head_dim, c.dim, c.qkv_bias);
  layer.key_norm = read_norm(tensors, c, prefix + "kv_a_layernorm", l.latent_dim);
  const std::size_t rows = l.plain_dim + l.value_dim;  // of a head
  const Weights both =
      tensors.matrix(prefix + "kv_b_proj.weight", c.query_heads * rows, l.latent_dim);
  for (std::size_t head = 0; head < c.query_heads; ++head) {
    layer.query_up.push_back(both.middle_rows(head * rows, l.plain_dim).transposed());
    layer.value_up.push_back(both.middle_rows(head * rows + l.plain_dim, l.value_dim));
  }
}

inline void read_attention(TensorFolder& tensors, const Config& c, const std::string& prefix,
                           Layer& layer) {
  if (c.latent) {
    read_latent_projections(tensors, c, prefix, layer);
  } else {
    read_projections(tensors, c, prefix, layer);
  }
  const std::size_t value_dim = c.latent ? c.latent->value_dim : c.head_dim;
  layer.output = tensors.linear(prefix + "o_proj", c.dim, c.query_heads * value_dim, c.output_bias);
}

[[nodiscard]] inline Mlp read_mlp(TensorFolder& tensors, const Config& c, const std::string& prefix,
                                  std::size_t hidden) {
  Mlp mlp;
  if (c.fused) {
    const Weights both = tensors.matrix(prefix + "gate_up_proj.weight", 2 * hidden, c.dim);
    mlp.gate.weights = both.middle_rows(0, hidden);
    mlp.up.weights = both.middle_rows(hidden, hidden);
  } else {
    mlp.gate = tensors.linear(prefix + "gate_proj", hidden, c.dim, c.mlp_bias);
    mlp.up = tensors.linear(prefix + "up_proj", hidden, c.dim, c.mlp_bias);
  }
  mlp.down = tensors.linear(prefix + "down_proj", c.dim, hidden, c.mlp_bias);
  return mlp;
}

/// Tensors of all experts, [experts, inputs, outputs], in which gate and up alternate.
[[nodiscard]] inline std::vector<Mlp> read_packed_experts(TensorFolder& tensors, const Config& c,
                                                          const std::string& prefix) {
  const Mixture& m = *c.mixture;
  const auto both = tensors.matrices(prefix + "gate_up_proj", m.experts, c.dim, 2 * m.hidden);
  const auto down = tensors.matrices(prefix + "down_proj", m.experts, m.hidden, c.dim);
  const Matrix both_bias =
      tensors.matrix(prefix + "gate_up_proj_bias", m.experts, 2 * m.hidden).to_matrix();
  const Matrix down_bias = tensors.matrix(prefix + "down_proj_bias", m.experts, c.dim).to_matrix();
  std::vector<Mlp> experts(m.experts);
  for (std::size_t e = 0; e < m.experts; ++e) {
    const RowVector bias = both_bias.row(static_cast<Eigen::Index>(e));
    experts[e] = {{both[e].transposed(0, 2), bias(Eigen::seq(0, Eigen::last, 2))},
                  {both[e].transposed(1, 2), bias(Eigen::seq(1, Eigen::last, 2))},
                  {down[e].transposed(), down_bias.row(static_cast<Eigen::Index>(e))}};
  }
  return experts;
}

inline void read_feed_forward(TensorFolder& tensors, const Config& c, std::size_t index,
                              const std::string& prefix, Layer& layer) {
  if (!c.has_experts(index)) {
    layer.mlp = read_mlp(tensors, c, prefix, c.hidden);
    return;
  }
  const Mixture& m = *c.mixture;
  layer.router = tensors.linear(prefix + (c.packed_experts ? "router" : "gate"), m.experts, c.dim,
                                c.packed_experts);
  if (m.shared_hidden > 0) {
    layer.mlp = read_mlp(tensors, c, prefix + "shared_experts.", m.shared_hidden);
  }
  if (c.packed_experts) {
    layer.experts = read_packed_experts(tensors, c, prefix + "experts.");
    return;
  }
  for (std::size_t e = 0; e < m.experts; ++e) {
    layer.experts.push_back(
        read_mlp(tensors, c, prefix + "experts." + std::to_string(e) + ".", m.hidden));
  }
}

[[nodiscard]] inline Layer read_layer(TensorFolder& tensors, const Config& c, std::size_t index) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const auto norm = [&](const char* name) { return read_norm(tensors, c, prefix + name, c.dim); };
  Layer layer;
  layer.attention_norm = norm("input_layernorm");
  read_attention(tensors, c, prefix + "self_attn.", layer);
  if (c.post_norms) {
    layer.attention_post_norm = norm("post_attention_layernorm");
    layer.feed_forward_norm = norm("pre_feedforward_layernorm");
    layer.feed_forward_post_norm = norm("post_feedforward_layernorm");
  } else {
    layer.feed_forward_norm = norm("post_attention_layernorm");
  }
  read_feed_forward(tensors, c, index, prefix + "mlp.", layer);
  return layer;
}

}  // namespace morphkv::llama::detail

#endif  // MORPHKV_TOOLS_LLAMA_HUGGING_FACE_LAYER_HPP
