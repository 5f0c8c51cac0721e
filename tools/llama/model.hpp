// SPDX-License-Identifier: Apache-2.0
/// \file
/// The weights of a Llama-family model.
#ifndef MORPHKV_TOOLS_LLAMA_MODEL_HPP
#define MORPHKV_TOOLS_LLAMA_MODEL_HPP

#include <vector>

#include "llama/config.hpp"
#include "llama/weights.hpp"

namespace morphkv::llama {

/// A vector that the model does not have is empty.
struct Layer {
  RowVector attention_norm;
  Weights query;
  Weights key;
  Weights value;
  Weights output;
  RowVector query_bias;
  RowVector key_bias;
  RowVector value_bias;
  RowVector output_bias;
  RowVector query_norm;  ///< [head_dim], the same for all heads
  RowVector key_norm;
  RowVector feed_forward_norm;
  Weights gate;
  Weights up;
  Weights down;
};

struct Model {
  Config config;
  Weights embedding;
  std::vector<Layer> layers;
  RowVector norm;
  Weights untied_classifier;  ///< empty if tied

  [[nodiscard]] const Weights& classifier() const noexcept {
    return config.tied ? embedding : untied_classifier;
  }
};

/// How many numbers the model has.
[[nodiscard]] inline std::size_t parameters(const Model& model) {
  const auto size = [](const RowVector& vector) { return static_cast<std::size_t>(vector.size()); };
  std::size_t count = model.embedding.size() + size(model.norm) + model.untied_classifier.size();
  for (const Layer& layer : model.layers) {
    for (const Weights* weights : {&layer.query, &layer.key, &layer.value, &layer.output,
                                   &layer.gate, &layer.up, &layer.down}) {
      count += weights->size();
    }
    for (const RowVector* vector :
         {&layer.attention_norm, &layer.query_bias, &layer.key_bias, &layer.value_bias,
          &layer.output_bias, &layer.query_norm, &layer.key_norm, &layer.feed_forward_norm}) {
      count += size(*vector);
    }
  }
  return count;
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_MODEL_HPP
