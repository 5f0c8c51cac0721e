// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_TESTS_TOOLS_RANDOM_MODEL_HPP
#define MORPHKV_TESTS_TOOLS_RANDOM_MODEL_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "llama/model.hpp"
#include "support/safetensors.hpp"

namespace morphkv::testing {

[[nodiscard]] inline llama::Config small_config(bool tied) {
  llama::Config config;
  config.dim = 24;
  config.hidden = 40;
  config.layers = 3;
  config.query_heads = 4;
  config.kv_heads = 2;
  config.head_dim = 6;
  config.vocabulary = 31;
  config.context = 64;
  config.tied = tied;
  config.rope_pairs = llama::RopePairs::neighbours;
  return config;
}

/// The same shape with what a family computes beside Llama.
[[nodiscard]] inline llama::Config family_config(const std::string& model_type) {
  llama::Config config = small_config(model_type == "smollm3");
  config.model_type = model_type;
  config.qkv_bias = model_type == "qwen2";
  config.qk_norm = model_type == "qwen3";
  config.fused = model_type == "phi3";
  if (model_type == "smollm3") config.use_rope = {true, false, true};
  return config;
}

/// Weights that float16 and bfloat16 hold exactly, so that every format stores the same model.
[[nodiscard]] inline llama::Model random_model(const llama::Config& c, unsigned seed) {
  std::mt19937 random(seed);
  const auto matrix = [&](std::size_t rows, std::size_t columns) {
    llama::Matrix result(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns));
    for (Eigen::Index i = 0; i < result.size(); ++i) {
      result.data()[i] = static_cast<float>(static_cast<int>(random() % 127) - 63) / 128;
    }
    return result;
  };
  const auto norm = [&](std::size_t size) {
    return llama::RowVector((matrix(1, size).row(0).array() + 1).matrix());
  };
  const auto bias = [&](bool used, std::size_t size) {
    return used ? llama::RowVector(matrix(1, size).row(0)) : llama::RowVector();
  };
  llama::Model model;
  model.config = c;
  model.embedding = matrix(c.vocabulary, c.dim);
  for (std::size_t i = 0; i < c.layers; ++i) {
    llama::Layer& layer = model.layers.emplace_back();
    layer.attention_norm = norm(c.dim);
    layer.query.weights = matrix(c.query_dim(), c.dim);
    layer.key.weights = matrix(c.kv_dim(), c.dim);
    layer.value.weights = matrix(c.kv_dim(), c.dim);
    layer.output.weights = matrix(c.dim, c.query_dim());
    layer.query.bias = bias(c.qkv_bias, c.query_dim());
    layer.key.bias = bias(c.qkv_bias, c.kv_dim());
    layer.value.bias = bias(c.qkv_bias, c.kv_dim());
    layer.output.bias = bias(c.output_bias, c.dim);
    if (c.qk_norm) layer.query_norm = norm(c.head_dim);
    if (c.qk_norm) layer.key_norm = norm(c.head_dim);
    layer.feed_forward_norm = norm(c.dim);
    layer.mlp.gate = {matrix(c.hidden, c.dim), bias(c.mlp_bias, c.hidden)};
    layer.mlp.up = {matrix(c.hidden, c.dim), bias(c.mlp_bias, c.hidden)};
    layer.mlp.down = {matrix(c.dim, c.hidden), bias(c.mlp_bias, c.dim)};
  }
  model.norm = norm(c.dim);
  if (!c.tied) model.untied_classifier = matrix(c.vocabulary, c.dim);
  return model;
}

/// As llama2.c's export.py writes it.
inline void write_llama2c(const llama::Model& model, const std::filesystem::path& path) {
  const llama::Config& c = model.config;
  std::ofstream file(path, std::ios::binary);
  const auto vocabulary = static_cast<std::int32_t>(c.vocabulary);
  for (const std::int32_t value :
       {static_cast<std::int32_t>(c.dim), static_cast<std::int32_t>(c.hidden),
        static_cast<std::int32_t>(c.layers), static_cast<std::int32_t>(c.query_heads),
        static_cast<std::int32_t>(c.kv_heads), c.tied ? vocabulary : -vocabulary,
        static_cast<std::int32_t>(c.context)}) {
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  const auto put = [&](const auto& matrix) {
    file.write(reinterpret_cast<const char*>(matrix.data()),
               static_cast<std::streamsize>(sizeof(float)) * matrix.size());
  };
  const auto put_all = [&](auto part) {
    for (const llama::Layer& layer : model.layers) {
      put(std::invoke(part, layer).weights.to_matrix());
    }
  };
  const auto put_mlps = [&](llama::Linear llama::Mlp::*part) {
    put_all([=](const llama::Layer& layer) -> const llama::Linear& { return layer.mlp.*part; });
  };
  put(model.embedding.to_matrix());
  for (const llama::Layer& layer : model.layers) put(layer.attention_norm);
  put_all(&llama::Layer::query);
  put_all(&llama::Layer::key);
  put_all(&llama::Layer::value);
  put_all(&llama::Layer::output);
  for (const llama::Layer& layer : model.layers) put(layer.feed_forward_norm);
  put_mlps(&llama::Mlp::gate);
  put_mlps(&llama::Mlp::down);
  put_mlps(&llama::Mlp::up);
  put(model.norm);
  put(llama::Matrix(llama::Matrix::Zero(static_cast<Eigen::Index>(c.context),
                                        static_cast<Eigen::Index>(c.head_dim))));
  if (!c.tied) put(model.untied_classifier.to_matrix());
}

[[nodiscard]] inline support::Tensor tensor_of(const llama::Weights& weights) {
  const llama::Matrix matrix = weights.to_matrix();
  return {{weights.rows(), weights.columns()}, {matrix.data(), matrix.data() + matrix.size()}};
}

[[nodiscard]] inline support::Tensor tensor_of(const llama::RowVector& vector) {
  return {{static_cast<std::size_t>(vector.size())},
          {vector.data(), vector.data() + vector.size()}};
}

inline void add_linear(const llama::Linear& linear, const std::string& name,
                       support::Tensors& tensors) {
  tensors[name + ".weight"] = tensor_of(linear.weights);
  if (linear.bias.size() > 0) tensors[name + ".bias"] = tensor_of(linear.bias);
}

/// The rows of several matrices, one after the other.
[[nodiscard]] inline support::Tensor stacked(const std::vector<llama::Matrix>& parts) {
  support::Tensor result{{0, static_cast<std::size_t>(parts[0].cols())}, {}};
  for (const llama::Matrix& part : parts) {
    result.shape[0] += static_cast<std::size_t>(part.rows());
    result.data.insert(result.data.end(), part.data(), part.data() + part.size());
  }
  return result;
}

/// Hugging Face's order of a head's rows: first the even ones of the neighbours' order, then the
/// odd.
[[nodiscard]] inline llama::Matrix in_halves(const llama::Matrix& neighbours,
                                             std::size_t head_dim) {
  llama::Matrix halves(neighbours.rows(), neighbours.cols());
  const auto dim = static_cast<Eigen::Index>(head_dim);
  for (Eigen::Index row = 0; row < neighbours.rows(); ++row) {
    const Eigen::Index head = row / dim;
    const Eigen::Index i = row % dim;
    halves.row(head * dim + i / 2 + (i % 2) * dim / 2) = neighbours.row(row);
  }
  return halves;
}
[[nodiscard]] inline llama::RowVector in_halves(const llama::RowVector& neighbours,
                                                std::size_t head_dim) {
  return in_halves(llama::Matrix(neighbours.transpose()), head_dim).transpose();
}

inline void add_attention_tensors(const llama::Config& c, const llama::Layer& layer,
                                  const std::string& prefix, support::Tensors& tensors) {
  const llama::Matrix query = in_halves(layer.query.weights.to_matrix(), c.head_dim);
  const llama::Matrix key = in_halves(layer.key.weights.to_matrix(), c.head_dim);
  if (c.fused) {
    tensors[prefix + "qkv_proj.weight"] = stacked({query, key, layer.value.weights.to_matrix()});
  } else {
    tensors[prefix + "q_proj.weight"] = tensor_of(llama::Weights(query));
    tensors[prefix + "k_proj.weight"] = tensor_of(llama::Weights(key));
    tensors[prefix + "v_proj.weight"] = tensor_of(layer.value.weights);
  }
  add_linear(layer.output, prefix + "o_proj", tensors);
  if (c.qkv_bias) {
    tensors[prefix + "q_proj.bias"] = tensor_of(in_halves(layer.query.bias, c.head_dim));
    tensors[prefix + "k_proj.bias"] = tensor_of(in_halves(layer.key.bias, c.head_dim));
    tensors[prefix + "v_proj.bias"] = tensor_of(layer.value.bias);
  }
  if (c.qk_norm) {
    tensors[prefix + "q_norm.weight"] = tensor_of(in_halves(layer.query_norm, c.head_dim));
    tensors[prefix + "k_norm.weight"] = tensor_of(in_halves(layer.key_norm, c.head_dim));
  }
}

[[nodiscard]] inline support::Tensors hugging_face_tensors(const llama::Model& model) {
  support::Tensors tensors;
  tensors["model.embed_tokens.weight"] = tensor_of(model.embedding);
  tensors["model.norm.weight"] = tensor_of(model.norm);
  if (!model.config.tied) tensors["lm_head.weight"] = tensor_of(model.untied_classifier);
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const llama::Layer& layer = model.layers[l];
    const std::string prefix = "model.layers." + std::to_string(l) + ".";
    tensors[prefix + "input_layernorm.weight"] = tensor_of(layer.attention_norm);
    add_attention_tensors(model.config, layer, prefix + "self_attn.", tensors);
    tensors[prefix + "post_attention_layernorm.weight"] = tensor_of(layer.feed_forward_norm);
    if (model.config.fused) {
      tensors[prefix + "mlp.gate_up_proj.weight"] =
          stacked({layer.mlp.gate.weights.to_matrix(), layer.mlp.up.weights.to_matrix()});
    } else {
      add_linear(layer.mlp.gate, prefix + "mlp.gate_proj", tensors);
      add_linear(layer.mlp.up, prefix + "mlp.up_proj", tensors);
    }
    add_linear(layer.mlp.down, prefix + "mlp.down_proj", tensors);
  }
  return tensors;
}

[[nodiscard]] inline nlohmann::json rope_scaling_json(const llama::RopeScaling& s) {
  using Type = llama::RopeScaling::Type;
  nlohmann::json json = {{"factor", s.factor},
                         {"original_max_position_embeddings", s.original_context}};
  json["rope_type"] = s.type == Type::linear ? "linear" : s.type == Type::yarn ? "yarn" : "llama3";
  if (s.type == Type::llama3) {
    json["low_freq_factor"] = s.low_frequency_factor;
    json["high_freq_factor"] = s.high_frequency_factor;
  }
  if (s.type == Type::yarn) {
    json["beta_fast"] = s.beta_fast;
    json["beta_slow"] = s.beta_slow;
    json["attention_factor"] = s.attention_factor;
    json["truncate"] = s.truncate;
  }
  return json;
}

/// As the family says which layers slide.
inline void add_windows(const llama::Config& c, nlohmann::json& json) {
  const auto slides = [](std::size_t window) { return window > 0; };
  const auto first = std::find_if(c.windows.begin(), c.windows.end(), slides);
  json["sliding_window"] = *first;
  if (c.model_type == "mistral" || c.model_type == "phi3") return;
  json["use_sliding_window"] = true;
  if (c.model_type == "qwen2") json["max_window_layers"] = first - c.windows.begin();
  if (c.model_type != "qwen3") return;
  for (const std::size_t window : c.windows) {
    json["layer_types"].push_back(slides(window) ? "sliding_attention" : "full_attention");
  }
}

[[nodiscard]] inline nlohmann::json hugging_face_config(const llama::Config& c) {
  nlohmann::json json = {{"model_type", c.model_type},
                         {"hidden_size", c.dim},
                         {"intermediate_size", c.hidden},
                         {"num_hidden_layers", c.layers},
                         {"num_attention_heads", c.query_heads},
                         {"num_key_value_heads", c.kv_heads},
                         {"head_dim", c.head_dim},
                         {"vocab_size", c.vocabulary},
                         {"max_position_embeddings", c.context},
                         {"rms_norm_eps", 1e-5},
                         {"rope_theta", c.rope_theta},
                         {"hidden_act", "silu"},
                         {"tie_word_embeddings", c.tied}};
  if (c.output_bias) json["attention_bias"] = true;
  if (c.mlp_bias) json["mlp_bias"] = true;
  if (c.rope_scaling) json["rope_scaling"] = rope_scaling_json(*c.rope_scaling);
  for (const bool rotates : c.use_rope) json["no_rope_layers"].push_back(rotates ? 1 : 0);
  if (!c.windows.empty()) add_windows(c, json);
  return json;
}

inline void write_hugging_face(const llama::Model& model, const std::filesystem::path& folder,
                               support::TensorType type) {
  std::ofstream(folder / "config.json") << hugging_face_config(model.config).dump(2);
  support::write_safetensors(folder / "model.safetensors", hugging_face_tensors(model),
                             {{"format", "pt"}}, type);
}

/// In two files and an index.
inline void write_sharded(const llama::Model& model, const std::filesystem::path& folder) {
  std::ofstream(folder / "config.json") << hugging_face_config(model.config).dump(2);
  std::vector<support::Tensors> shards(2);
  nlohmann::json index;
  for (const auto& [name, tensor] : hugging_face_tensors(model)) {
    const bool second = name.find("mlp") != std::string::npos;
    shards[second ? 1 : 0][name] = tensor;
    index["weight_map"][name] = second ? "part-2.safetensors" : "part-1.safetensors";
  }
  support::write_safetensors(folder / "part-1.safetensors", shards[0]);
  support::write_safetensors(folder / "part-2.safetensors", shards[1]);
  std::ofstream(folder / "model.safetensors.index.json") << index.dump(2);
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_TOOLS_RANDOM_MODEL_HPP
