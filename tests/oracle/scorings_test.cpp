// SPDX-License-Identifier: Apache-2.0
// Examples worked by hand: an oracle that is wrong proves nothing.
#include "oracle/scorings.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "oracle/attention_oracle.hpp"
#include "oracle/half_rounding.hpp"

namespace morphkv::oracle::scorings_test { namespace {

using Positions = std::vector<Position>;

void step(EvictionOracle& oracle, Position position, const Row& row) {
  ASSERT_EQ(oracle.arrive(position), Status::ok);
  oracle.attend(row);
}

TEST(HalfRounding, RoundsToElevenBits) {
  EXPECT_EQ(round_to_half(0.0), 0.0);
  EXPECT_EQ(round_to_half(1.0), 1.0);
  EXPECT_EQ(round_to_half(1.0 + 0x1p-11), 1.0) << "ties go to even";
  EXPECT_EQ(round_to_half(1.0 + 0x1.8p-10), 1.0 + 0x1p-9);
  EXPECT_EQ(round_to_half(0x1p-24), 0x1p-24);
  EXPECT_EQ(round_to_half(0x1p-25), 0.0) << "halfway to the smallest denormal";
  EXPECT_EQ(round_to_half(0x1.8p-25), 0x1p-24);
  EXPECT_EQ(round_to_half(0x1.ffep-15), 0x1p-14) << "denormals are spaced by 2^-24";
}

TEST(WindowScore, TheLastTwoQueriesVote) {
  EvictionOracle oracle = morphkv_oracle(3, 2, Combine::sum, 0, false);
  step(oracle, 0, {1.0});
  step(oracle, 1, {0.5, 0.5});
  step(oracle, 2, {0.25, 0.5, 0.25});
  EXPECT_EQ(oracle.scores(), (std::vector<double>{0.75, 1.0, 0.25}));
  // 2 is protected as the second newest of four; of 0 and 1, 0 has the lower sum.
  step(oracle, 3, {0, 0.125, 0.375, 0.5});
  EXPECT_EQ(oracle.kept(), (Positions{1, 2, 3}));
  EXPECT_EQ(oracle.scores(), (std::vector<double>{0.625, 0.625, 0.5}));
}

TEST(WindowScore, TheHighestOfTheWindow) {
  EvictionOracle oracle = morphkv_oracle(3, 2, Combine::max, 0, false);
  EXPECT_EQ(oracle.block(0, {{1.0}, {0.5, 0.5}, {0.25, 0.125, 0.625}}), Status::ok);
  EXPECT_EQ(oracle.scores(), (std::vector<double>{0.5, 0.5, 0.625}));
  step(oracle, 3, {});
  EXPECT_EQ(oracle.kept(), (Positions{1, 2, 3})) << "of equals the older goes";
}

TEST(WindowScore, SinksStayThoughNobodyVotesForThem) {
  EvictionOracle oracle = morphkv_oracle(4, 2, Combine::sum, 1, false);
  for (Position t = 0; t < 9; ++t) step(oracle, t, {0, 0, 0.5});
  EXPECT_EQ(oracle.kept(), (Positions{0, 2, 7, 8}));
}

TEST(WindowScore, AnAbsentRowVotesZeros) {
  EvictionOracle oracle = morphkv_oracle(2, 1, Combine::sum, 0, false);
  step(oracle, 0, {});
  step(oracle, 1, {0.25, 0.75});
  ASSERT_EQ(oracle.arrive(2), Status::ok);
  EXPECT_EQ(oracle.kept(), (Positions{1, 2}));
  ASSERT_EQ(oracle.arrive(3), Status::ok) << "2 has not attended";
  EXPECT_EQ(oracle.kept(), (Positions{2, 3})) << "all are zero, so the older goes";
}

TEST(RunningScore, SeesOneTokenMore) {
  EvictionOracle oracle = h2o_oracle(1, 1, false, 0, false);
  step(oracle, 0, {0.25});
  step(oracle, 1, {0.25, 0.5});
  ASSERT_EQ(oracle.arrive(2), Status::ok);
  EXPECT_EQ(oracle.kept(), (Positions{0, 1, 2}));
  oracle.attend({0.25, 0.125, 0.5});
  EXPECT_EQ(oracle.kept(), (Positions{0, 2})) << "0.75 against 0.625";
}

TEST(RunningScore, NormalisedByTheQueriesSinceItCame) {
  EvictionOracle oracle = h2o_oracle(1, 1, true, 0, false);
  step(oracle, 0, {0.25});
  step(oracle, 1, {0.25, 0.5});
  step(oracle, 2, {0.25, 0.125, 0.5});
  EXPECT_EQ(oracle.kept(), (Positions{1, 2})) << "0.75 / 3 against 0.625 / 2";
}

TEST(SnapScore, PoolsBeforeItChooses) {
  const std::vector<double> sums{0, 0, 6, 0, 0};
  EXPECT_EQ(pool1d(sums, 3, Combine::sum), (std::vector<double>{0, 2, 2, 2, 0}));
  EXPECT_EQ(pool1d(sums, 3, Combine::max), (std::vector<double>{0, 6, 6, 6, 0}));
  EXPECT_EQ(pool1d({3, 3}, 5, Combine::sum), (std::vector<double>{1.2, 1.2}))
      << "the padding counts";
}

TEST(SnapScore, CompressesThePromptAndAppendsTheRest) {
  EvictionOracle oracle = snapkv_oracle(3, 1, 1, Combine::sum, 0, false, 4);
  const Row last{0.5, 0, 0.25, 0.125, 0.125};
  EXPECT_EQ(oracle.block(0, {{}, {}, {}, {}, last}), Status::ok);
  EXPECT_EQ(oracle.kept(), (Positions{0, 2, 4}));
  step(oracle, 5, {});
  EXPECT_EQ(oracle.kept(), (Positions{0, 2, 4, 5}));
  EXPECT_EQ(oracle.arrive(6), Status::full);
}

TEST(LastRowScore, OnlyTheNewestQueryVotes) {
  EvictionOracle oracle = tova_oracle(3, 1, 0, false);
  step(oracle, 0, {1.0});
  step(oracle, 1, {0.9, 0.1});
  step(oracle, 2, {0.2, 0.7, 0.1});
  step(oracle, 3, {});
  EXPECT_EQ(oracle.kept(), (Positions{0, 1, 3}));
}

TEST(AgeScore, SinksAndTheNewest) {
  EvictionOracle oracle = streaming_llm_oracle(4, 2, false);
  for (Position t = 0; t < 10; ++t) step(oracle, t, {});
  EXPECT_EQ(oracle.kept(), (Positions{0, 1, 8, 9}));
}

TEST(EvictionOracle, AProtectedPromptThatDoesNotFitIsRefused) {
  EvictionOracle oracle = tova_oracle(3, 1, 0, true);
  EXPECT_EQ(oracle.block(0, std::vector<Row>(4)), Status::nothing_to_evict);
  EXPECT_TRUE(oracle.kept().empty());
  EXPECT_EQ(oracle.block(0, std::vector<Row>(3)), Status::ok);
  EXPECT_EQ(oracle.arrive(3), Status::nothing_to_evict);
  EXPECT_EQ(oracle.arrive(1), Status::position_backwards);
}

TEST(AttentionOracle, WeighsByTheSoftmaxOfScaledDots) {
  const Sequence sequence{4, {{2, 0, 0, 0}, {0, 2, 0, 0}}, {{1, 0, 0, 0}, {0, 1, 0, 0}}};
  const std::vector<float> query{1, 0, 0, 0};
  const std::vector<Position> both{0, 1};
  const std::vector<double> weights = weights_over(query, sequence, both);
  EXPECT_NEAR(weights[0], std::exp(1.0) / (std::exp(1.0) + 1), 1e-15);
  EXPECT_NEAR(weighted_values(weights, sequence, both)[1], weights[1], 1e-15);
}

TEST(AttentionOracle, FusesAGroup) {
  const std::vector<std::vector<double>> rows{{0.5, 0.5}, {0.25, 0.75}};
  EXPECT_EQ(fuse(rows, GroupFusion::max), (std::vector<double>{0.5, 0.75}));
  EXPECT_EQ(fuse(rows, GroupFusion::mean), (std::vector<double>{0.375, 0.625}));
}

}  // namespace
}  // namespace morphkv::oracle::scorings_test
