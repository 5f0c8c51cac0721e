// SPDX-License-Identifier: Apache-2.0
/// \file
/// Folders as Hugging Face lays out models: config.json and model.safetensors, or its shards and
/// model.safetensors.index.json.
#ifndef MORPHKV_TOOLS_LLAMA_HUGGING_FACE_HPP
#define MORPHKV_TOOLS_LLAMA_HUGGING_FACE_HPP

#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "llama/hugging_face_config.hpp"
#include "llama/model.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"
#include "support/safetensors.hpp"

namespace morphkv::llama {

namespace detail {

/// The tensors of a folder. With an index, each comes from the file that the index names.
class TensorFolder {
 public:
  explicit TensorFolder(const std::filesystem::path& folder) : source_(folder) {
    const std::filesystem::path index = folder / "model.safetensors.index.json";
    if (!std::filesystem::exists(index)) {
      support::SafetensorsFile& file = open(folder / "model.safetensors");
      for (const auto& entry : file.entries()) files_of_.emplace(entry.first, &file);
      source_ = file.path();
      return;
    }
    source_ = index;
    const support::JsonFile map = support::JsonFile(index).part("weight_map");
    for (const auto& [tensor, value] : map.object().items()) {
      const std::string name = map.text(tensor);
      const bool plain = !name.empty() && std::filesystem::path(name).filename() == name;
      support::expect(plain, index, tensor, name, "the name of a file in the same folder");
      support::SafetensorsFile& file = open(folder / name);
      if (!file.contains(tensor)) {
        support::fail(file.path(), "there is no tensor " + tensor + ", which " +
                                       index.filename().string() + " says is here");
      }
      files_of_.emplace(tensor, &file);
    }
  }

  [[nodiscard]] Weights matrix(const std::string& name, std::size_t rows, std::size_t columns) {
    support::SafetensorsFile& file = checked(name, {rows, columns});
    const auto bytes = file.view(name);
    return {*file.entries().at(name).type, rows, columns, bytes.get(), bytes};
  }

  [[nodiscard]] RowVector vector(const std::string& name, std::size_t size) {
    const support::Tensor tensor = checked(name, {size}).read(name);
    return Eigen::Map<const RowVector>(tensor.data.data(), static_cast<Eigen::Index>(size));
  }

  /// Refuses a tensor that no call has read: the model computes something with it.
  void refuse_unread(const Config& config) const {
    for (const auto& [name, file] : files_of_) {
      if (read_.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
      if (config.tied && name == "lm_head.weight") continue;  // a copy of the embedding
      support::fail(file->path(), "the tensor " + name +
                                      " is not used: the model computes something that is not "
                                      "supported");
    }
  }

 private:
  [[nodiscard]] support::SafetensorsFile& open(const std::filesystem::path& path) {
    const auto found = files_.find(path.filename().string());
    if (found != files_.end()) return found->second;
    return files_.emplace(path.filename().string(), path).first->second;
  }

  /// The file of a tensor that has this shape.
  [[nodiscard]] support::SafetensorsFile& checked(const std::string& name,
                                                  const std::vector<std::size_t>& shape) {
    const auto found = files_of_.find(name);
    if (found == files_of_.end()) support::fail(source_, "there is no tensor " + name);
    support::SafetensorsFile& file = *found->second;
    const std::vector<std::size_t>& given = file.entries().at(name).shape;
    support::expect(given == shape, file.path(), name + ".shape", nlohmann::json(given).dump(),
                    nlohmann::json(shape).dump() + ", as config.json says");
    read_.insert(name);
    return file;
  }

  std::filesystem::path source_;
  std::map<std::string, support::SafetensorsFile> files_;      ///< by file name
  std::map<std::string, support::SafetensorsFile*> files_of_;  ///< by tensor
  std::set<std::string> read_;
};

inline void read_attention(TensorFolder& tensors, const Config& c, const std::string& prefix,
                           Layer& layer) {
  const std::string attention = prefix + "self_attn.";
  if (c.fused) {
    const Weights all =
        tensors.matrix(attention + "qkv_proj.weight", c.query_dim() + 2 * c.kv_dim(), c.dim);
    layer.query = all.middle_rows(0, c.query_dim());
    layer.key = all.middle_rows(c.query_dim(), c.kv_dim());
    layer.value = all.middle_rows(c.query_dim() + c.kv_dim(), c.kv_dim());
  } else {
    layer.query = tensors.matrix(attention + "q_proj.weight", c.query_dim(), c.dim);
    layer.key = tensors.matrix(attention + "k_proj.weight", c.kv_dim(), c.dim);
    layer.value = tensors.matrix(attention + "v_proj.weight", c.kv_dim(), c.dim);
  }
  layer.output = tensors.matrix(attention + "o_proj.weight", c.dim, c.query_dim());
  if (c.qkv_bias) {
    layer.query_bias = tensors.vector(attention + "q_proj.bias", c.query_dim());
    layer.key_bias = tensors.vector(attention + "k_proj.bias", c.kv_dim());
    layer.value_bias = tensors.vector(attention + "v_proj.bias", c.kv_dim());
  }
  if (c.output_bias) layer.output_bias = tensors.vector(attention + "o_proj.bias", c.dim);
  if (c.qk_norm) {
    layer.query_norm = tensors.vector(attention + "q_norm.weight", c.head_dim);
    layer.key_norm = tensors.vector(attention + "k_norm.weight", c.head_dim);
  }
}

[[nodiscard]] inline Layer read_layer(TensorFolder& tensors, const Config& c,
                                      const std::string& prefix) {
  Layer layer;
  layer.attention_norm = tensors.vector(prefix + "input_layernorm.weight", c.dim);
  read_attention(tensors, c, prefix, layer);
  layer.feed_forward_norm = tensors.vector(prefix + "post_attention_layernorm.weight", c.dim);
  if (c.fused) {
    const Weights both = tensors.matrix(prefix + "mlp.gate_up_proj.weight", 2 * c.hidden, c.dim);
    layer.gate = both.middle_rows(0, c.hidden);
    layer.up = both.middle_rows(c.hidden, c.hidden);
  } else {
    layer.gate = tensors.matrix(prefix + "mlp.gate_proj.weight", c.hidden, c.dim);
    layer.up = tensors.matrix(prefix + "mlp.up_proj.weight", c.hidden, c.dim);
  }
  layer.down = tensors.matrix(prefix + "mlp.down_proj.weight", c.dim, c.hidden);
  return layer;
}

}  // namespace detail

/// Weights are read where they lie in the files, in their type.
/// \throws std::runtime_error if a file or tensor is missing, a tensor's shape does not match the
///         configuration, or the model has a setting or tensor that is not supported.
[[nodiscard]] inline Model load_hugging_face(const std::filesystem::path& folder) {
  Model model;
  model.config = read_config(support::JsonFile(folder / "config.json"));
  if (std::filesystem::exists(folder / "generation_config.json")) {
    detail::add_stop_tokens(support::JsonFile(folder / "generation_config.json"),
                            model.config.stop_tokens);
  }
  const Config& c = model.config;
  detail::TensorFolder tensors(folder);
  model.embedding = tensors.matrix("model.embed_tokens.weight", c.vocabulary, c.dim);
  for (std::size_t layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    model.layers.push_back(detail::read_layer(tensors, c, prefix));
  }
  model.norm = tensors.vector("model.norm.weight", c.dim);
  if (!c.tied) model.untied_classifier = tensors.matrix("lm_head.weight", c.vocabulary, c.dim);
  tensors.refuse_unread(c);
  return model;
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_HUGGING_FACE_HPP
