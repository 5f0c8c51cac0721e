// SPDX-License-Identifier: Apache-2.0
// A score whose kind is known at run time, as the device has it, is the score that it was made
// from: a head with it keeps the same tokens in the same slots.
#include "morphkv/score/any_score.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "morphkv/eviction/scored_eviction.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"

namespace morphkv::testing::any_score_test { namespace {

template <class Contender>
class AnyScoreTest : public ::testing::Test {};
using Contenders =
    ::testing::Types<MorphKVSum, MorphKVMax, SnapKVAverage, H2OPlain, DecayedMaxOfDistant,
                     StreamingLLMContender, TOVAContender, FullContender, RandomContender>;
TYPED_TEST_SUITE(AnyScoreTest, Contenders);

/// Both take the same call: call(head).
template <class Policy>
struct Pair {
  Policy policy;
  ScoredEviction<AnyScore> any;

  template <class Call>
  void both(const Call& call) {
    call(policy);
    call(any);
    ASSERT_TRUE(std::ranges::equal(policy.positions(), any.positions()));
  }
};

TYPED_TEST(AnyScoreTest, IsTheScoreThatItWasMadeFrom) {
  using Policy = typename TypeParam::Policy;
  const auto options = TypeParam::options({.capacity = 20, .window = 6, .max_tokens = 400});
  const auto plan = Policy::plan_of(options);
  const AnyScore score(plan.score);
  EXPECT_EQ(score.memory().bytes(8), plan.score.memory().bytes(8));
  EXPECT_EQ(score.scoring_queries(), plan.score.scoring_queries());
  Pair<Policy> pair{Policy(options), ScoredEviction<AnyScore>({plan.rules, score})};
  Random random(5);
  for (Position next = 0; next < 200;) {
    const std::size_t tokens = next % 60 == 0 ? 10 : 1 + random.below(4);
    std::vector<Position> seen = kept(pair.policy);
    std::vector<oracle::Row> rows;
    for (std::size_t t = 0; t < tokens; ++t) {
      seen.push_back(next + static_cast<Position>(t));
      rows.push_back(draw_row(Weights::grid, seen, random));
    }
    pair.both([&](auto& head) { ASSERT_EQ(append_block(head, next, rows), Status::ok); });
    next += static_cast<Position>(tokens);
    for (std::size_t step = 0; step < 7; ++step, ++next) {
      std::vector<float> row;
      pair.both([&](auto& head) {
        ASSERT_EQ(head.place(next).status, Status::ok);
        for (; row.size() < head.size();) row.push_back(draw_weight(Weights::grid, random));
        ASSERT_EQ(head.observe(row), Status::ok);
      });
    }
    if (this->HasFailure()) return;
    const auto expected = pair.policy.find_cheapest();
    const auto found = pair.any.find_cheapest();
    EXPECT_EQ(found.slot, expected.slot);
    EXPECT_EQ(found.value, expected.value);
  }
}

}  // namespace
}  // namespace morphkv::testing::any_score_test
