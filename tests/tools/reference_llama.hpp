// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_TESTS_EXAMPLES_REFERENCE_LLAMA_HPP
#define MORPHKV_TESTS_EXAMPLES_REFERENCE_LLAMA_HPP

// A Llama in double, token by token, from the papers and with nothing of the engine but its
// weights: RMSNorm (arXiv 1910.07467), RoPE as a rotation of complex numbers (2104.09864), SwiGLU
// (2002.05202), grouped queries (2305.13245).

#include <Eigen/Core>
#include <cmath>
#include <complex>
#include <cstddef>
#include <vector>

#include "llama/model.hpp"

namespace morphkv::test {

class ReferenceLlama {
 public:
  /// \pre the model's pairs are neighbours
  explicit ReferenceLlama(const llama::Model& model) : model_(model), past_(model.layers.size()) {}

  /// The logits after one more token.
  Eigen::VectorXd step(int token) {
    Eigen::VectorXd x = model_.embedding.row(token).transpose().cast<double>();
    for (std::size_t l = 0; l < model_.layers.size(); ++l) {
      const llama::Layer& layer = model_.layers[l];
      x += layer.output.cast<double>() * attention(layer, past_[l], norm(x, layer.attention_norm));
      const Eigen::VectorXd h = norm(x, layer.feed_forward_norm);
      const Eigen::VectorXd gate = layer.gate.cast<double>() * h;
      const Eigen::VectorXd up = layer.up.cast<double>() * h;
      const Eigen::ArrayXd silu = gate.array() / (1 + (-gate.array()).exp());
      x += layer.down.cast<double>() * (silu * up.array()).matrix();
    }
    ++position_;
    return model_.classifier().cast<double>() * norm(x, model_.norm);
  }

 private:
  struct Past {
    std::vector<Eigen::VectorXd> keys;
    std::vector<Eigen::VectorXd> values;
  };

  [[nodiscard]] Eigen::VectorXd norm(const Eigen::VectorXd& x, const llama::RowVector& w) const {
    const double mean = x.squaredNorm() / static_cast<double>(x.size());
    const double epsilon = static_cast<double>(model_.config.norm_epsilon);
    return (x.array() * w.transpose().cast<double>().array() / std::sqrt(mean + epsilon)).matrix();
  }

  [[nodiscard]] Eigen::VectorXd turned(Eigen::VectorXd heads) const {
    const auto dim = static_cast<Eigen::Index>(model_.config.head_dim);
    for (Eigen::Index i = 0; i < heads.size(); i += 2) {
      const double exponent = static_cast<double>(i % dim) / static_cast<double>(dim);
      const double angle = position_ * std::pow(model_.config.rope_theta, -exponent);
      const std::complex<double> pair =
          std::complex<double>(heads(i), heads(i + 1)) * std::polar(1.0, angle);
      heads(i) = pair.real();
      heads(i + 1) = pair.imag();
    }
    return heads;
  }

  Eigen::VectorXd attention(const llama::Layer& layer, Past& past, const Eigen::VectorXd& x) const {
    past.keys.push_back(turned(layer.key.cast<double>() * x));
    past.values.push_back(layer.value.cast<double>() * x);
    const Eigen::VectorXd queries = turned(layer.query.cast<double>() * x);
    Eigen::VectorXd out = Eigen::VectorXd::Zero(queries.size());
    const auto dim = static_cast<Eigen::Index>(model_.config.head_dim);
    const auto group =
        static_cast<Eigen::Index>(model_.config.query_heads / model_.config.kv_heads);
    for (Eigen::Index head = 0; head < queries.size() / dim; ++head) {
      const Eigen::VectorXd query = queries.segment(head * dim, dim);
      double sum = 0;
      for (std::size_t t = 0; t < past.keys.size(); ++t) {
        const double logit = past.keys[t].segment(head / group * dim, dim).dot(query);
        const double weight = std::exp(logit / std::sqrt(static_cast<double>(dim)));
        out.segment(head * dim, dim) += weight * past.values[t].segment(head / group * dim, dim);
        sum += weight;
      }
      out.segment(head * dim, dim) /= sum;
    }
    return out;
  }

  const llama::Model& model_;
  std::vector<Past> past_;
  int position_ = 0;
};

}  // namespace morphkv::test

#endif  // MORPHKV_TESTS_EXAMPLES_REFERENCE_LLAMA_HPP
