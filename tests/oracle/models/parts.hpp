// SPDX-License-Identifier: Apache-2.0
/// \file
/// Parts of language models in double: whole sequences, plain loops, whole attention matrices.
#ifndef MORPHKV_TESTS_ORACLE_MODELS_PARTS_HPP
#define MORPHKV_TESTS_ORACLE_MODELS_PARTS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace morphkv::oracle {

using Numbers = std::vector<double>;
using Rows = std::vector<Numbers>;                    ///< [tokens][elements]
using ModelWeights = std::map<std::string, Numbers>;  ///< by the names of the files, row-major

/// Whether a query sees a token that is not after it, in a layer's KV head.
using Visible = std::function<bool(std::size_t layer, std::size_t kv_head, std::size_t query,
                                   std::size_t token)>;

/// out[o] = x . w[o]
inline Numbers product(const Numbers& x, const double* w, std::size_t outputs) {
  Numbers out(outputs);
  for (std::size_t o = 0; o < outputs; ++o) {
    for (std::size_t i = 0; i < x.size(); ++i) out[o] += w[o * x.size() + i] * x[i];
  }
  return out;
}

/// Each row times the matrix `name`.weight, plus `name`.bias where there is one.
inline Rows linear(const Rows& x, const ModelWeights& weights, const std::string& name) {
  const Numbers& w = weights.at(name + ".weight");
  const auto bias = weights.find(name + ".bias");
  Rows out;
  for (const Numbers& row : x) {
    out.push_back(product(row, w.data(), w.size() / row.size()));
    for (std::size_t o = 0; bias != weights.end() && o < out.back().size(); ++o) {
      out.back()[o] += bias->second[o];
    }
  }
  return out;
}

/// The rows of the embedding.
inline Rows embed(const std::vector<int>& tokens, const ModelWeights& weights, std::size_t dim) {
  const Numbers& table = weights.at("model.embed_tokens.weight");
  Rows out;
  for (const int token : tokens) {
    const auto begin = table.begin() + static_cast<std::ptrdiff_t>(dim) * token;
    out.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(dim));
  }
  return out;
}

/// x / sqrt(mean x^2 + epsilon) * (offset + weight), of `weight.size()` elements in place.
inline void rms_norm(double* x, const Numbers& weight, double epsilon, double offset = 0) {
  double mean = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    mean += x[i] * x[i] / static_cast<double>(weight.size());
  }
  for (std::size_t i = 0; i < weight.size(); ++i) {
    x[i] *= (offset + weight[i]) / std::sqrt(mean + epsilon);
  }
}

/// Of each row.
inline Rows rms_norm(Rows x, const Numbers& weight, double epsilon, double offset = 0) {
  for (Numbers& row : x) rms_norm(row.data(), weight, epsilon, offset);
  return x;
}

inline void add(Rows& x, const Rows& more) {
  for (std::size_t t = 0; t < x.size(); ++t) {
    for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += more[t][i];
  }
}

inline double silu(double x) { return x / (1 + std::exp(-x)); }

/// down(act(gate(x)) * up(x)) of the tensors `name`gate_proj, ...
template <class Act>
Rows gated_mlp(const Rows& x, const ModelWeights& weights, const std::string& name,
               const Act& act) {
  Rows hidden = linear(x, weights, name + "gate_proj");
  const Rows up = linear(x, weights, name + "up_proj");
  for (std::size_t t = 0; t < x.size(); ++t) {
    for (std::size_t i = 0; i < up[t].size(); ++i) hidden[t][i] = act(hidden[t][i]) * up[t][i];
  }
  return linear(hidden, weights, name + "down_proj");
}

/// Radians per position of each pair of a rotation of `dim` elements.
inline Numbers rope_frequencies(std::size_t dim, double theta) {
  Numbers frequencies;
  for (std::size_t i = 0; i < dim; i += 2) {
    frequencies.push_back(std::pow(theta, -static_cast<double>(i) / static_cast<double>(dim)));
  }
  return frequencies;
}

/// The same by YaRN (arXiv 2309.00071): pairs that turn rarely within the original context are
/// slowed by the factor, those that turn often are not, and a linear ramp lies between them.
inline Numbers yarn_frequencies(std::size_t dim, double theta, const nlohmann::json& scaling) {
  Numbers frequencies = rope_frequencies(dim, theta);
  const double original = scaling.at("original_max_position_embeddings");
  const auto pair_that_turns = [&](double times) {
    return static_cast<double>(dim) / 2 * std::log(original / (times * 2 * M_PI)) / std::log(theta);
  };
  double low = pair_that_turns(scaling.at("beta_fast"));
  double high = pair_that_turns(scaling.at("beta_slow"));
  if (scaling.value("truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim) - 1);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double slow = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] *= (1 - slow) + slow / static_cast<double>(scaling.at("factor"));
  }
  return frequencies;
}

/// Rotates elements [begin, begin + 2 pairs) of each head, token t by t times the frequency.
/// \param neighbours whether pairs are (2 i, 2 i + 1), or (i, i + pairs)
inline void rotate(Rows& x, std::size_t head_dim, std::size_t begin, const Numbers& frequencies,
                   bool neighbours, double magnitude = 1) {
  const std::size_t pairs = frequencies.size();
  for (std::size_t t = 0; t < x.size(); ++t) {
    for (std::size_t head = 0; head < x[t].size(); head += head_dim) {
      for (std::size_t i = 0; i < pairs; ++i) {
        double& a = x[t][head + begin + (neighbours ? 2 * i : i)];
        double& b = x[t][head + begin + (neighbours ? 2 * i + 1 : i + pairs)];
        const double angle = static_cast<double>(t) * frequencies[i];
        const double old = a;
        a = magnitude * (old * std::cos(angle) - b * std::sin(angle));
        b = magnitude * (old * std::sin(angle) + b * std::cos(angle));
      }
    }
  }
}

struct AttentionOptions {
  std::size_t query_heads = 1;
  std::size_t kv_heads = 1;
  double scale = 1;
  double soft_cap = 0;            ///< 0: none
  const double* sinks = nullptr;  ///< [query_heads]: logits without a value
  std::size_t window = SIZE_MAX;  ///< tokens that a query sees, its own among them
};

/// softmax(q k^T) v for each query head.
template <class See>
Rows attention(const Rows& q, const Rows& k, const Rows& v, const AttentionOptions& o,
               const See& see) {
  const std::size_t dim = q[0].size() / o.query_heads;
  const std::size_t value_dim = v[0].size() / o.kv_heads;
  Rows out(q.size(), Numbers(o.query_heads * value_dim));
  for (std::size_t head = 0; head < o.query_heads; ++head) {
    const std::size_t kv = head * o.kv_heads / o.query_heads;
    for (std::size_t t = 0; t < q.size(); ++t) {
      Numbers weights(t + 1);
      double total = o.sinks == nullptr ? 0 : std::exp(o.sinks[head]);
      for (std::size_t s = 0; s <= t; ++s) {
        if (t - s >= o.window || !see(kv, t, s)) continue;
        double logit = 0;
        for (std::size_t d = 0; d < dim; ++d) logit += q[t][head * dim + d] * k[s][kv * dim + d];
        logit *= o.scale;
        if (o.soft_cap > 0) logit = o.soft_cap * std::tanh(logit / o.soft_cap);
        total += weights[s] = std::exp(logit);
      }
      for (std::size_t s = 0; s <= t; ++s) {
        for (std::size_t d = 0; d < value_dim; ++d) {
          out[t][head * value_dim + d] += weights[s] / total * v[s][kv * value_dim + d];
        }
      }
    }
  }
  return out;
}

/// The indices of the largest numbers, largest first.
inline std::vector<std::size_t> largest(const Numbers& numbers, std::size_t count) {
  std::vector<std::size_t> chosen;
  while (chosen.size() < count) {
    std::size_t best = numbers.size();
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (std::find(chosen.begin(), chosen.end(), i) != chosen.end()) continue;
      if (best == numbers.size() || numbers[i] > numbers[best]) best = i;
    }
    chosen.push_back(best);
  }
  return chosen;
}

/// The logits of the vocabulary, by the embedding where there is no other matrix.
inline Rows classify(const Rows& x, const ModelWeights& weights) {
  const bool untied = weights.contains("lm_head.weight");
  return linear(x, weights, untied ? "lm_head" : "model.embed_tokens");
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_MODELS_PARTS_HPP
