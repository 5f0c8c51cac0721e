// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a layer computes before its attention and after it.
#ifndef MORPHKV_TOOLS_LLAMA_ATTENTION_PROJECTIONS_HPP
#define MORPHKV_TOOLS_LLAMA_ATTENTION_PROJECTIONS_HPP

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "llama/linear.hpp"
#include "llama/model.hpp"
#include "llama/norm.hpp"
#include "llama/rope.hpp"
#include "support/workers.hpp"

namespace morphkv::llama {

/// The inputs and outputs of a layer's attention, one row per token, as CacheShape says.
struct AttentionBlock {
  std::size_t layer = 0;
  const Matrix& queries;  ///< [tokens, query_heads x head_dim], after RoPE
  const Matrix& keys;     ///< [tokens, kv_heads x head_dim], after RoPE
  const Matrix& values;   ///< [tokens, kv_heads x value_dim], or [tokens, 0] if they lie in keys
  Matrix& outputs;        ///< [tokens, query_heads x value_dim]
};

using Attend = std::function<void(const AttentionBlock&)>;

/// Keeps its activations, so that a step does not allocate.
class AttentionProjections {
 public:
  /// \pre `model` outlives this.
  explicit AttentionProjections(const Model& model) : model_(&model), rope_(model.config) {}

  /// \param x   [tokens, dim], normalised
  /// \param out [tokens, dim]: what attention adds
  void operator()(std::size_t index, const Matrix& x, std::span<const std::size_t> positions,
                  const Attend& attend, Matrix& out, support::Workers& workers) {
    const Layer& layer = model_->layers[index];
    const bool latent = !layer.query_up.empty();
    Matrix& heads = latent ? heads_ : queries_;
    project_queries(layer, x, heads, workers);
    project(x, layer.key, keys_, workers);
    if (latent) {
      values_.resize(x.rows(), 0);
    } else {
      project(x, layer.value, values_, workers);
    }
    place_heads(index, heads, positions);
    if (latent) move_to_latents(layer, workers);
    const Config& config = model_->config;
    const auto query_heads = static_cast<Eigen::Index>(config.query_heads);
    const std::size_t output_dim = latent ? config.latent->latent_dim : config.head_dim;
    attended_.resize(x.rows(), query_heads * static_cast<Eigen::Index>(output_dim));
    attend(AttentionBlock{index, queries_, keys_, values_, attended_});
    if (latent) {
      values_of_heads_.resize(x.rows(),
                              query_heads * static_cast<Eigen::Index>(config.latent->value_dim));
      raise_values_(attended_, layer.value_up, values_of_heads_, workers);
    }
    project(latent ? values_of_heads_ : attended_, layer.output, out, workers);
  }

 private:
  void project_queries(const Layer& layer, const Matrix& x, Matrix& heads,
                       support::Workers& workers) {
    if (layer.query_down_norm.size() == 0) return project(x, layer.query, heads, workers);
    project(x, layer.query_down, down_, workers);
    normalise_heads(down_, down_.cols(), layer.query_down_norm, epsilon());
    project(down_, layer.query, heads, workers);
  }

  /// Norms of heads, and RoPE.
  void place_heads(std::size_t index, Matrix& queries, std::span<const std::size_t> positions) {
    const Config& config = model_->config;
    const Layer& layer = model_->layers[index];
    const Eigen::Index query_dim = queries.cols() / static_cast<Eigen::Index>(config.query_heads);
    const auto key_dim = static_cast<Eigen::Index>(config.head_dim);
    normalise_heads(queries, query_dim, layer.query_norm, epsilon());
    normalise_heads(keys_, key_dim, layer.key_norm, epsilon());
    if (!config.use_rope.empty() && !config.use_rope[index]) return;
    for (Eigen::Index t = 0; t < queries.rows(); ++t) {
      rope_.move_to(positions[static_cast<std::size_t>(t)]);
      rope_.rotate({queries.row(t).data(), static_cast<std::size_t>(queries.cols())},
                   static_cast<std::size_t>(query_dim));
      rope_.rotate({keys_.row(t).data(), static_cast<std::size_t>(keys_.cols())}, config.head_dim);
    }
  }

  /// The products of queries with keys are those with latents, where the matrix that makes a key of
  /// a latent is applied to the query.
  void move_to_latents(const Layer& layer, support::Workers& workers) {
    const Config& config = model_->config;
    const auto query_heads = static_cast<Eigen::Index>(config.query_heads);
    const auto rotated = static_cast<Eigen::Index>(config.latent->rotated_dim);
    const Eigen::Index from = heads_.cols() / query_heads;
    const auto to = static_cast<Eigen::Index>(config.head_dim);
    queries_.resize(heads_.rows(), query_heads * to);
    raise_queries_(heads_, layer.query_up, queries_, workers);
    for (Eigen::Index head = 1; head <= query_heads; ++head) {
      queries_.middleCols(head * to - rotated, rotated) =
          heads_.middleCols(head * from - rotated, rotated);
    }
  }

  /// Latents have the norm of DeepSeek's code, whatever the configuration says of the others.
  [[nodiscard]] float epsilon() const noexcept {
    return model_->config.latent ? 1e-6F : model_->config.norm_epsilon;
  }

  const Model* model_;
  Rope rope_;
  HeadProjection raise_queries_;
  HeadProjection raise_values_;
  Matrix down_;
  Matrix heads_;  ///< queries, before they are raised
  Matrix queries_;
  Matrix keys_;
  Matrix values_;
  Matrix attended_;
  Matrix values_of_heads_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_ATTENTION_PROJECTIONS_HPP
