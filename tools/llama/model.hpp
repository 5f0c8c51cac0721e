// SPDX-License-Identifier: Apache-2.0
/// \file
/// The weights of a model.
#ifndef MORPHKV_TOOLS_LLAMA_MODEL_HPP
#define MORPHKV_TOOLS_LLAMA_MODEL_HPP

#include <cstddef>
#include <vector>

#include "llama/config.hpp"
#include "llama/weights.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv::llama {

/// out = x w^T + b
struct Linear {
  Weights weights;
  RowVector bias;  ///< empty: none
};

/// A gated feed-forward network: down(gate(x) combined with up(x)), see Gate.
struct Mlp {
  Linear gate;
  Linear up;
  Linear down;
};

/// What the model does not have is empty.
struct Layer {
  RowVector attention_norm;
  Linear query_down;  ///< queries come from its output, normalised
  RowVector query_down_norm;
  Linear query;
  Linear key;    ///< of latent attention: the latent, then the part that is rotated
  Linear value;  ///< none where values lie in the keys
  Linear output;
  RowVector query_norm;  ///< of the beginning of each head, the same for all heads
  RowVector key_norm;
  std::vector<Weights> query_up;  ///< per query head: its unrotated part to a latent
  std::vector<Weights> value_up;  ///< per query head: a latent to its value
  RowVector attention_post_norm;  ///< of what attention adds
  RowVector feed_forward_norm;
  Mlp mlp;  ///< of all tokens; beside experts only where some are shared
  Linear router;
  std::vector<Mlp> experts;
  RowVector feed_forward_post_norm;
};

struct Model {
  Config config;
  Weights embedding;
  std::vector<Layer> layers;
  RowVector norm;
  Weights untied_classifier;  ///< empty if tied
  std::vector<float> sinks;   ///< [layers][query_heads]

  [[nodiscard]] const Weights& classifier() const noexcept {
    return config.tied ? embedding : untied_classifier;
  }

  /// Of its cache. It points into the model, which must outlive it and not be copied meanwhile.
  [[nodiscard]] CacheShape shape() const noexcept {
    return {.layers = config.layers,
            .query_heads = config.query_heads,
            .kv_heads = config.kv_heads,
            .head_dim = config.head_dim,
            .value_dim = config.latent ? config.latent->latent_dim : 0,
            .values_in_keys = config.latent.has_value(),
            .scale = static_cast<float>(config.attention_scale),
            .soft_cap = static_cast<float>(config.attention_soft_cap),
            .sinks = sinks.empty() ? nullptr : sinks.data(),
            .windows = config.windows.empty() ? nullptr : config.windows.data()};
  }
};

/// How many numbers the model has.
[[nodiscard]] inline std::size_t parameters(const Model& model) {
  const auto size = [](const RowVector& vector) { return static_cast<std::size_t>(vector.size()); };
  const auto of_linear = [&](const Linear& l) { return l.weights.size() + size(l.bias); };
  const auto of_mlp = [&](const Mlp& mlp) {
    return of_linear(mlp.gate) + of_linear(mlp.up) + of_linear(mlp.down);
  };
  std::size_t count = model.embedding.size() + size(model.norm) + model.untied_classifier.size() +
                      model.sinks.size();
  for (const Layer& layer : model.layers) {
    for (const RowVector* norm :
         {&layer.attention_norm, &layer.query_down_norm, &layer.query_norm, &layer.key_norm,
          &layer.attention_post_norm, &layer.feed_forward_norm, &layer.feed_forward_post_norm}) {
      count += size(*norm);
    }
    for (const Linear* linear : {&layer.query_down, &layer.query, &layer.key, &layer.value,
                                 &layer.output, &layer.router}) {
      count += of_linear(*linear);
    }
    for (const Weights& weights : layer.query_up) count += weights.size();
    for (const Weights& weights : layer.value_up) count += weights.size();
    count += of_mlp(layer.mlp);
    for (const Mlp& expert : layer.experts) count += of_mlp(expert);
  }
  return count;
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_MODEL_HPP
