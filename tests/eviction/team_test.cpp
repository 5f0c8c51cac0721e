// SPDX-License-Identifier: Apache-2.0
// The host's driver of the eviction machine beside a team of one thread.
// (tests/policy compares the host's driver with oracles in double.)
#include <gtest/gtest.h>

#include <cstddef>

#include "support/contenders.hpp"
#include "support/team_duel.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::team_test { namespace {

template <class Contender>
class TeamTest : public ::testing::Test {};
TYPED_TEST_SUITE(TeamTest, AllContenders);

TYPED_TEST(TeamTest, SmallSizesAllWeights) {
  for (const std::size_t window : {1U, 2U, 3U, 8U}) {
    for (const std::size_t distant : {1U, 5U, 12U}) {
      for (const std::size_t sinks : {0U, 1U, 4U}) {
        if (sinks > distant) continue;
        for (const Weights kind : all_weights) {
          play_beside_a_team<TypeParam>(
              {.capacity = window + distant, .window = window, .sinks = sinks},
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
    play_beside_a_team<TypeParam>(setting, 3 * window + 140, kind, 0);
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(TeamTest, TokensWithoutARow) {
  for (const std::size_t mute_every : {1U, 2U, 3U, 5U}) {
    play_beside_a_team<TypeParam>({.capacity = 13, .window = 5, .sinks = 2, .max_tokens = 200}, 150,
                                  Weights::grid, 0, mute_every);
  }
}

TYPED_TEST(TeamTest, AfterAPrompt) {
  play_beside_a_team<TypeParam>({.capacity = 40, .window = 9, .max_tokens = 200}, 90, Weights::grid,
                                0, 7, 60);
}

}  // namespace
}  // namespace morphkv::testing::team_test
