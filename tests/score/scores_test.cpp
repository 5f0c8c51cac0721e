// SPDX-License-Identifier: Apache-2.0
// The scores without a window, against double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "morphkv/score/age.hpp"
#include "morphkv/score/last_row.hpp"
#include "morphkv/score/pooled_sum.hpp"
#include "morphkv/score/random_score.hpp"
#include "morphkv/score/running_sum.hpp"
#include "oracle/scorings.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::scores_test {
namespace {

/// All slots are candidates, and positions ascend.
class Everyone {
 public:
  explicit Everyone(std::size_t slots) : none_(slots), positions_(slots) {
    std::iota(positions_.begin(), positions_.end(), 0);
  }
  [[nodiscard]] Candidates of(std::size_t slots) const {
    return {slots, none_.data(), positions_.data()};
  }
  [[nodiscard]] const std::vector<Position>& positions() const { return positions_; }

 private:
  BitMask none_;
  std::vector<Position> positions_;
};

template <class S>
std::vector<typename S::Value> values_of(const S& score, const Everyone& all) {
  std::vector<typename S::Value> values(all.positions().size());
  score.values(all.positions(), values);
  return values;
}

TEST(RunningSum, IsExactOverAHundredThousandSteps) {
  constexpr std::size_t columns = 5;
  const Everyone all(columns);
  RunningSum score({.columns = columns});
  std::vector<double> truth(columns, 0.0);
  Random random(3);
  for (int step = 0; step < 100'000; ++step) {
    std::vector<float> row(columns);
    // A large sum must not swallow small increments: the last column gets 2^-36 at a time.
    for (float& weight : row) weight = draw_weight(Weights::fine, random);
    row[0] = 1.0F;
    row[columns - 1] = 0x1p-36F;
    (void)score.push(row, all.of(columns));
    for (std::size_t c = 0; c < columns; ++c) truth[c] += double{row[c]};
  }
  for (std::size_t c = 0; c < columns; ++c) {
    EXPECT_EQ(values_of(score, all)[c] / values_of(score, all)[0], truth[c] / truth[0]);
  }
}

TEST(RunningSum, ForgetsARenewedSlotAndTakesItBack) {
  for (const bool normalised : {false, true}) {
    constexpr std::size_t columns = 7;
    const Everyone all(columns);
    RunningSum score({.columns = columns, .normalised = normalised, .history = 4});
    Random random(5);
    std::vector<std::vector<double>> states;
    const auto step = [&] {
      states.push_back(values_of(score, all));
      const auto slot = static_cast<Slot>(random.below(columns));
      score.renew(slot);
      EXPECT_EQ(values_of(score, all)[slot], 0.0);
      std::vector<float> row(columns);
      for (float& weight : row) weight = draw_weight(Weights::grid, random);
      random.chance(0.2) ? score.skip() : (void)score.push(row, all.of(columns));
    };
    for (int i = 0; i < 300; ++i) {
      const std::size_t forward = 4 + random.below(3);
      for (std::size_t f = 0; f < forward; ++f) step();
      const std::size_t back = random.below(5);
      score.pop(back);
      if (back > 0) {
        ASSERT_EQ(values_of(score, all), states[states.size() - back]);
        states.resize(states.size() - back);
      }
    }
  }
}

TEST(LastRow, OnlyTheNewestCounts) {
  const Everyone all(4);
  LastRow score({.columns = 4, .history = 2});
  const std::vector<float> first{0.5F, 0.125F, 0.25F, 0.125F};
  const std::vector<float> second{0.25F, 0.5F, 0.125F};
  EXPECT_EQ(score.push(first, all.of(4)), 1U) << "of equals the older";
  EXPECT_EQ(score.push(second, all.of(3)), 2U);
  EXPECT_EQ(values_of(score, all), (std::vector<float>{0.25F, 0.5F, 0.125F, 0.0F}));
  score.skip();
  EXPECT_EQ(score.least(all.of(4)), 0U);
  score.pop(2);
  EXPECT_EQ(values_of(score, all), first);
  score.clear();
  EXPECT_EQ(values_of(score, all), (std::vector<float>(4, 0.0F)));
}

TEST(PooledSum, PoolsAlongPositionsNotSlots) {
  const std::vector<Position> positions{40, 10, 30, 20, 5};
  const std::vector<std::size_t> order{4, 1, 3, 2, 0};  // slots by position
  const Everyone all(5);
  for (const std::size_t kernel : {1U, 3U, 5U, 7U, 11U}) {
    for (const Pooling pooling : {Pooling::average, Pooling::max}) {
      PooledSum score({.columns = 5, .rows = 2, .kernel = kernel, .pooling = pooling});
      Random random(kernel);
      std::vector<double> sums(5, 0.0);
      for (int r = 0; r < 2; ++r) {
        std::vector<float> row(5);
        for (float& weight : row) weight = draw_weight(Weights::grid, random);
        (void)score.push(row, all.of(5));
        for (std::size_t c = 0; c < 5; ++c) sums[c] += double{row[c]};
      }
      std::vector<double> by_position;
      for (const std::size_t slot : order) by_position.push_back(sums[slot]);
      const auto expected =
          oracle::pool1d(by_position, kernel,
                         pooling == Pooling::average ? oracle::Combine::sum : oracle::Combine::max);
      std::vector<double> given(5);
      score.values(positions, given);
      for (std::size_t j = 0; j < 5; ++j) EXPECT_DOUBLE_EQ(given[order[j]], expected[j]);
    }
  }
}

TEST(RandomScore, DrawsAnewAtEveryStepAndRepeatsAfterAPop) {
  const Everyone all(64);
  RandomScore score(9);
  const auto first = values_of(score, all);
  score.skip();
  const auto second = values_of(score, all);
  EXPECT_NE(first, second);
  score.pop(1);
  EXPECT_EQ(values_of(score, all), first);
  EXPECT_EQ(values_of(RandomScore(9), all), first);
  EXPECT_NE(values_of(RandomScore(10), all), first);
}

TEST(AgeScore, TheOldestGoes) {
  const std::vector<Position> positions{7, 3, 9, 5};
  BitMask mask(4);
  Age score;
  EXPECT_EQ(score.least({4, mask.data(), positions.data()}), 1U);
  mask.set(1);
  EXPECT_EQ(score.least({4, mask.data(), positions.data()}), 3U);
  for (std::size_t slot = 0; slot < 4; ++slot) mask.set(slot);
  EXPECT_EQ(score.least({4, mask.data(), positions.data()}), no_slot);
}

}  // namespace
}  // namespace morphkv::testing::scores_test
