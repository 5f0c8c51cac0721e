// SPDX-License-Identifier: Apache-2.0
/// \file
/// Intervals of figures that several outcomes make together.
#ifndef MORPHKV_BENCH_ACCURACY_BOOTSTRAP_HPP
#define MORPHKV_BENCH_ACCURACY_BOOTSTRAP_HPP

#include <cstddef>

#include "comparison/experiment.hpp"
#include "resample.hpp"

namespace morphkv::accuracy {

/// The mean accuracy of outcomes over prompts that are drawn again.
class Resample : public bench::Resample {
 public:
  using bench::Resample::Resample;

  [[nodiscard]] double operator()(const comparison::Outcome& outcome) const {
    return mean(outcome.samples.size(),
                [&](std::size_t k) { return outcome.samples[k].score.accuracy; });
  }
};

template <class Statistic>
[[nodiscard]] comparison::Interval bootstrap(std::size_t max_prompts, const Statistic& statistic) {
  return bench::bootstrap<Resample>(max_prompts, statistic);
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_BOOTSTRAP_HPP
