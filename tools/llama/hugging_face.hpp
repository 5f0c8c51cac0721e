// SPDX-License-Identifier: Apache-2.0
/// \file
/// Models in folders as Hugging Face lays them out: config.json and safetensors.
#ifndef MORPHKV_TOOLS_LLAMA_HUGGING_FACE_HPP
#define MORPHKV_TOOLS_LLAMA_HUGGING_FACE_HPP

#include <cstddef>
#include <filesystem>
#include <string>

#include "llama/hugging_face_config.hpp"
#include "llama/hugging_face_layer.hpp"
#include "llama/model.hpp"
#include "llama/tensor_folder.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama {

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
  TensorFolder tensors(folder);
  model.embedding = tensors.matrix("model.embed_tokens.weight", c.vocabulary, c.dim);
  for (std::size_t layer = 0; layer < c.layers; ++layer) {
    model.layers.push_back(detail::read_layer(tensors, c, layer));
    if (!c.sinks) continue;
    const RowVector sinks =
        tensors.vector("model.layers." + std::to_string(layer) + ".self_attn.sinks", c.query_heads);
    model.sinks.insert(model.sinks.end(), sinks.begin(), sinks.end());
  }
  model.norm = detail::read_norm(tensors, c, "model.norm", c.dim);
  if (!c.tied) model.untied_classifier = tensors.matrix("lm_head.weight", c.vocabulary, c.dim);
  tensors.refuse_unread(c);
  return model;
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_HUGGING_FACE_HPP
