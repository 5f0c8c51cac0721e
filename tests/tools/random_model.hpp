// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_TESTS_EXAMPLES_RANDOM_MODEL_HPP
#define MORPHKV_TESTS_EXAMPLES_RANDOM_MODEL_HPP

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "llama/model.hpp"
#include "support/safetensors.hpp"

namespace morphkv::test {

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
  const auto norm = [&] {
    return llama::RowVector((matrix(1, c.dim).row(0).array() + 1).matrix());
  };
  llama::Model model;
  model.config = c;
  model.embedding = matrix(c.vocabulary, c.dim);
  for (std::size_t layer = 0; layer < c.layers; ++layer) {
    model.layers.push_back({norm(), matrix(c.query_dim(), c.dim), matrix(c.kv_dim(), c.dim),
                            matrix(c.kv_dim(), c.dim), matrix(c.dim, c.query_dim()), norm(),
                            matrix(c.hidden, c.dim), matrix(c.hidden, c.dim),
                            matrix(c.dim, c.hidden)});
  }
  model.norm = norm();
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
  const auto put_all = [&](auto member) {
    for (const llama::Layer& layer : model.layers) put(layer.*member);
  };
  put(model.embedding);
  put_all(&llama::Layer::attention_norm);
  put_all(&llama::Layer::query);
  put_all(&llama::Layer::key);
  put_all(&llama::Layer::value);
  put_all(&llama::Layer::output);
  put_all(&llama::Layer::feed_forward_norm);
  put_all(&llama::Layer::gate);
  put_all(&llama::Layer::down);
  put_all(&llama::Layer::up);
  put(model.norm);
  put(llama::Matrix(llama::Matrix::Zero(static_cast<Eigen::Index>(c.context),
                                        static_cast<Eigen::Index>(c.head_dim))));
  if (!c.tied) put(model.untied_classifier);
}

[[nodiscard]] inline support::Tensor tensor_of(const llama::Matrix& matrix) {
  return {{static_cast<std::size_t>(matrix.rows()), static_cast<std::size_t>(matrix.cols())},
          {matrix.data(), matrix.data() + matrix.size()}};
}

[[nodiscard]] inline support::Tensor tensor_of(const llama::RowVector& vector) {
  return {{static_cast<std::size_t>(vector.size())},
          {vector.data(), vector.data() + vector.size()}};
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

[[nodiscard]] inline support::Tensors hugging_face_tensors(const llama::Model& model) {
  support::Tensors tensors;
  tensors["model.embed_tokens.weight"] = tensor_of(model.embedding);
  tensors["model.norm.weight"] = tensor_of(model.norm);
  if (!model.config.tied) tensors["lm_head.weight"] = tensor_of(model.untied_classifier);
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const llama::Layer& layer = model.layers[l];
    const std::string prefix = "model.layers." + std::to_string(l) + ".";
    const std::size_t dim = model.config.head_dim;
    tensors[prefix + "input_layernorm.weight"] = tensor_of(layer.attention_norm);
    tensors[prefix + "self_attn.q_proj.weight"] = tensor_of(in_halves(layer.query, dim));
    tensors[prefix + "self_attn.k_proj.weight"] = tensor_of(in_halves(layer.key, dim));
    tensors[prefix + "self_attn.v_proj.weight"] = tensor_of(layer.value);
    tensors[prefix + "self_attn.o_proj.weight"] = tensor_of(layer.output);
    tensors[prefix + "post_attention_layernorm.weight"] = tensor_of(layer.feed_forward_norm);
    tensors[prefix + "mlp.gate_proj.weight"] = tensor_of(layer.gate);
    tensors[prefix + "mlp.up_proj.weight"] = tensor_of(layer.up);
    tensors[prefix + "mlp.down_proj.weight"] = tensor_of(layer.down);
  }
  return tensors;
}

[[nodiscard]] inline nlohmann::json hugging_face_config(const llama::Config& c) {
  return {{"model_type", "llama"},
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

}  // namespace morphkv::test

#endif  // MORPHKV_TESTS_EXAMPLES_RANDOM_MODEL_HPP
