// SPDX-License-Identifier: Apache-2.0
#include "morphkv/policy/decayed_max.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "oracle/scorings.hpp"
#include "support/duel.hpp"

namespace morphkv::testing::decayed_max_test { namespace {

/// Steps until rounding may decide otherwise than the oracle, at most `most`.
std::size_t steps_alike(double half_life, std::size_t distance, std::uint64_t seed) {
  constexpr std::size_t most = 1000;
  constexpr std::size_t capacity = 40;
  constexpr std::size_t window = 6;
  // Scores are products of as many float factors as steps: 1000 of them are good to 1000 x 2^-24.
  constexpr double clear = 1e-4;
  Duel<DecayedMax> match(
      DecayedMax(
          {.capacity = capacity, .recent = window, .half_life = half_life, .distance = distance}),
      oracle::decayed_max_oracle(capacity, window, half_life, distance, default_sinks, false),
      seed);
  for (std::size_t step = 0; step < most; ++step) {
    if (match.reference().margin() < clear) return step;
    match.step(Weights::grid);
    if (::testing::Test::HasFailure()) return step;
  }
  return most;
}

TEST(DecayedMax, FollowsItsOracleAtAnyHalfLife) {
  std::size_t steps = 0;
  for (const double half_life : {0.3, 7.3, 20.0, 333.0}) {
    for (std::uint64_t seed = 0; seed < 15; ++seed)
      steps += steps_alike(half_life, seed % 2 * 5, seed);
  }
  EXPECT_GT(steps, 2000U);  // the test would say nothing if every run ended at once
}

TEST(DecayedMax, WithoutDecayTheGreatestWeightEverCounts) {
  DecayedMax policy({.capacity = 3,
                     .recent = 1,
                     .half_life = std::numeric_limits<double>::infinity(),
                     .sinks = 0});
  const auto step = [&](Position position, std::vector<float> row) {
    const Placement placement = policy.place(position);
    row.resize(policy.size());
    EXPECT_EQ(policy.observe(row), Status::ok);
    return placement.evicted;
  };
  step(0, {0.5F});
  step(1, {0.0F, 0.25F});
  for (Position p = 2; p < 100; ++p) {
    const Position gone = step(p, {0.125F, 0.125F, 0.125F});
    EXPECT_EQ(gone, p > 2 ? p - 1 : no_position) << "0 and 1 were wanted more, once";
  }
}

/// Tokens of a second block, too, are scored by those alone that are farther than the distance:
/// here no token has a score but the first 10, so that the oldest of the others go.
TEST(DecayedMax, NeighboursScoreNoTokenOfALaterBlock) {
  constexpr std::size_t held = 10;
  DecayedMax policy({.capacity = 16, .recent = 4, .distance = 2, .sinks = 0});
  ASSERT_EQ(append_block(policy, 0, std::vector<oracle::Row>(held)), Status::ok);
  std::vector<oracle::Row> rows;
  for (std::size_t token = held; token < held + 14; ++token) {
    rows.emplace_back(token + 1, 0.0);
    rows.back()[token] = rows.back()[token - 1] = 0.5;
    std::fill_n(rows.back().begin(), held, 0.25);
  }
  ASSERT_EQ(append_block(policy, held, rows), Status::ok);
  EXPECT_EQ(kept(policy),
            (std::vector<Position>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 18, 19, 20, 21, 22, 23}));
}

TEST(DecayedMax, WeighsFourBytesASlot) {
  const DecayedMax policy({.capacity = 1024, .recent = 32});
  EXPECT_EQ(policy.memory().scores, 4096U);
}

}  // namespace
}  // namespace morphkv::testing::decayed_max_test
