// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_TESTS_TOOLS_REFERENCE_LLAMA_HPP
#define MORPHKV_TESTS_TOOLS_REFERENCE_LLAMA_HPP

// Llama-family models in double, token by token, from the papers and with nothing of the engine but
// its weights: RMSNorm (arXiv 1910.07467), RoPE as a rotation of complex numbers (2104.09864),
// SwiGLU (2002.05202), grouped queries (2305.13245), YaRN (2309.00071); Llama 3's scaling of RoPE
// as its model card gives it.

#include <Eigen/Core>
#include <cmath>
#include <complex>
#include <cstddef>
#include <vector>

#include "llama/model.hpp"

namespace morphkv::testing {

class ReferenceLlama {
 public:
  /// \pre the model's pairs are neighbours
  explicit ReferenceLlama(const llama::Model& model) : model_(model), past_(model.layers.size()) {}

  /// The logits after one more token.
  Eigen::VectorXd step(int token) {
    Eigen::VectorXd x = model_.embedding.to_matrix().row(token).transpose().cast<double>();
    for (std::size_t l = 0; l < model_.layers.size(); ++l) {
      const llama::Layer& layer = model_.layers[l];
      const Eigen::VectorXd attended = attention(l, norm(x, layer.attention_norm));
      x += times(layer.output, attended);
      const Eigen::VectorXd h = norm(x, layer.feed_forward_norm);
      const Eigen::VectorXd gate = times(layer.mlp.gate, h);
      const Eigen::VectorXd up = times(layer.mlp.up, h);
      const Eigen::ArrayXd silu = gate.array() / (1 + (-gate.array()).exp());
      x += times(layer.mlp.down, (silu * up.array()).matrix());
    }
    ++position_;
    return times({model_.classifier(), {}}, norm(x, model_.norm));
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

  [[nodiscard]] static Eigen::VectorXd times(const llama::Linear& linear,
                                             const Eigen::VectorXd& x) {
    Eigen::VectorXd result = linear.weights.to_matrix().cast<double>() * x;
    if (linear.bias.size() > 0) result += linear.bias.transpose().cast<double>();
    return result;
  }

  [[nodiscard]] Eigen::VectorXd normed_heads(Eigen::VectorXd heads,
                                             const llama::RowVector& weight) const {
    for (Eigen::Index at = 0; weight.size() > 0 && at < heads.size(); at += weight.size()) {
      heads.segment(at, weight.size()) = norm(heads.segment(at, weight.size()), weight);
    }
    return heads;
  }

  /// Radians per position of the pair `i`, which ends at head_dim / 2.
  [[nodiscard]] double frequency(double i) const {
    const auto dim = static_cast<double>(model_.config.head_dim);
    const double base = model_.config.rope_theta;
    const double plain = std::pow(base, -2 * i / dim);
    if (!model_.config.rope_scaling) return plain;
    const llama::RopeScaling& s = *model_.config.rope_scaling;
    const double pi = 3.14159265358979323846;
    if (s.type == llama::RopeScaling::Type::linear) return plain / s.factor;
    if (s.type == llama::RopeScaling::Type::llama3) {
      const double wavelength = 2 * pi / plain;
      if (wavelength < s.original_context / s.high_frequency_factor) return plain;
      if (wavelength > s.original_context / s.low_frequency_factor) return plain / s.factor;
      const double smooth = (s.original_context / wavelength - s.low_frequency_factor) /
                            (s.high_frequency_factor - s.low_frequency_factor);
      return (1 - smooth) * plain / s.factor + smooth * plain;
    }
    const auto dimension = [&](double rotations) {
      return dim * std::log(s.original_context / (rotations * 2 * pi)) / (2 * std::log(base));
    };
    double low = dimension(s.beta_fast);
    double high = dimension(s.beta_slow);
    if (s.truncate) low = std::floor(low);
    if (s.truncate) high = std::ceil(high);
    low = low < 0 ? 0 : low;
    high = high > dim - 1 ? dim - 1 : high;
    if (low == high) high += 0.001;
    double ramp = (i - low) / (high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return plain / s.factor * ramp + plain * (1 - ramp);
  }

  [[nodiscard]] Eigen::VectorXd rotated(Eigen::VectorXd heads) const {
    const bool is_yarn = model_.config.rope_scaling &&
                         model_.config.rope_scaling->type == llama::RopeScaling::Type::yarn;
    const double magnitude = is_yarn ? model_.config.rope_scaling->attention_factor : 1;
    const auto dim = static_cast<Eigen::Index>(model_.config.head_dim);
    for (Eigen::Index i = 0; i < heads.size(); i += 2) {
      const double angle = position_ * frequency(static_cast<double>(i % dim / 2));
      const std::complex<double> pair =
          std::complex<double>(heads(i), heads(i + 1)) * std::polar(magnitude, angle);
      heads(i) = pair.real();
      heads(i + 1) = pair.imag();
    }
    return heads;
  }

  Eigen::VectorXd attention(std::size_t index, const Eigen::VectorXd& x) {
    const llama::Layer& layer = model_.layers[index];
    Past& past = past_[index];
    const std::vector<bool>& use_rope = model_.config.use_rope;
    const auto place = [&](const Eigen::VectorXd& heads) {
      return use_rope.empty() || use_rope[index] ? rotated(heads) : heads;
    };
    past.keys.push_back(place(normed_heads(times(layer.key, x), layer.key_norm)));
    past.values.push_back(times(layer.value, x));
    const Eigen::VectorXd queries = place(normed_heads(times(layer.query, x), layer.query_norm));
    Eigen::VectorXd out = Eigen::VectorXd::Zero(queries.size());
    const auto dim = static_cast<Eigen::Index>(model_.config.head_dim);
    const std::vector<std::size_t>& windows = model_.config.windows;
    const std::size_t window = windows.empty() ? 0 : windows[index];
    const std::size_t first =
        window > 0 && past.keys.size() > window ? past.keys.size() - window : 0;
    const auto group =
        static_cast<Eigen::Index>(model_.config.query_heads / model_.config.kv_heads);
    for (Eigen::Index head = 0; head < queries.size() / dim; ++head) {
      const Eigen::VectorXd query = queries.segment(head * dim, dim);
      double sum = 0;
      for (std::size_t t = first; t < past.keys.size(); ++t) {
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

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_TOOLS_REFERENCE_LLAMA_HPP
