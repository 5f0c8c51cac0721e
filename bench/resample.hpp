// SPDX-License-Identifier: Apache-2.0
/// \file
/// Intervals of figures that several samples make together.
#ifndef MORPHKV_BENCH_RESAMPLE_HPP
#define MORPHKV_BENCH_RESAMPLE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "comparison/statistics.hpp"

namespace morphkv::bench {

/// The mean over samples that are drawn again, with replacement. Series of the same length share
/// the draw, so that differences between them are paired.
class Resample {
 public:
  /// The samples as they are.
  Resample() = default;
  explicit Resample(std::vector<double> draws) : draws_(std::move(draws)) {}

  /// The mean of value(k) over the drawn k of `count`.
  template <class Value>
  [[nodiscard]] double mean(std::size_t count, const Value& value) const {
    double sum = 0;
    for (std::size_t k = 0; k < count; ++k) {
      const std::size_t drawn =
          draws_.empty()
              ? k
              : static_cast<std::size_t>(draws_[k % draws_.size()] * static_cast<double>(count));
      sum += value(drawn);
    }
    return sum / static_cast<double>(count);
  }

 private:
  std::vector<double> draws_;  ///< in [0, 1)
};

/// `statistic(resample)` as measured, with the middle 95 % of its values on 1000 resamples.
template <class Draws = Resample, class Statistic>
[[nodiscard]] comparison::Interval bootstrap(std::size_t max_samples, const Statistic& statistic) {
  constexpr std::size_t resamples = 1000;
  std::mt19937_64 random(1);
  std::vector<double> values;
  for (std::size_t r = 0; r < resamples; ++r) {
    std::vector<double> draws(max_samples);
    for (double& draw : draws) draw = static_cast<double>(random() >> 11U) * 0x1p-53;
    values.push_back(statistic(Draws(std::move(draws))));
  }
  std::sort(values.begin(), values.end());
  return {statistic(Draws()), values[resamples / 40], values[resamples - 1 - resamples / 40]};
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_RESAMPLE_HPP
