// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rotary position embedding (arXiv 2104.09864).
#ifndef MORPHKV_TOOLS_LLAMA_ROPE_HPP
#define MORPHKV_TOOLS_LLAMA_ROPE_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <vector>

#include "llama/config.hpp"

namespace morphkv::llama {

/// Rotates the pairs of a head's vector by angles proportional to the position.
class Rope {
 public:
  explicit Rope(const Config& config) : pairs_(config.rope_pairs) {
    const std::size_t half = config.rotated_dim() / 2;
    for (std::size_t i = 0; i < half; ++i) {
      const double exponent = static_cast<double>(i) / static_cast<double>(half);
      frequencies_.push_back(std::pow(config.rope_theta, -exponent));
    }
    if (config.rope_scaling) scale(*config.rope_scaling, config.rope_theta);
    cosines_.resize(half);
    sines_.resize(half);
  }

  /// The position of the following calls of rotate().
  void move_to(std::size_t position) {
    for (std::size_t i = 0; i < frequencies_.size(); ++i) {
      const double angle = static_cast<double>(position) * frequencies_[i];
      cosines_[i] = static_cast<float>(std::cos(angle) * magnitude_);
      sines_[i] = static_cast<float>(std::sin(angle) * magnitude_);
    }
  }

  /// Rotates the end of each of the consecutive heads of `head_dim` elements.
  void rotate(std::span<float> heads, std::size_t head_dim) const {
    const std::size_t half = frequencies_.size();
    const bool halves = pairs_ == RopePairs::halves;
    for (std::size_t begin = head_dim - 2 * half; begin < heads.size(); begin += head_dim) {
      for (std::size_t i = 0; i < half; ++i) {
        float& a = heads[begin + (halves ? i : 2 * i)];
        float& b = heads[begin + (halves ? i + half : 2 * i + 1)];
        const float rotated = a * cosines_[i] - b * sines_[i];
        b = a * sines_[i] + b * cosines_[i];
        a = rotated;
      }
    }
  }

 private:
  void scale(const RopeScaling& scaling, double theta) {
    if (scaling.type == RopeScaling::Type::yarn) magnitude_ = scaling.attention_factor;
    const Ramp ramp = yarn_ramp(scaling, theta);
    for (std::size_t i = 0; i < frequencies_.size(); ++i) {
      double kept = 0;  // share of the frequency that is not divided
      if (scaling.type == RopeScaling::Type::llama3) kept = llama3_share(scaling, frequencies_[i]);
      if (scaling.type == RopeScaling::Type::yarn) {
        kept = 1 - std::clamp((static_cast<double>(i) - ramp.begin) / (ramp.end - ramp.begin), 0.0,
                              1.0);
      }
      frequencies_[i] *= kept + (1 - kept) / scaling.factor;
    }
  }

  /// 1 for many turns within the original context, 0 for few, linear in between.
  static double llama3_share(const RopeScaling& scaling, double frequency) {
    const double turns = scaling.original_context * frequency / (2 * std::numbers::pi);
    const double share = (turns - scaling.low_frequency_factor) /
                         (scaling.high_frequency_factor - scaling.low_frequency_factor);
    return std::clamp(share, 0.0, 1.0);
  }

  /// In pairs of elements.
  struct Ramp {
    double begin = 0;
    double end = 1;
  };
  [[nodiscard]] Ramp yarn_ramp(const RopeScaling& scaling, double theta) const {
    const auto dim = static_cast<double>(2 * frequencies_.size());
    const auto pair_with_turns = [&](double turns) {
      return dim * std::log(scaling.original_context / (turns * 2 * std::numbers::pi)) /
             (2 * std::log(theta));
    };
    Ramp ramp{pair_with_turns(scaling.beta_fast), pair_with_turns(scaling.beta_slow)};
    if (scaling.truncate) ramp = {std::floor(ramp.begin), std::ceil(ramp.end)};
    ramp = {(std::max)(ramp.begin, 0.0), (std::min)(ramp.end, dim - 1)};
    if (ramp.begin == ramp.end) ramp.end += 0.001;
    return ramp;
  }

  RopePairs pairs_;
  double magnitude_ = 1;
  std::vector<double> frequencies_;
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_ROPE_HPP
