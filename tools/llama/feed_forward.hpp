// SPDX-License-Identifier: Apache-2.0
/// \file
/// The feed-forward part of a layer: one network, or experts.
#ifndef MORPHKV_TOOLS_LLAMA_FEED_FORWARD_HPP
#define MORPHKV_TOOLS_LLAMA_FEED_FORWARD_HPP

#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <vector>

#include "llama/linear.hpp"
#include "llama/model.hpp"
#include "llama/router.hpp"
#include "support/workers.hpp"

namespace morphkv::llama {

/// gate = gate combined with up.
inline void combine(const Config& config, Matrix& gate, Matrix& up) {
  switch (config.gate) {
    case Gate::silu:
      gate.array() *= up.array() / (1 + (-gate.array()).exp());
      return;
    case Gate::gelu_tanh: {
      const auto root = static_cast<float>(std::numbers::sqrt2 * std::numbers::inv_sqrtpi);
      const auto x = gate.array();
      gate.array() *= up.array() * 0.5F * (1 + (root * (x + 0.044715F * x.cube())).tanh());
      return;
    }
    case Gate::clamped_silu: {
      const auto limit = static_cast<float>(config.gate_limit);
      gate.array() = gate.array().min(limit);
      up.array() = up.array().max(-limit).min(limit) + 1;
      gate.array() *= up.array() / (1 + (-1.702F * gate.array()).exp());
      return;
    }
  }
}

/// Keeps its activations, so that a step does not allocate.
class FeedForward {
 public:
  /// \param x   [tokens, dim], normalised
  /// \param out [tokens, dim]
  void operator()(const Config& config, const Layer& layer, const Matrix& x, Matrix& out,
                  support::Workers& workers) {
    if (layer.mlp.down.weights.size() > 0) {
      run(config, layer.mlp, x, out, workers);
    } else {
      out.setZero(x.rows(), x.cols());
    }
    if (!layer.experts.empty()) add_experts(config, layer, x, out, workers);
  }

 private:
  void run(const Config& config, const Mlp& mlp, const Matrix& x, Matrix& out,
           support::Workers& workers) {
    project(x, mlp.gate, gate_, workers);
    project(x, mlp.up, up_, workers);
    combine(config, gate_, up_);
    project(gate_, mlp.down, out, workers);
  }

  /// Each expert reads its weights once, for all of its tokens.
  void add_experts(const Config& config, const Layer& layer, const Matrix& x, Matrix& out,
                   support::Workers& workers) {
    project(x, layer.router, logits_, workers);
    tokens_.resize(layer.experts.size());
    for (std::vector<Share>& tokens : tokens_) tokens.clear();
    for (Eigen::Index t = 0; t < x.rows(); ++t) {
      const std::span<const float> logits(logits_.row(t).data(), layer.experts.size());
      for (const ChosenExpert& chosen : router_(*config.mixture, logits)) {
        tokens_[chosen.expert].push_back({t, chosen.weight});
      }
    }
    for (std::size_t expert = 0; expert < layer.experts.size(); ++expert) {
      const std::vector<Share>& tokens = tokens_[expert];
      if (tokens.empty()) continue;
      gathered_.resize(static_cast<Eigen::Index>(tokens.size()), x.cols());
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        gathered_.row(static_cast<Eigen::Index>(i)) = x.row(tokens[i].token);
      }
      run(config, layer.experts[expert], gathered_, added_, workers);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        out.row(tokens[i].token) += tokens[i].weight * added_.row(static_cast<Eigen::Index>(i));
      }
    }
  }

  /// Of an expert's output, in a token's.
  struct Share {
    Eigen::Index token = 0;
    float weight = 0;
  };

  Router router_;
  std::vector<std::vector<Share>> tokens_;  ///< per expert
  Matrix gate_;
  Matrix up_;
  Matrix logits_;
  Matrix gathered_;
  Matrix added_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_FEED_FORWARD_HPP
