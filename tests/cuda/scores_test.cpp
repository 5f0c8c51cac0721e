// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the device that decides who stays, run by the host.
#include "morphkv/cuda/scores.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "cuda/host_head.hpp"
#include "morphkv/core/half_bits.hpp"
#include "morphkv/score/recent_window.hpp"
#include "support/random.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::scores_test {
namespace {

TEST(RoundToHalf, AgreesWithThePortableLibraryOnEveryWeight) {
  const auto last = std::bit_cast<std::uint32_t>(greatest_weight);
  // All weights would take half a minute: every 61st, and all of those around each binary16.
  for (std::uint32_t bits = 0; bits <= last; bits += 61) {
    const auto weight = std::bit_cast<float>(bits);
    ASSERT_EQ(cuda::round_to_half(weight), to_half_bits(weight)) << weight;
  }
  for (std::uint16_t half = 0; half <= to_half_bits(greatest_weight); ++half) {
    const float low = from_half_bits(half);
    const float middle = (low + from_half_bits(static_cast<std::uint16_t>(half + 1))) / 2;
    for (const float centre : {low, middle}) {
      const auto bits = std::bit_cast<std::uint32_t>(centre);
      for (std::uint32_t b = bits < 3 ? 0 : bits - 3; b <= bits + 3; ++b) {
        const auto weight = std::bit_cast<float>(b);
        ASSERT_EQ(cuda::round_to_half(weight), to_half_bits(weight)) << weight;
      }
    }
  }
}

TEST(RoundToHalf, MinusZeroIsZero) { EXPECT_EQ(cuda::round_to_half(-0.0F), 0); }

/// The definition: the greatest pattern among the last R weights.
std::uint32_t greatest_of_last(const std::vector<float>& weights, std::size_t window) {
  std::uint32_t greatest = 0;
  for (std::size_t back = 0; back < std::min(window, weights.size()); ++back) {
    greatest = std::max<std::uint32_t>(greatest, to_half_bits(weights[weights.size() - 1 - back]));
  }
  return greatest;
}

std::uint32_t sum_of_last(const std::vector<float>& weights, std::size_t window) {
  std::uint32_t sum = 0;
  for (std::size_t back = 0; back < std::min(window, weights.size()); ++back) {
    sum += half_units(to_half_bits(weights[weights.size() - 1 - back]));
  }
  return sum;
}

class WindowTest : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(WindowTest, MaximumIsThatOfTheLastRows) {
  const std::uint32_t window = GetParam();
  const HostHead head(cuda::morphkv(window + 3, window, Fusion::max));
  Random random(window);
  std::vector<float> weights;
  for (std::uint32_t row = 0; row < 7 * window + 5; ++row) {
    // Rare peaks, so that the maximum changes hands when one leaves the window.
    weights.push_back(random.chance(0.2) ? draw_weight(Weights::fine, random) : 0.0F);
    const cuda::MaxWindow score(head.policy(), head.view(), row);
    ASSERT_EQ(score.push(2, weights.back(), score.fetch(2)), greatest_of_last(weights, window))
        << row;
    ASSERT_EQ(score.value(2), greatest_of_last(weights, window)) << row;
    ASSERT_EQ(score.value(1), 0U);
  }
}

TEST_P(WindowTest, SumIsThatOfTheLastRows) {
  const std::uint32_t window = GetParam();
  if (window > 255) return;  // more than sums of 32 bits hold
  const HostHead head(cuda::morphkv(window + 3, window, Fusion::sum));
  Random random(window);
  std::vector<float> weights;
  for (std::uint32_t row = 0; row < 5 * window + 5; ++row) {
    weights.push_back(random.chance(0.1) ? greatest_weight : draw_weight(Weights::fine, random));
    const cuda::SumWindow score(head.policy(), head.view(), row);
    ASSERT_EQ(score.push(1, weights.back(), score.fetch(1)), sum_of_last(weights, window)) << row;
    ASSERT_EQ(score.value(0), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, WindowTest,
                         ::testing::Values(1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 200, 255, 301));

TEST(AgeKey, OrdersByPositionAndKnowsTheSlot) {
  EXPECT_LT(cuda::age_key(3, 900), cuda::age_key(4, 0));
  EXPECT_LT(cuda::age_key(0, 1), cuda::age_key(0x7fffffff, 0));
  EXPECT_EQ(cuda::age_key(7, 123) & 0xffffffffU, 123U);
}

TEST(StateLayout, PartsDoNotOverlapAndBeginOnLines) {
  for (const cuda::Policy& policy :
       {cuda::morphkv(65, 31, Fusion::sum), cuda::morphkv(64, 7, Fusion::max), cuda::h2o(5, 6),
        cuda::tova(33), cuda::streaming_llm(9), cuda::snapkv(40, 90), cuda::full(1)}) {
    const cuda::StateLayout layout = cuda::layout_of(policy);
    ASSERT_TRUE(policy.is_valid());
    ASSERT_GE(layout.stride, policy.slots);
    ASSERT_GE(layout.positions, sizeof(cuda::HeadState));
    ASSERT_GE(layout.permanent - layout.positions, 4 * std::size_t{layout.stride});
    ASSERT_GE(layout.protection - layout.permanent, layout.stride / 8);
    ASSERT_GE(layout.arrivals - layout.protection, layout.stride / 8);
    ASSERT_GE(layout.ring - layout.arrivals, 4 * (std::size_t{policy.held_recent()} + 1));
    ASSERT_GE(layout.scores - layout.ring, 2 * std::size_t{layout.stride} * ring_rows(policy));
    ASSERT_GE(layout.bytes - layout.scores, score_bytes(policy.score) * layout.stride);
    for (const std::size_t begin : {layout.positions, layout.permanent, layout.protection,
                                    layout.arrivals, layout.ring, layout.scores, layout.bytes}) {
      ASSERT_EQ(begin % 128, 0U);
    }
  }
}

TEST(Policy, NumbersThatDoNotFitAreRefused) {
  EXPECT_FALSE(cuda::morphkv(32, 32, Fusion::sum, 0).is_valid());
  EXPECT_FALSE(cuda::morphkv(40, 32, Fusion::sum, 9).is_valid());
  EXPECT_FALSE(cuda::morphkv(300, 256, Fusion::sum).is_valid());
  EXPECT_FALSE(cuda::morphkv(300, 0, Fusion::max).is_valid());
  EXPECT_TRUE(cuda::morphkv(300, 256, Fusion::max).is_valid());
  EXPECT_FALSE(cuda::h2o(3, 5, 4).is_valid());
  EXPECT_FALSE(cuda::snapkv(64, 100, 32, 4).is_valid());
  EXPECT_FALSE(cuda::full(0).is_valid());
}

}  // namespace
}  // namespace morphkv::testing::scores_test
