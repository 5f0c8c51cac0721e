// SPDX-License-Identifier: Apache-2.0
// What tokens are pinned by, and how long. (tests/policy plays whole policies with pins against an
// oracle.)
#include "morphkv/eviction/pins.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/score/last_row.hpp"
#include "morphkv/score/recurrent_score.hpp"
#include "support/duel.hpp"

namespace morphkv::testing::pins_test { namespace {

TEST(PinNorm, IsTheEuclideanNorm) {
  EXPECT_EQ(pin_norm(static_cast<const float*>(nullptr), 0), 0.0F);
  for (const std::size_t size : {1U, 2U, 3U, 4U, 5U, 63U, 64U, 128U}) {
    std::vector<float> numbers(size);
    double squares = 0;
    for (std::size_t d = 0; d < size; ++d) {
      numbers[d] = static_cast<float>(std::sin(static_cast<double>(d + 1)));
      squares += double{numbers[d]} * double{numbers[d]};
    }
    EXPECT_FLOAT_EQ(pin_norm(numbers.data(), size), static_cast<float>(std::sqrt(squares)));
  }
}

TEST(PinNorm, OfNumbersAtTheLimits) {
  using Limits = std::numeric_limits<float>;
  const auto norm = [](const std::vector<float>& numbers) {
    return pin_norm(numbers.data(), numbers.size());
  };
  EXPECT_EQ(norm({Limits::denorm_min()}), Limits::denorm_min());
  EXPECT_EQ(norm({-Limits::max()}), Limits::max());
  EXPECT_EQ(norm({Limits::max(), Limits::max()}), 0.0F) << "it is no float";
  EXPECT_EQ(norm({1, Limits::infinity()}), 0.0F);
  EXPECT_EQ(norm({1, Limits::quiet_NaN()}), 0.0F);
}

TEST(PinsLeft, HalveByStraightLines) {
  for (const std::uint32_t pins : {1U, 2U, 7U, 251U, 1U << 30U}) {
    for (const std::uint32_t half_life : {1U, 3U, 128U, 1U << 30U}) {
      const EvictionRules rules{.pins = pins, .pin_half_life = half_life};
      EXPECT_EQ(pins_left(rules, 0), pins);
      EXPECT_EQ(pins_left(rules, half_life), pins / 2);
      const std::uint64_t going = pins - pins / 2;
      EXPECT_EQ(pins_left(rules, half_life / 2), pins - going * (half_life / 2) / half_life);
      if (half_life < 1000) {
        EXPECT_EQ(pins_left(rules, 40 * half_life), 0U);
      }
      std::uint32_t before = pins;
      for (std::uint32_t t = 0; t < 500; ++t) {
        const std::uint32_t left = pins_left(rules, t);
        ASSERT_LE(left, before);
        before = left;
      }
    }
  }
  EXPECT_EQ(pins_left({.pins = 8, .pin_half_life = 4}, ~std::uint32_t{0}), 0U);
}

/// A head with a prompt of 40 tokens, whose value norms are `norms`.
DecayedMax after_prompt(const std::vector<float>& norms, std::size_t pins) {
  DecayedMax policy({.capacity = 16, .recent = 4, .sinks = 0, .pins = pins, .pin_half_life = 8});
  const std::vector<oracle::Row> rows(norms.size(), oracle::Row(norms.size(), 0.0));
  EXPECT_EQ(append_block(policy, 0, rows, norms), Status::ok);
  return policy;
}

TEST(Pins, KeepATokenWithALargeValueAndItsNeighbours) {
  std::vector<float> norms(40, 1.0F);
  norms[12] = 50;
  const std::vector<Position> all = kept(after_prompt(norms, 12));
  for (Position p = 7; p <= 17; ++p) {
    EXPECT_TRUE(std::binary_search(all.begin(), all.end(), p)) << p;
  }
  const std::vector<Position> without = kept(after_prompt(norms, 0));
  EXPECT_FALSE(std::binary_search(without.begin(), without.end(), 12)) << "its score is 0";
}

/// The one token that a block of 40 pins, whose only attention is that of the query `back` before
/// the last one to token 12.
template <class S>
Position pinned_by_query(const S& score, std::size_t back) {
  const EvictionRules rules =
      make_rules({.capacity = 16, .recent = 4, .sinks = 0, .pins = 1, .pin_half_life = 8});
  ScoredEviction<S> policy({rules, score});
  std::vector<oracle::Row> rows(40, oracle::Row(40, 0.0));
  rows[39 - back][12] = 0.5;
  EXPECT_EQ(append_block(policy, 0, rows, std::vector<float>(40, 1.0F)), Status::ok);
  const HeadView head = view_of(policy);
  EXPECT_EQ(head.head->pins, 1U);
  return head.positions[head.pins[0]];
}

/// Attention pins the token and its 12 neighbours. Of equal tokens the newest is pinned; those at
/// the ends have less, since they have fewer neighbours.
TEST(Pins, LookAtTheLastFourQueries) {
  for (const std::size_t back : {0U, 1U, 2U, 3U, 4U, 5U, 20U}) {
    const Position pinned = back < 4 ? 24 : 33;
    EXPECT_EQ(pinned_by_query(LastRow{}, back), pinned) << back;
    EXPECT_EQ(pinned_by_query(RecurrentScore<DecayedMaximum>{}, back), pinned) << back;
  }
}

/// For a caller that has no values they are all alike.
TEST(Pins, WithoutValuesAreThoseOfAttention) {
  DecayedMax policy({.capacity = 16, .recent = 4, .sinks = 0, .pins = 1});
  const PromptRows rows(40, 40, nullptr, [](void*, std::size_t, float* row) {
    std::fill_n(row, 40, 0.0F);
    row[12] = 0.5F;
    return Status::ok;
  });
  auto selection = policy.score_block(0, rows);
  ASSERT_EQ(policy.select(selection), Status::ok);
  policy.commit(selection);
  const HeadView head = view_of(policy);
  ASSERT_EQ(head.head->pins, 1U);
  EXPECT_EQ(head.positions[head.pins[0]], 24);
}

TEST(Pins, AreReleasedAndThenScoresDecide) {
  std::vector<float> norms(40, 1.0F);
  norms[12] = 50;
  DecayedMax policy = after_prompt(norms, 12);
  const auto holds = [&](Position position) {
    const std::vector<Position> all = kept(policy);
    return std::binary_search(all.begin(), all.end(), position);
  };
  Position next = 40;
  std::size_t pinned_for = 0;
  while (holds(18) && pinned_for < 1000) {
    ASSERT_EQ(policy.place(next++).status, Status::ok);
    ASSERT_EQ(policy.observe(std::vector<float>(policy.size(), 0.0F)), Status::ok);
    ++pinned_for;
  }
  // Tokens 6 to 18 tie, and of equal ones the newest is released last: 12 pins, 6 after 8 tokens, 3
  // after 16, 1 after 24, 0 after 32. Then all scores are 0, and the oldest tokens go.
  EXPECT_GT(pinned_for, 24U);
  EXPECT_LE(pinned_for, 36U);
}

/// A prompt of 32 tokens or more begins the half-life anew, and a shorter block does not.
TEST(Pins, HalveFromTheLastPromptOn) {
  const std::vector<float> norms(40, 1.0F);
  const auto pins_after = [&](std::size_t tokens) {
    DecayedMax policy = after_prompt(norms, 12);
    const std::vector<oracle::Row> rows(tokens, oracle::Row(100, 0.0));
    EXPECT_EQ(append_block(policy, 50, rows, std::vector<float>(tokens, 1.0F)), Status::ok);
    HeadState state;
    std::memcpy(&state, policy.state_bytes().data(), sizeof state);
    return state.pins;
  };
  EXPECT_EQ(pins_after(32), 12U);
  EXPECT_LT(pins_after(31), 2U) << "31 tokens are nearly four half-lives";
}

TEST(Pins, OfAHeadThatGivesSlotsAwayLeaveATokenToEvict) {
  for (const std::size_t sinks : {0U, 3U}) {
    DecayedMax policy({.capacity = 16,
                       .recent = 6,
                       .sinks = sinks,
                       .pins = 10 - sinks,
                       .pin_half_life = 100,
                       .spare_slots = 4});
    std::vector<float> norms(40, 1.0F);
    for (std::size_t t = 34; t < 40; ++t) norms[t] = 50;  // recent tokens are pinned too
    const std::vector<oracle::Row> rows(norms.size(), oracle::Row(norms.size(), 0.0));
    ASSERT_EQ(append_block(policy, 0, rows, norms), Status::ok);
    while (policy.find_cheapest().slot != no_slot) {
      (void)policy.release_slot(policy.find_cheapest().slot);
    }
    ASSERT_LT(policy.capacity(), 16U);
    for (Position next = 40; next < 640; ++next) {
      ASSERT_EQ(policy.place(next).status, Status::ok) << next << ", sinks " << sinks;
      ASSERT_EQ(policy.observe(std::vector<float>(policy.size(), 0.0F)), Status::ok);
    }
    EXPECT_GE(kept(policy)[sinks], 600) << "tokens that moved to other slots were released too";
  }
}

}  // namespace
}  // namespace morphkv::testing::pins_test
