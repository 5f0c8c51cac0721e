// SPDX-License-Identifier: Apache-2.0
// The host's driver of the eviction machine, which is vectorised, against teams of threads, which
// is how a device runs it: the same script, and the same bytes after every step.
// (tests/policy compares the host's driver with oracles in double.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "oracle/eviction_oracle.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/random.hpp"
#include "support/team_head.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::team_test { namespace {

template <class Contender>
class TeamTest : public ::testing::Test {
 protected:
  using Policy = typename Contender::Policy;

  static void play(const Setting& setting, std::size_t steps, Weights kind, std::uint32_t threads,
                   std::size_t mute_every = 0, std::size_t prompt = 0) {
    SCOPED_TRACE(::testing::Message() << setting << ", " << kind << ", threads " << threads);
    Policy host(Contender::options(setting));
    TeamHead team(host.plan(), threads);
    testing::Random random(1 + setting.capacity);
    if (prompt > 0) {
      std::vector<Position> tokens;
      std::vector<oracle::Row> rows;
      for (std::size_t t = 0; t < prompt; ++t) {
        tokens.push_back(static_cast<Position>(t));
        rows.push_back(draw_row(kind, tokens, random));
      }
      ASSERT_EQ(append_block(host, 0, rows), Status::ok);
      team.take_over(host.state_bytes());
    }
    for (std::size_t s = 1; s <= steps; ++s) {
      const Position position = host.newest() + 1 + static_cast<Position>(random.below(2));
      const Placement expected = host.place(position);
      const Placement placement = team.place(position);
      ASSERT_EQ(placement.status, expected.status) << "token " << position;
      ASSERT_EQ(placement.slot, expected.slot) << "token " << position;
      ASSERT_EQ(placement.evicted, expected.evicted) << "token " << position;
      ASSERT_TRUE(std::ranges::equal(team.state_bytes(), host.state_bytes()))
          << "placed " << position;
      if (expected.status != Status::ok || (mute_every > 0 && s % mute_every == 0)) continue;
      std::vector<float> row(host.size());
      for (float& weight : row) weight = draw_weight(kind, random);
      for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -0.0F, 1.5F}) {
        std::vector<float> broken = row;
        broken[random.below(row.size())] = bad;
        ASSERT_EQ(team.observe(broken), Status::bad_row);
        ASSERT_EQ(host.observe(broken), Status::bad_row);
      }
      ASSERT_EQ(team.observe(row), host.observe(row));
      ASSERT_TRUE(std::ranges::equal(team.state_bytes(), host.state_bytes()))
          << "row of " << position;
    }
  }
};

TYPED_TEST_SUITE(TeamTest, AllContenders);

TYPED_TEST(TeamTest, SmallSizesAllWeights) {
  for (const std::size_t window : {1U, 2U, 3U, 8U}) {
    for (const std::size_t distant : {1U, 5U, 12U}) {
      for (const std::size_t sinks : {0U, 1U, 4U}) {
        if (sinks > distant) continue;
        for (const Weights kind : all_weights) {
          this->play({.capacity = window + distant, .window = window, .sinks = sinks},
                     4 * (window + distant), kind, 0);
          if (this->HasFailure()) return;
        }
      }
    }
  }
}

TYPED_TEST(TeamTest, WindowsOfThePapersAndTheirLimits) {
  for (const std::size_t window : {31U, 32U, 200U, 255U}) {
    const Setting setting{.capacity = window + 37, .window = window, .max_tokens = 4 * window};
    const Weights kind = window % 2 == 0 ? Weights::fine : Weights::coarse;
    this->play(setting, 3 * window + 140, kind, 0);
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(TeamTest, TokensWithoutARow) {
  for (const std::size_t mute_every : {1U, 2U, 3U, 5U}) {
    this->play({.capacity = 13, .window = 5, .sinks = 2, .max_tokens = 200}, 150, Weights::grid, 0,
               mute_every);
  }
}

TYPED_TEST(TeamTest, AfterAPrompt) {
  const Setting setting{.capacity = 40, .window = 9, .max_tokens = 200};
  this->play(setting, 90, Weights::grid, 0, 7, 60);
  this->play(setting, 20, Weights::grid, 3, 7, 60);
}

TYPED_TEST(TeamTest, OfSeveralThreads) {
  for (const std::uint32_t threads : {2U, 9U}) {
    this->play({.capacity = 21, .window = 5, .sinks = 2, .max_tokens = 200}, 60, Weights::sparse,
               threads, 7);
  }
}

}  // namespace
}  // namespace morphkv::testing::team_test
