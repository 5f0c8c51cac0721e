// SPDX-License-Identifier: Apache-2.0
/// \file
/// Folders as Hugging Face lays out Llama models: config.json and model.safetensors, or its parts
/// and model.safetensors.index.json.
#ifndef MORPHKV_EXAMPLES_LLAMA_HUGGING_FACE_HPP
#define MORPHKV_EXAMPLES_LLAMA_HUGGING_FACE_HPP

#include <cstddef>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "llama/config.hpp"
#include "llama/model.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"
#include "support/safetensors.hpp"

namespace morphkv::llama {

namespace detail {

/// Settings that change what the model computes, and that this engine does not have.
inline void refuse_unknown_features(const support::JsonFile& json) {
  for (const char* field : {"attention_bias", "mlp_bias"}) {
    support::expect(!json.flag(field, false), json.path(), field, "true", "false");
  }
  if (json.has("hidden_act")) {
    const std::string act = json.text("hidden_act");
    support::expect(act == "silu", json.path(), "hidden_act", act, "silu");
  }
  if (json.has("quantization_config")) {
    support::fail(json.path(), "quantization_config: quantised weights are not supported");
  }
}

inline void read_rope(const support::JsonFile& json, Config& config) {
  if (json.has("rope_theta")) config.rope_theta = json.positive("rope_theta");
  // The name of the object, and of its type, has changed over the years.
  const char* field = json.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!json.has(field)) return;
  const support::JsonFile rope = json.part(field);
  if (rope.has("rope_theta")) config.rope_theta = rope.positive("rope_theta");
  const char* type_field = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.has(type_field) ? rope.text(type_field) : "default";
  support::expect(type == "default" || type == "llama3", json.path(),
                  std::string(field) + "." + type_field, type, "default or llama3");
  if (type == "default") return;
  RopeScaling scaling;
  scaling.factor = rope.positive("factor");
  scaling.low_frequency_factor = rope.positive("low_freq_factor");
  scaling.high_frequency_factor = rope.positive("high_freq_factor");
  scaling.original_context = rope.positive("original_max_position_embeddings");
  support::expect(scaling.low_frequency_factor < scaling.high_frequency_factor, json.path(),
                  "low_freq_factor", scaling.low_frequency_factor, "below high_freq_factor");
  config.rope_scaling = scaling;
}

/// A number, a list of numbers, or nothing.
[[nodiscard]] inline std::vector<int> read_stop_tokens(const support::JsonFile& json) {
  if (!json.has("eos_token_id")) return {};
  const nlohmann::json& value = json.object().at("eos_token_id");
  std::vector<int> tokens;
  for (const nlohmann::json& token : value.is_array() ? value : nlohmann::json::array({value})) {
    support::expect(token.is_number_unsigned(), json.path(), "eos_token_id", value.dump(),
                    "a token or a list of tokens");
    if (token.get<std::size_t>() < largest_size) tokens.push_back(token.get<int>());
  }
  return tokens;
}

[[nodiscard]] inline Config read_config(const support::JsonFile& json) {
  const auto size = [&](const char* field) { return json.count(field, 1, largest_size); };
  const auto size_or = [&](const char* field, std::size_t otherwise) {
    return json.has(field) ? size(field) : otherwise;
  };
  refuse_unknown_features(json);
  Config config;
  config.dim = size("hidden_size");
  config.hidden = size("intermediate_size");
  config.layers = size("num_hidden_layers");
  config.query_heads = size("num_attention_heads");
  config.kv_heads = size_or("num_key_value_heads", config.query_heads);
  config.head_dim = size_or("head_dim", config.dim / config.query_heads);
  config.vocabulary = size("vocab_size");
  config.context = size_or("max_position_embeddings", 2048);
  config.tied = json.flag("tie_word_embeddings", false);
  config.rope_pairs = RopePairs::halves;
  config.stop_tokens = read_stop_tokens(json);
  if (json.has("rms_norm_eps")) {
    config.norm_epsilon = static_cast<float>(json.positive("rms_norm_eps"));
  }
  read_rope(json, config);
  check_heads(config, json.path());
  return config;
}

/// The tensors of a folder, wherever they lie.
class TensorFolder {
 public:
  explicit TensorFolder(const std::filesystem::path& folder) {
    const std::filesystem::path index = folder / "model.safetensors.index.json";
    if (!std::filesystem::exists(index)) {
      files_.emplace("model.safetensors", folder / "model.safetensors");
      return;
    }
    const support::JsonFile map = support::JsonFile(index).part("weight_map");
    for (const auto& [tensor, value] : map.object().items()) {
      const std::string file = map.text(tensor);
      const bool plain = !file.empty() && std::filesystem::path(file).filename() == file;
      support::expect(plain, index, tensor, file, "the name of a file in the same folder");
      if (!files_.contains(file)) files_.emplace(file, folder / file);
    }
  }

  [[nodiscard]] Matrix matrix(const std::string& name, std::size_t rows, std::size_t columns) {
    const support::Tensor tensor = read(name, {rows, columns});
    return Eigen::Map<const Matrix>(tensor.data.data(), static_cast<Eigen::Index>(rows),
                                    static_cast<Eigen::Index>(columns));
  }

  [[nodiscard]] RowVector vector(const std::string& name, std::size_t size) {
    const support::Tensor tensor = read(name, {size});
    return Eigen::Map<const RowVector>(tensor.data.data(), static_cast<Eigen::Index>(size));
  }

 private:
  [[nodiscard]] support::SafetensorsFile& file_with(const std::string& name) {
    for (auto& [file_name, file] : files_) {
      if (file.contains(name)) return file;
    }
    support::fail(files_.begin()->second.path().parent_path(), "there is no tensor " + name);
  }

  [[nodiscard]] support::Tensor read(const std::string& name,
                                     const std::vector<std::size_t>& shape) {
    support::SafetensorsFile& file = file_with(name);
    support::expect(file.entries().at(name).shape == shape, file.path(), name + ".shape",
                    nlohmann::json(file.entries().at(name).shape).dump(),
                    nlohmann::json(shape).dump() + ", as config.json says");
    return file.read(name);
  }

  std::map<std::string, support::SafetensorsFile> files_;
};

[[nodiscard]] inline Layer read_layer(TensorFolder& tensors, const Config& c,
                                      const std::string& prefix) {
  const auto matrix = [&](const char* name, std::size_t rows, std::size_t columns) {
    return tensors.matrix(prefix + name + ".weight", rows, columns);
  };
  Layer layer;
  layer.attention_norm = tensors.vector(prefix + "input_layernorm.weight", c.dim);
  layer.query = matrix("self_attn.q_proj", c.query_dim(), c.dim);
  layer.key = matrix("self_attn.k_proj", c.kv_dim(), c.dim);
  layer.value = matrix("self_attn.v_proj", c.kv_dim(), c.dim);
  layer.output = matrix("self_attn.o_proj", c.dim, c.query_dim());
  layer.feed_forward_norm = tensors.vector(prefix + "post_attention_layernorm.weight", c.dim);
  layer.gate = matrix("mlp.gate_proj", c.hidden, c.dim);
  layer.up = matrix("mlp.up_proj", c.hidden, c.dim);
  layer.down = matrix("mlp.down_proj", c.dim, c.hidden);
  return layer;
}

}  // namespace detail

/// \throws std::runtime_error if a file is missing, or a tensor's shape is not what the
///         configuration asks for.
[[nodiscard]] inline Model load_hugging_face(const std::filesystem::path& folder) {
  Model model;
  model.config = detail::read_config(support::JsonFile(folder / "config.json"));
  const Config& c = model.config;
  detail::TensorFolder tensors(folder);
  model.embedding = tensors.matrix("model.embed_tokens.weight", c.vocabulary, c.dim);
  for (std::size_t layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    model.layers.push_back(detail::read_layer(tensors, c, prefix));
  }
  model.norm = tensors.vector("model.norm.weight", c.dim);
  if (!c.tied) model.untied_classifier = tensors.matrix("lm_head.weight", c.vocabulary, c.dim);
  return model;
}

}  // namespace morphkv::llama

#endif  // MORPHKV_EXAMPLES_LLAMA_HUGGING_FACE_HPP
