// SPDX-License-Identifier: Apache-2.0
#include "morphkv/score/recurrent_score.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "morphkv/core/bit_mask.hpp"

namespace morphkv::testing::recurrent_score_test {
namespace {

struct DecayedMax {
  float operator()(float score, float weight) const { return std::max(0.5F * score, weight); }
};

constexpr std::size_t slots = 7;

/// Scores step by step, with a plain vector beside them. Weights are powers of two: all is exact.
struct Sequence {
  RecurrentScore<DecayedMax> score{{.columns = slots, .history = 4}, {}};
  std::vector<float> expected = std::vector<float>(slots);
  std::vector<Position> positions = std::vector<Position>(slots);
  BitMask nobody{slots};

  Sequence() { std::iota(positions.begin(), positions.end(), 0); }

  [[nodiscard]] static std::vector<float> row(std::size_t step) {
    std::vector<float> weights(slots);
    for (std::size_t s = 0; s < slots; ++s)
      weights[s] = 1.0F / static_cast<float>(1U << (step * 5 + s * 3) % 8);
    return weights;
  }
  Slot push(std::size_t step) {
    const auto renewed = static_cast<Slot>(step % slots);
    score.renew(renewed);
    expected[renewed] = 0;
    const std::vector<float> weights = row(step);
    for (std::size_t s = 0; s < slots; ++s) expected[s] = DecayedMax()(expected[s], weights[s]);
    return score.push(weights, {slots, nobody.data(), positions.data()});
  }
  [[nodiscard]] std::vector<float> values() const {
    std::vector<float> out(slots);
    score.values(positions, out);
    return out;
  }
};

TEST(RecurrentScore, FollowsItsFormulaAndFindsTheLowest) {
  Sequence run;
  for (std::size_t step = 0; step < 50; ++step) {
    const Slot victim = run.push(step);
    EXPECT_EQ(run.values(), run.expected);
    const auto lowest = std::min_element(run.expected.begin(), run.expected.end());
    EXPECT_EQ(victim, static_cast<Slot>(lowest - run.expected.begin())) << "the oldest of equals";
  }
}

TEST(RecurrentScore, TakesTokensBack) {
  Sequence run;
  for (std::size_t step = 0; step < 9; ++step) (void)run.push(step);
  Sequence draft = run;
  for (std::size_t step = 20; step < 23; ++step) (void)draft.push(step);
  draft.score.skip();
  draft.score.pop(4);
  EXPECT_EQ(draft.values(), run.expected);
  draft.expected = run.expected;
  EXPECT_EQ(draft.push(9), run.push(9));
  EXPECT_EQ(draft.values(), run.expected);
}

TEST(RecurrentScore, IsRemappedAndCleared) {
  Sequence run;
  for (std::size_t step = 0; step < 9; ++step) (void)run.push(step);
  const std::vector<Slot> sources = {6, no_slot, 2};
  std::vector<float> out(4);
  run.score.remapped(sources, 4).values(run.positions, out);
  EXPECT_EQ(out, (std::vector<float>{run.expected[6], 0, run.expected[2], 0}));
  run.score.clear();
  EXPECT_EQ(run.values(), std::vector<float>(slots));
  EXPECT_EQ(run.score.memory().scores, 64U);
  EXPECT_EQ(run.score.memory().history, 4 * 64U);
}

}  // namespace
}  // namespace morphkv::testing::recurrent_score_test
