// SPDX-License-Identifier: Apache-2.0
// Every score against double, on plain memory; and its vectorised rows against its rows per slot.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/score/age.hpp"
#include "morphkv/score/block_sum.hpp"
#include "morphkv/score/last_row.hpp"
#include "morphkv/score/random_score.hpp"
#include "morphkv/score/recent_window.hpp"
#include "morphkv/score/recurrent_score.hpp"
#include "morphkv/score/running_sum.hpp"
#include "oracle/scorings.hpp"
#include "score/score_memory.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::scores_test { namespace {

/// A formula of a user's, which has no vectorised form.
struct SquaredSum {
  [[nodiscard]] float operator()(float score, float weight) const noexcept {
    return 0.5F * score + weight * weight;
  }
};

TEST(NewestRow, IsTheLastOneOrTheFirst) {
  EXPECT_EQ(newest_row(0), 0U);
  EXPECT_EQ(newest_row(1), 0U);
  EXPECT_EQ(newest_row(7), 6U);
}

template <class S>
class RowForms : public ::testing::Test {};

struct ExactSum {
  static auto score() { return make_recent_window(7, 0, Fusion::sum); }
};
struct PaneSum {
  static auto score() { return make_recent_window(12, 3, Fusion::sum); }
};
struct ExactMaximum {
  static auto score() { return make_recent_window(7, 0, Fusion::max); }
};
struct PaneMaximum {
  static auto score() { return make_recent_window(12, 4, Fusion::max); }
};
struct Decayed {
  static auto score() { return RecurrentScore<DecayedMaximum>{.update = {0.9F}}; }
};
struct OwnFormula {
  static auto score() { return RecurrentScore<SquaredSum>{}; }
};
struct Sum {
  static auto score() { return RunningSum{}; }
};
struct Mean {
  static auto score() { return RunningSum{.normalised = true}; }
};
struct Last {
  static auto score() { return LastRow{}; }
};
struct Oldest {
  static auto score() { return Age{}; }
};
struct Drawn {
  static auto score() { return RandomScore{.seed = 0x123456789abcdefU}; }
};
struct Blocks {
  static auto score() { return BlockSum{}; }
};
using AllScores = ::testing::Types<ExactSum, PaneSum, ExactMaximum, PaneMaximum, Decayed,
                                   OwnFormula, Sum, Mean, Last, Oldest, Drawn, Blocks>;
TYPED_TEST_SUITE(RowForms, AllScores);

/// Both forms see the same rows, and must hold the same bits and find the same victim.
TYPED_TEST(RowForms, GiveTheSameBits) {
  for (const std::size_t slots : {1U, 2U, 7U, 16U, 33U, 64U, 131U}) {
    const auto score = TypeParam::score();
    ScoreCells vectorised(score.memory(), slots);
    ScoreCells by_slot(score.memory(), slots);
    testing::Random random(slots);
    for (std::uint32_t row = 0; row < 60; ++row) {
      SCOPED_TRACE(::testing::Message() << slots << " slots, row " << row);
      const auto started = static_cast<Slot>(random.below(slots));
      score.start(vectorised.view(), started, row);
      score.start(by_slot.view(), started, row);
      const std::vector<float> weights = draw_weights(Weights::sparse, slots, random);
      const BitMask guard = draw_protection(slots, random);
      const Candidates candidates{slots, guard.data(), vectorised.view().positions};
      const Slot victim = score.with_row(vectorised.view(), row, [&](const auto& pushed) {
        if constexpr (requires { pushed.push_row(weights, candidates); }) {
          return pushed.push_row(weights, candidates);
        } else {
          return push_by_slot(pushed, weights, candidates);
        }
      });
      const Slot expected = score.with_row(by_slot.view(), row, [&](const auto& pushed) {
        return push_by_slot(pushed, weights, candidates);
      });
      ASSERT_EQ(victim, expected);
      ASSERT_TRUE(vectorised == by_slot);
      for (Slot s = 0; s < slots; ++s) {
        ASSERT_EQ(value_of(score, vectorised.view(), row, s),
                  value_of(score, by_slot.view(), row, s));
      }
    }
  }
}

TEST(RunningSumTest, IsExactOverAHundredThousandRows) {
  constexpr std::size_t slots = 5;
  const RunningSum score;
  ScoreCells cells(score.memory(), slots);
  std::vector<double> truth(slots, 0.0);
  testing::Random random(3);
  for (std::uint32_t row = 0; row < 100'000; ++row) {
    std::vector<float> weights = draw_weights(Weights::fine, slots, random);
    // A large sum must not swallow small increments: the last slot gets 2^-36 at a time.
    weights[0] = 1.0F;
    weights[slots - 1] = 0x1p-36F;
    push(score, cells.view(), row, weights);
    for (std::size_t s = 0; s < slots; ++s) truth[s] += double{weights[s]};
  }
  const auto number = [&](Slot s) {
    return score.number(value_of(score, cells.view(), 99'999, s));
  };
  for (Slot s = 0; s < slots; ++s) EXPECT_EQ(number(s) / number(0), truth[s] / truth[0]);
}

TEST(RunningSumTest, StopsAtItsLimitInsteadOfOverflowing) {
  const RunningSum score;
  ScoreCells cells(score.memory(), 20);
  for (Slot s = 0; s < 20; ++s) cells.view().row64(0)[s] = max_units - fine_units(1.0F) * (s % 3);
  const std::vector<float> ones(20, 1.0F);
  for (std::uint32_t row = 0; row < 5; ++row) push(score, cells.view(), row, ones);
  for (Slot s = 0; s < 20; ++s) EXPECT_EQ(value_of(score, cells.view(), 4, s), max_units);
}

TEST(RunningSumTest, NormalisedDividesByTheRowsSinceTheTokenCame) {
  const RunningSum score{.normalised = true};
  ScoreCells cells(score.memory(), 2);
  score.start(cells.view(), 0, 0);
  push(score, cells.view(), 0, {0.5F, 0.0F});
  score.start(cells.view(), 1, 1);
  push(score, cells.view(), 1, {0.25F, 0.5F});
  EXPECT_EQ(score.number(value_of(score, cells.view(), 1, 0)), 0.375 * 0x1p40);
  EXPECT_EQ(score.number(value_of(score, cells.view(), 1, 1)), 0.5 * 0x1p40);
}

TEST(LastRowTest, OnlyTheNewestRowCounts) {
  const LastRow score;
  ScoreCells cells(score.memory(), 4);
  EXPECT_EQ(push(score, cells.view(), 0, {0.5F, 0.125F, 0.25F, 0.125F}), 1U)
      << "the older of equals";
  EXPECT_EQ(push(score, cells.view(), 1, {0.25F, 0.5F, 0.125F, 0.75F}), 2U);
}

TEST(BlockSumTest, RowsOfTokensThatComeAloneChangeNothing) {
  const BlockSum score;
  ScoreCells cells(score.memory(), 3);
  const std::vector<float> weights{0.5F, 0.125F, 0.25F};
  (void)with_block_row(score, cells.view(), 0,
                       [&](const auto& row) { return push_by_slot(row, weights, {}); });
  (void)with_block_row(score, cells.view(), 1,
                       [&](const auto& row) { return push_by_slot(row, weights, {}); });
  const ScoreCells before = cells;
  push(score, cells.view(), 2, {1.0F, 1.0F, 1.0F});
  EXPECT_TRUE(cells == before);
  EXPECT_EQ(score.number(value_of(score, cells.view(), 2, 0)), 1.0);
}

TEST(RandomScoreTest, DrawsAnewAtEveryRowFromTheSeed) {
  const auto draws = [](std::uint64_t seed, std::uint32_t row) {
    const RandomScore score{seed};
    ScoreCells cells(score.memory(), 64);
    std::vector<std::uint32_t> values;
    for (Slot s = 0; s < 64; ++s) values.push_back(value_of(score, cells.view(), row, s));
    return values;
  };
  EXPECT_EQ(draws(9, 0), draws(9, 0));
  EXPECT_NE(draws(9, 0), draws(9, 1));
  EXPECT_NE(draws(9, 0), draws(10, 0));
  EXPECT_NE(draws(9, 0), draws(9 + (std::uint64_t{1} << 32U), 0)) << "all bits of the seed count";
}

TEST(RankedKey, OrdersAsNumbersDoAndComesBack) {
  const std::vector<float> ascending{-std::numeric_limits<float>::infinity(),
                                     -2.0F,
                                     -0x1p-149F,
                                     0.0F,
                                     0x1p-149F,
                                     0x1p-126F,
                                     1.0F,
                                     3e38F,
                                     std::numeric_limits<float>::infinity()};
  for (std::size_t i = 0; i + 1 < ascending.size(); ++i) {
    EXPECT_LT(ranked_key(ascending[i]), ranked_key(ascending[i + 1]));
    EXPECT_EQ(from_ranked_key(ranked_key(ascending[i])), ascending[i]);
  }
  EXPECT_EQ(ranked_key(-0.0F), ranked_key(0.0F));
}

}  // namespace
}  // namespace morphkv::testing::scores_test
