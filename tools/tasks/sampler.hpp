// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_SAMPLER_HPP
#define MORPHKV_BENCH_TASKS_SAMPLER_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "random.hpp"

namespace morphkv::tasks {

// Min-p sampling (arXiv 2407.01082): a token drawn in proportion to its probability, out of those
// that are at least `min_p` times as likely as the likeliest. So a writer who is free draws, and a
// writer who knows repeats. One number is drawn from `random` a call, whatever the logits are.
[[nodiscard]] inline int sample_min_p(std::span<const float> logits, double min_p, Random& random) {
  const double uniform = random.fraction();
  const float greatest = *std::max_element(logits.begin(), logits.end());
  const auto weight = [&](std::size_t i) {
    const double relative = std::exp(static_cast<double>(logits[i] - greatest));
    return relative >= min_p ? relative : 0;
  };
  double total = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    total += weight(i);
  }
  double left = uniform * total;
  int last = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double w = weight(i);
    if (w > 0) {
      last = static_cast<int>(i);
      left -= w;
      if (left < 0) {
        break;
      }
    }
  }
  return last;
}

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_SAMPLER_HPP
