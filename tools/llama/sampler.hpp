// SPDX-License-Identifier: Apache-2.0
/// \file
/// The next token from logits.
#ifndef MORPHKV_TOOLS_LLAMA_SAMPLER_HPP
#define MORPHKV_TOOLS_LLAMA_SAMPLER_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

#include "llama/transformer.hpp"

namespace morphkv::llama {

/// Applied in the order of the fields, as in transformers.
struct SamplingOptions {
  double repetition_penalty = 1;  ///< of tokens that occurred (arXiv 1909.05858); 1: none
  double temperature = 0;         ///< 0: the most likely token
  double top_p = 1;  ///< the most likely tokens that together have this probability (1904.09751)
  double min_p = 0;  ///< tokens this many times as likely as the most likely one (2407.01082)
  std::uint64_t seed = 0;
};

/// Thread safety: none.
class Sampler {
 public:
  /// \throws std::invalid_argument naming the option that is not valid
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {
    const auto require = [](bool valid, const char* name, double given, const char* allowed) {
      if (valid) return;
      throw std::invalid_argument(std::string(name) + " = " + std::to_string(given) + ": must be " +
                                  allowed);
    };
    require(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty),
            "--repetition-penalty", options.repetition_penalty, "above 0");
    require(options.temperature >= 0 && std::isfinite(options.temperature), "--temperature",
            options.temperature, "at least 0");
    require(options.top_p > 0 && options.top_p <= 1, "--top-p", options.top_p,
            "above 0 and at most 1");
    require(options.min_p >= 0 && options.min_p <= 1, "--min-p", options.min_p, "from 0 to 1");
  }

  /// Counts a token as one that occurred.
  void add(int token) { seen_.insert(token); }

  /// \return the next token, which also counts as one that occurred
  [[nodiscard]] int operator()(std::span<const float> logits) {
    logits_.assign(logits.begin(), logits.end());
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const int token : seen_) {
      float& logit = logits_[static_cast<std::size_t>(token)];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
    const int token = options_.temperature > 0 ? draw() : most_likely(logits_);
    add(token);
    return token;
  }

 private:
  [[nodiscard]] int draw() {
    const float largest = *std::max_element(logits_.begin(), logits_.end());
    weights_.resize(logits_.size());
    for (std::size_t i = 0; i < logits_.size(); ++i) {
      weights_[i] = std::exp(static_cast<double>(logits_[i] - largest) / options_.temperature);
    }
    if (options_.top_p < 1) keep_top_p();
    for (double& weight : weights_) {
      if (weight < options_.min_p) weight = 0;
    }
    const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    double left = static_cast<double>(random_() >> 11U) * 0x1p-53 * total;
    int last = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      if (weights_[i] == 0) continue;
      last = static_cast<int>(i);
      left -= weights_[i];
      if (left < 0) break;
    }
    return last;
  }

  /// Of equally likely tokens the first are kept.
  void keep_top_p() {
    order_.resize(weights_.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      return weights_[a] != weights_[b] ? weights_[a] > weights_[b] : a < b;
    });
    const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    double sum = 0;
    for (const std::size_t i : order_) {
      if (sum >= options_.top_p * total) weights_[i] = 0;
      sum += weights_[i];
    }
  }

  SamplingOptions options_;
  std::mt19937_64 random_;
  std::unordered_set<int> seen_;
  std::vector<float> logits_;
  std::vector<double> weights_;
  std::vector<std::size_t> order_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_SAMPLER_HPP
