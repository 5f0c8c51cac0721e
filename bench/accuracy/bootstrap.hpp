// SPDX-License-Identifier: Apache-2.0
/// \file
/// Intervals of figures that several outcomes make together.
#ifndef MORPHKV_BENCH_ACCURACY_BOOTSTRAP_HPP
#define MORPHKV_BENCH_ACCURACY_BOOTSTRAP_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "comparison/experiment.hpp"
#include "comparison/statistics.hpp"

namespace morphkv::accuracy {

/// The mean accuracy of outcomes over prompts that are drawn again, with replacement: outcomes with
/// as many prompts share the draw, so that differences between them are paired.
class Resample {
 public:
  /// The prompts as they are.
  Resample() = default;
  explicit Resample(std::vector<double> draws) : draws_(std::move(draws)) {}

  [[nodiscard]] double operator()(const comparison::Outcome& outcome) const {
    const auto& samples = outcome.samples;
    const auto count = static_cast<double>(samples.size());
    double sum = 0;
    for (std::size_t k = 0; k < samples.size(); ++k) {
      const std::size_t drawn =
          draws_.empty() ? k : static_cast<std::size_t>(draws_[k % draws_.size()] * count);
      sum += samples[drawn].score.accuracy;
    }
    return sum / count;
  }

 private:
  std::vector<double> draws_;  ///< in [0, 1)
};

/// `statistic(resample)` as measured, with the middle 95 % of what 1000 resamples make of it.
template <class Statistic>
[[nodiscard]] comparison::Interval bootstrap(std::size_t most_prompts, const Statistic& statistic) {
  constexpr std::size_t resamples = 1000;
  std::mt19937_64 random(1);
  std::vector<double> values;
  for (std::size_t r = 0; r < resamples; ++r) {
    std::vector<double> draws(most_prompts);
    for (double& draw : draws) draw = static_cast<double>(random() >> 11U) * 0x1p-53;
    values.push_back(statistic(Resample(std::move(draws))));
  }
  std::sort(values.begin(), values.end());
  return {statistic(Resample()), values[resamples / 40], values[resamples - 1 - resamples / 40]};
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_BOOTSTRAP_HPP
