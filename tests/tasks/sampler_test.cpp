// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "tasks/sampler.hpp"

namespace morphkv::tasks::sampler_test { namespace {

TEST(SampleMinP, DrawsInProportionToWhatIsLeft) {
  // Probabilities 0.5, 0.3, 0.15, 0.05: with min_p 0.2 the last one is left out.
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.15F),
                                     std::log(0.05F)};
  Random random(1);
  std::array<int, 4> counts{};
  constexpr int draws = 20000;
  for (int i = 0; i < draws; ++i) {
    ++counts[static_cast<std::size_t>(sample_min_p(logits, 0.2, random))];
  }
  const std::array<double, 4> expected = {0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0};
  for (std::size_t i = 0; i < counts.size(); ++i) {
    // Four standard deviations of a binomial count.
    const double tolerance = 4 * std::sqrt(expected[i] * (1 - expected[i]) / draws);
    EXPECT_NEAR(static_cast<double>(counts[i]) / draws, expected[i], tolerance) << i;
  }
}

TEST(SampleMinP, OneIsGreedy) {
  Random random(1);
  const std::vector<float> logits = {0.1F, 2.0F, 1.9F, -std::numeric_limits<float>::infinity()};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(sample_min_p(logits, 1, random), 1);
}

TEST(SampleMinP, OneNumberACall) {
  Random one(3);
  Random other(3);
  (void)sample_min_p(std::vector<float>{0, 0, 0}, 0, one);
  (void)sample_min_p(std::vector<float>{5, 0, 0}, 1, other);
  EXPECT_EQ(one.fraction(), other.fraction());
}

}  // namespace
}  // namespace morphkv::tasks::sampler_test
