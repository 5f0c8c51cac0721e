// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rotary position embedding.
#ifndef MORPHKV_EXAMPLES_LLAMA_ROPE_HPP
#define MORPHKV_EXAMPLES_LLAMA_ROPE_HPP

#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <vector>

#include "llama/config.hpp"

namespace morphkv::llama {

/// Turns the pairs of a head's vector by angles that grow with the position.
class Rope {
 public:
  explicit Rope(const Config& config) : pairs_(config.rope_pairs) {
    const std::size_t half = config.head_dim / 2;
    for (std::size_t i = 0; i < half; ++i) {
      const double exponent = static_cast<double>(i) / static_cast<double>(half);
      const double frequency = std::pow(config.rope_theta, -exponent);
      frequencies_.push_back(config.rope_scaling ? stretched(frequency, *config.rope_scaling)
                                                 : frequency);
    }
    cosines_.resize(half);
    sines_.resize(half);
  }

  /// All that follows is at this position.
  void move_to(std::size_t position) {
    for (std::size_t i = 0; i < frequencies_.size(); ++i) {
      const double angle = static_cast<double>(position) * frequencies_[i];
      cosines_[i] = static_cast<float>(std::cos(angle));
      sines_[i] = static_cast<float>(std::sin(angle));
    }
  }

  /// Turns each of the heads that lie one after the other in `heads`.
  void turn(std::span<float> heads) const {
    const std::size_t half = frequencies_.size();
    const bool halves = pairs_ == RopePairs::halves;
    for (std::size_t begin = 0; begin < heads.size(); begin += 2 * half) {
      for (std::size_t i = 0; i < half; ++i) {
        float& a = heads[begin + (halves ? i : 2 * i)];
        float& b = heads[begin + (halves ? i + half : 2 * i + 1)];
        const float turned = a * cosines_[i] - b * sines_[i];
        b = a * sines_[i] + b * cosines_[i];
        a = turned;
      }
    }
  }

 private:
  /// Waves longer than the original context are stretched by the factor, short ones are left alone,
  /// and those between change over smoothly.
  static double stretched(double frequency, const RopeScaling& scaling) {
    const double turns = scaling.original_context * frequency / (2 * std::numbers::pi);
    if (turns >= scaling.high_frequency_factor) return frequency;
    if (turns <= scaling.low_frequency_factor) return frequency / scaling.factor;
    const double share = (turns - scaling.low_frequency_factor) /
                         (scaling.high_frequency_factor - scaling.low_frequency_factor);
    return (1 - share) * frequency / scaling.factor + share * frequency;
  }

  RopePairs pairs_;
  std::vector<double> frequencies_;
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_EXAMPLES_LLAMA_ROPE_HPP
