// SPDX-License-Identifier: Apache-2.0
// The host's driver of the eviction machine beside a team of several threads.
#include <gtest/gtest.h>

#include <cstdint>

#include "support/contenders.hpp"
#include "support/team_duel.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::team_threads_test { namespace {

template <class Contender>
class TeamThreadsTest : public ::testing::Test {};
TYPED_TEST_SUITE(TeamThreadsTest, AllContenders);

TYPED_TEST(TeamThreadsTest, HaveTheBytesOfTheHost) {
  for (const std::uint32_t threads : {2U, 9U}) {
    play_beside_a_team<TypeParam>({.capacity = 21, .window = 5, .sinks = 2, .max_tokens = 200}, 60,
                                  Weights::sparse, threads, 7);
  }
}

TYPED_TEST(TeamThreadsTest, AfterAPrompt) {
  play_beside_a_team<TypeParam>({.capacity = 40, .window = 9, .max_tokens = 200}, 20, Weights::grid,
                                3, 7, 60);
}

}  // namespace
}  // namespace morphkv::testing::team_threads_test
