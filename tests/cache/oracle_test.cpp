// SPDX-License-Identifier: Apache-2.0
// The cache against oracles that hold all keys and values: outputs, kept sets and stored rows.
#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "support/cache_duel.hpp"
#include "support/contenders.hpp"

namespace morphkv::testing::oracle_test { namespace {

/// Turns of a prompt and an answer.
struct Turn {
  std::size_t prompt;
  std::size_t answer;
};

/// \return the share of the steps that were played before rounding parted the two
template <class Duel>
double play(Duel& duel, const std::vector<Turn>& turns) {
  double played = 0;
  double planned = 0;
  for (const Turn& turn : turns) {
    planned += static_cast<double>(turn.answer + 1);
    if (duel.over() || ::testing::Test::HasFailure()) continue;
    if (turn.prompt > 0) duel.prefill(turn.prompt);
    ++played;
    for (std::size_t s = 0; s < turn.answer && !duel.over(); ++s) {
      duel.step();
      ++played;
      if (::testing::Test::HasFailure()) break;
    }
  }
  return played / planned;
}

template <class Contender>
class CacheOracleTest : public ::testing::Test {
 protected:
  /// Several sequences; near ties may end a few of them early.
  template <class T, class E = float>
  static void matches(const CacheShape& shape, const Setting& setting,
                      const std::vector<Turn>& turns) {
    SCOPED_TRACE(::testing::Message()
                 << setting << ", group " << shape.group() << ", head_dim " << shape.head_dim);
    double played = 0;
    constexpr int sequences = 4;
    for (int seed = 0; seed < sequences; ++seed) {
      CacheDuel<T, Contender, E> duel(shape, setting, static_cast<std::uint64_t>(seed) + 11);
      played += play(duel, turns);
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_GT(played / sequences, 0.7) << "ties are rare, so most of it must have been compared";
  }
};

TYPED_TEST_SUITE(CacheOracleTest, OracleContenders);

TYPED_TEST(CacheOracleTest, GroupsOfEverySize) {
  for (const std::size_t group : {1U, 3U, 4U, 8U}) {
    for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean, GroupFusion::sum}) {
      const CacheShape shape{.layers = 1, .query_heads = 2 * group, .kv_heads = 2, .head_dim = 8};
      this->template matches<float>(shape, {.capacity = 16, .window = 5, .group = fusion},
                                    {{20, 40}});
    }
  }
}

TYPED_TEST(CacheOracleTest, PromptsOfEveryLength) {
  const CacheShape shape{.layers = 2, .query_heads = 2, .kv_heads = 1, .head_dim = 5};
  for (const std::size_t prompt : {0U, 1U, 4U, 5U, 11U, 12U, 13U, 40U}) {
    this->template matches<float>(shape, {.capacity = 12, .window = 5}, {{prompt, 20}});
  }
}

TYPED_TEST(CacheOracleTest, SeveralTurns) {
  const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 7};
  this->template matches<float>(shape, {.capacity = 14, .window = 4, .sinks = 1, .max_tokens = 128},
                                {{6, 5}, {3, 20}, {30, 3}, {1, 9}});
}

TYPED_TEST(CacheOracleTest, PromptsInChunks) {
  const CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 8};
  this->template matches<float>(shape, {.capacity = 14, .window = 4, .sinks = 1, .max_tokens = 128},
                                {{9, 0}, {9, 0}, {9, 0}, {4, 30}});
}

TYPED_TEST(CacheOracleTest, ObservesTheWeightsOfTheEngine) {
  for (const std::size_t group : {1U, 4U, 8U}) {
    for (const Weights kind : all_weights) {
      for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean, GroupFusion::sum}) {
        const CacheShape shape{.layers = 2, .query_heads = 2 * group, .kv_heads = 2, .head_dim = 2};
        CacheDuel<float, TypeParam> duel(
            shape, {.capacity = 15, .window = 5, .max_tokens = 80, .group = fusion}, group);
        for (int s = 0; s < 60; ++s) duel.observe(kind);
        ASSERT_FALSE(duel.over()) << "sums of these weights are exact";
      }
    }
  }
}

/// Saved, and restored with a smaller or larger capacity, between turns and steps.
TYPED_TEST(CacheOracleTest, RestoredWithOtherCapacities) {
  const std::size_t windows[] = {0, 9};
  const CacheShape shape{
      .layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 6, .windows = windows};
  double played = 0;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    Setting setting{.capacity = 20, .window = 4, .sinks = 2, .max_tokens = 400};
    CacheDuel<float, TypeParam> duel(shape, setting, seed);
    for (int round = 0; round < 6 && !duel.over(); ++round, ++played) {
      if (round % 2 == 0) duel.prefill(1 + duel.random().below(30));
      for (int step = 0; step < 10 && !duel.over(); ++step) duel.step();
      if (duel.over()) break;
      setting.capacity = 7 + duel.random().below(40);
      duel.save_and_restore(setting);
      for (int step = 0; step < 5 && !duel.over(); ++step) duel.step();
      if (this->HasFailure()) return;
    }
  }
  EXPECT_GT(played, 18) << "of 36";
}

/// Spans of all lengths, after nothing and after other tokens, in layers that slide and in others.
TYPED_TEST(CacheOracleTest, SpansOfABlock) {
  const std::size_t windows[] = {0, 9};
  const CacheShape shape{
      .layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 6, .windows = windows};
  double played = 0;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    CacheDuel<float, TypeParam> duel(
        shape, {.capacity = 20, .window = 5, .sinks = 2, .max_tokens = 400}, seed);
    for (int round = 0; round < 5 && !duel.over(); ++round, ++played) {
      const std::size_t tokens = 1 + duel.random().below(50);
      std::vector<TokenSpan> spans;
      for (std::size_t begin = duel.random().below(tokens); begin < tokens;) {
        spans.push_back({begin, begin + 1 + duel.random().below(tokens - begin)});
        begin = spans.back().end + duel.random().below(5);
      }
      duel.prefill(tokens, spans);
      for (int step = 0; step < 8 && !duel.over(); ++step) duel.step();
      if (this->HasFailure()) return;
    }
  }
  EXPECT_GT(played, 20) << "ties are rare";
}

/// Scores, pins and windows go on where positions have changed, and so do later renumberings.
TYPED_TEST(CacheOracleTest, TurnedKeys) {
  constexpr float slopes[] = {0.25F, 0, 0.0625F, 0.5F};
  constexpr float frequencies[] = {1, 0.1F, 0.01F};
  const Rope ropes[] = {{frequencies}, {frequencies, 2, true}, {std::span(frequencies).first(1)}};
  const std::size_t windows[] = {0, 9};
  CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 8};
  shape.windows = windows;
  shape.slopes = slopes;
  double played = 0;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    CacheDuel<Eigen::half, TypeParam> duel(
        shape, {.capacity = 20, .window = 5, .sinks = 2, .max_tokens = 400, .history = 3}, seed);
    duel.renumber(&ropes[0]);  // an empty one
    for (std::size_t round = 0; round < 5 && !duel.over(); ++round, ++played) {
      duel.prefill(1 + duel.random().below(40));
      for (std::size_t step = duel.random().below(12); step > 0 && !duel.over(); --step) {
        duel.step();
      }
      if (duel.over()) break;
      duel.renumber(round == 4 ? nullptr : &ropes[round % 3]);
      duel.rollback(1);  // which is refused
      if (this->HasFailure()) return;
    }
  }
  EXPECT_GT(played, 20) << "ties are rare";
}

TYPED_TEST(CacheOracleTest, DraftsForksAndNewSequences) {
  const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 8};
  CacheDuel<float, TypeParam> duel(
      shape, {.capacity = 16, .window = 5, .sinks = 2, .max_tokens = 4000, .history = 5}, 3);
  for (int round = 0; round < 30 && !duel.over(); ++round) {
    duel.prefill(1 + duel.random().below(round % 5 == 0 ? 30 : 5));
    for (std::size_t step = duel.random().below(8); step > 0; --step) {
      duel.random().chance(0.5) ? duel.step() : duel.observe(Weights::grid);
    }
    if (!duel.over()) duel.rollback(duel.random().below(8));
    if (round % 7 == 3) duel.fork();
    if (round % 11 == 10) duel.reset();
    if (this->HasFailure()) return;
  }
}

template <class Contender>
class CacheScalarTest : public CacheOracleTest<Contender> {};
TYPED_TEST_SUITE(CacheScalarTest, OneOfEachKind);

TYPED_TEST(CacheScalarTest, StoresHalfAndBfloat16) {
  const CacheShape shape{.layers = 2, .query_heads = 6, .kv_heads = 2, .head_dim = 16};
  const Setting setting{.capacity = 17, .window = 6, .sinks = 2};
  const std::vector<Turn> turns{{25, 30}};
  this->template matches<Eigen::half>(shape, setting, turns);
  this->template matches<Eigen::bfloat16>(shape, setting, turns);
  this->template matches<Eigen::half, Eigen::half>(shape, setting, turns);
  this->template matches<Eigen::bfloat16, Eigen::bfloat16>(shape, setting, turns);
}

TYPED_TEST(CacheScalarTest, LargeHeads) {
  const CacheShape shape{.layers = 1, .query_heads = 8, .kv_heads = 2, .head_dim = 128};
  this->template matches<Eigen::bfloat16>(shape, {.capacity = 70, .window = 32, .max_tokens = 200},
                                          {{90, 40}});
}

}  // namespace
}  // namespace morphkv::testing::oracle_test
