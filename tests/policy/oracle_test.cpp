// SPDX-License-Identifier: Apache-2.0
// Every policy against its brute-force oracle, step for step.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "support/contenders.hpp"
#include "support/duel.hpp"

namespace morphkv::testing::oracle_test { namespace {

template <class Contender>
class OracleTest : public ::testing::Test {
 protected:
  using Policy = typename Contender::Policy;

  static Duel<Policy> duel(const Setting& setting, std::uint64_t seed) {
    return {Policy(Contender::options(setting)), Contender::reference(setting), seed};
  }

  /// A prompt and then steps, one in `mute_every` of which does not attend.
  static void play(const Setting& setting, std::size_t prompt, std::size_t steps, Weights kind,
                   std::size_t mute_every = 0) {
    SCOPED_TRACE(::testing::Message() << setting << ", prompt " << prompt << ", " << kind);
    Duel<Policy> match = duel(setting, prompt + 1000 * setting.capacity);
    match.block(prompt, kind);
    for (std::size_t s = 1; s <= steps; ++s) {
      match.step(kind, mute_every > 0 && s % mute_every == 0);
      if (::testing::Test::HasFailure()) return;
    }
  }

  static std::vector<std::size_t> prompts_around(const Setting& s) {
    std::vector<std::size_t> lengths{0,
                                     1,
                                     s.window - 1,
                                     s.window,
                                     s.capacity - 1,
                                     s.capacity,
                                     s.capacity + 1,
                                     2 * s.capacity + 3};
    std::sort(lengths.begin(), lengths.end());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
    return lengths;
  }
};

TYPED_TEST_SUITE(OracleTest, OracleContenders);

TYPED_TEST(OracleTest, SmallSizesAllPromptLengthsAllWeights) {
  for (const std::size_t window : {1U, 2U, 3U, 7U}) {
    for (const std::size_t distant : {1U, 2U, 5U, 12U}) {
      for (const std::size_t sinks : {0U, 1U, 4U}) {
        if (sinks > distant) continue;
        const Setting setting{.capacity = window + distant, .window = window, .sinks = sinks};
        for (const std::size_t prompt : this->prompts_around(setting)) {
          for (const Weights kind : all_weights) {
            this->play(setting, prompt, 3 * setting.capacity, kind);
            if (this->HasFailure()) return;
          }
        }
      }
    }
  }
}

TYPED_TEST(OracleTest, WindowsOfThePapersAndTheirLimits) {
  for (const std::size_t window : {31U, 32U, 200U, 255U}) {
    const Setting setting{
        .capacity = window + 37, .window = window, .max_tokens = 3 * window + 150};
    this->play(setting, window + 150, 2 * window + 40, Weights::fine);
    this->play(setting, setting.capacity, window + 40, Weights::fine);
    this->play(setting, window - 5, window + 40, Weights::coarse);
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(OracleTest, ThousandsOfSteps) {
  const Setting setting{.capacity = 45, .window = 9, .max_tokens = 2100};
  for (const Weights kind : {Weights::grid, Weights::sparse, Weights::fine}) {
    this->play(setting, 60, 2000, kind);
  }
}

TYPED_TEST(OracleTest, TokensThatDoNotAttendVoteForNobody) {
  for (const Weights kind : all_weights) {
    for (const std::size_t mute_every : {1U, 2U, 3U, 5U}) {
      this->play({.capacity = 13, .window = 5, .sinks = 2, .max_tokens = 200}, 9, 150, kind,
                 mute_every);
    }
  }
}

TYPED_TEST(OracleTest, TheProtectedPromptStays) {
  for (const std::size_t prompt : {1U, 6U, 10U, 14U, 15U}) {
    this->play({.capacity = 16, .window = 3, .sinks = 2, .protect_prompt = true}, prompt, 60,
               Weights::grid);
  }
}

TYPED_TEST(OracleTest, SeveralTurns) {
  for (const Weights kind : all_weights) {
    SCOPED_TRACE(kind);
    const Setting setting{.capacity = 24, .window = 6, .sinks = 3, .max_tokens = 400};
    auto match = this->duel(setting, 99);
    for (const std::size_t turn : {10U, 3U, 30U, 1U, 6U, 24U, 60U, 2U}) {
      match.block(turn, kind);
      const std::size_t answer = match.random().below(30);
      for (std::size_t s = 0; s < answer; ++s) match.step(kind, match.random().chance(0.1));
      if (this->HasFailure()) return;
    }
  }
}

TYPED_TEST(OracleTest, PromptsInChunks) {
  for (const Weights kind : all_weights) {
    for (const std::size_t chunk : {6U, 7U, 16U, 40U}) {
      SCOPED_TRACE(::testing::Message() << kind << ", chunks of " << chunk);
      auto match = this->duel({.capacity = 20, .window = 6, .sinks = 2, .max_tokens = 300}, chunk);
      for (std::size_t done = 0; done < 120; done += chunk) match.block(chunk, kind);
      for (std::size_t s = 0; s < 60; ++s) match.step(kind);
      if (this->HasFailure()) return;
    }
  }
}

TYPED_TEST(OracleTest, PositionsMaySkip) {
  auto match = this->duel({.capacity = 12, .window = 4, .sinks = 2, .max_tokens = 200}, 5);
  for (std::size_t s = 0; s < 100; ++s) {
    match.step(Weights::grid, false, static_cast<Position>(match.random().below(4)));
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(OracleTest, SinksMayComeInALaterBlock) {
  for (const Weights kind : all_weights) {
    auto match = this->duel({.capacity = 20, .window = 6, .sinks = 4, .max_tokens = 100}, 7);
    for (const std::size_t turn : {1U, 2U, 40U}) match.block(turn, kind);
    for (std::size_t s = 0; s < 30; ++s) match.step(kind);
    if (this->HasFailure()) return;
  }
}

/// Of the policies that let a head grow, a block may fill it to the last slot.
TEST(FullHeads, ABlockMayFillEverySlot) {
  for (const std::size_t tokens : {10U, 11U}) {
    Full policy({.max_tokens = 10});
    const std::vector<oracle::Row> rows(tokens, oracle::Row(tokens, 0.0));
    EXPECT_EQ(append_block(policy, 0, rows), tokens == 10 ? Status::ok : Status::full);
  }
}

TYPED_TEST(OracleTest, EverySlotMayBeASink) {
  for (const std::size_t prompt : {0U, 3U, 8U, 20U}) {
    this->play({.capacity = 8, .window = 3, .sinks = 5}, prompt, 40, Weights::grid);
  }
}

}  // namespace
}  // namespace morphkv::testing::oracle_test
