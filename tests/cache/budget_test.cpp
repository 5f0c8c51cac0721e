// SPDX-License-Identifier: Apache-2.0
// Budgets of layers and heads.
#include "morphkv/cache/budget.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/score/last_row.hpp"
#include "oracle/attention_oracle.hpp"
#include "oracle/budget_oracle.hpp"
#include "oracle/scorings.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/script.hpp"

namespace morphkv::testing::budget_test { namespace {

TEST(PyramidBudget, GoesDownOnALine) {
  for (const std::size_t layers : {2U, 3U, 7U, 32U}) {
    for (const double beta : {1.0, 2.0, 20.0}) {
      const CacheShape shape{.layers = layers, .query_heads = 2, .kv_heads = 2, .head_dim = 1};
      const MorphKV::Options options{.capacity = 108, .window = 8, .sinks = 0};
      const auto capacities = Budget::pyramid(beta).capacities(shape, options);
      ASSERT_EQ(capacities.size(), shape.heads());
      double total = 0;
      for (std::size_t head = 0; head < capacities.size(); ++head) {
        const double share = oracle::pyramid_share(100, beta, head / 2, layers);
        EXPECT_NEAR(static_cast<double>(capacities[head]), 8 + share, 0.5 + 1e-9);
        total += static_cast<double>(capacities[head]);
      }
      EXPECT_NEAR(total, 108.0 * static_cast<double>(capacities.size()),
                  0.5 * static_cast<double>(capacities.size()));
    }
  }
}

TEST(PyramidBudget, OfOneLayerIsUniform) {
  const CacheShape shape{.layers = 1, .query_heads = 2, .kv_heads = 2, .head_dim = 1};
  EXPECT_EQ(Budget::pyramid().capacities(shape, MorphKV::Options{.capacity = 50, .window = 8}),
            (std::vector<std::size_t>{50, 50}));
}

/// Heads of other capacities do as those of a cache in which all have that capacity.
TEST(PerHeadBudget, EveryHeadIsItsOwn) {
  const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 3};
  const std::vector<std::size_t> capacities{9, 30, 14, 21};
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4}, Budget::per_head(capacities));
  (void)Script().prefill(cache, 25);
  (void)Script().decode(cache, 40);
  const auto state = state_of(cache);
  for (std::size_t head = 0; head < capacities.size(); ++head) {
    KVCache<float, MorphKV> uniform(shape, {.capacity = capacities[head], .window = 4});
    (void)Script().prefill(uniform, 25);
    (void)Script().decode(uniform, 40);
    EXPECT_EQ(state[head], state_of(uniform)[head]) << "head " << head;
    EXPECT_EQ(state[head].positions.size(), capacities[head]);
  }
}

/// SnapKV never evicts while it decodes: what a head may hold beyond its prompt stays.
TEST(PerHeadBudget, TheResponseHasTheSameRoomInEveryHead) {
  const CacheShape shape{.layers = 1, .query_heads = 2, .kv_heads = 2, .head_dim = 4};
  const KVCache<float, SnapKV> cache(shape, {.capacity = 16, .window = 4, .max_tokens = 40},
                                     Budget::per_head({8, 20}));
  EXPECT_EQ(cache.policy(0, 0).slots(), 32U);
  EXPECT_EQ(cache.policy(0, 1).slots(), 44U);
}

/// Heads are compared by them: weights, and where the rules pool them, averages of weights.
TEST(CompetingScores, AreTheNumbersBehindTheScores) {
  const auto scores = [](std::size_t kernel) {
    const EvictionRules rules =
        make_rules({.capacity = 5, .recent = 2, .sinks = 1, .pooling_kernel = kernel});
    const ScoredEviction<LastRow> policy({rules, LastRow{}});
    const std::vector<oracle::Row> rows(6, oracle::Row{0.25, 0.5, 0.25, 0.75, 0, 0});
    BlockRows source(policy.positions(), 0, rows);
    return policy.competing_scores(policy.score_block(0, source.view()));
  };
  constexpr double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(scores(1), (std::vector<double>{infinity, 0.5, 0.25, 0.75}));
  EXPECT_EQ(scores(3), (std::vector<double>{infinity, 1.0 / 3, 1.5 / 3, 1.0 / 3}));
}

TEST(AdaptiveCapacities, OfEqualScoresTheNewerTokenCountsThenTheLowerHead) {
  using Heads = std::vector<std::vector<double>>;
  const auto divided = [](const Heads& scores, std::size_t distant) {
    return adaptive_capacities(scores, distant, 0);
  };
  using Capacities = std::vector<std::size_t>;
  EXPECT_EQ(divided({{9, 8, 7, 1}, {6, 5, 1}}, 3), (Capacities{4, 2})) << "token 3 before token 2";
  EXPECT_EQ(divided({{6, 5, 1}, {9, 8, 7, 1}}, 3), (Capacities{2, 4}));
  EXPECT_EQ(divided({{9, 8, 1}, {7, 6, 1}, {5}}, 2), (Capacities{3, 2, 1})) << "the lower head";
  EXPECT_EQ(divided({{5}, {7, 6, 1}, {9, 8, 1}}, 2), (Capacities{1, 3, 2}));
}

TEST(PerHeadBudget, MemoryIsThatOfTheHeads) {
  const CacheShape shape{.layers = 2, .query_heads = 2, .kv_heads = 2, .head_dim = 16};
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4},
                                Budget::per_head({9, 30, 14, 21}));
  EXPECT_EQ(cache.memory().keys, 74U * 16 * sizeof(float));
}

template <class Contender>
class AdaptiveBudgetTest : public ::testing::Test {
 protected:
  static constexpr std::size_t prompt = 60;
  inline static bool heads_differed = false;  ///< in what they were given, at least once

  /// The rows of a prompt for one KV head: the script's tokens through the oracle's attention.
  static std::vector<oracle::Row> rows_of(const CacheShape& shape, const Tokens& block,
                                          std::size_t head, GroupFusion fusion) {
    oracle::Sequence sequence{shape.head_dim, {}, {}};
    std::vector<Position> seen;
    std::vector<oracle::Row> rows;
    for (std::size_t t = 0; t < block.count; ++t) {
      const auto key = std::span(block.keys)
                           .subspan((t * shape.kv_heads + head) * shape.head_dim, shape.head_dim);
      sequence.keys.emplace_back(key.begin(), key.end());
      seen.push_back(static_cast<Position>(t));
      std::vector<std::vector<double>> group;
      for (std::size_t g = 0; g < shape.group(); ++g) {
        const std::size_t query = t * shape.query_heads + head * shape.group() + g;
        group.push_back(oracle::weights_over(
            std::span(block.queries).subspan(query * shape.head_dim, shape.head_dim), sequence,
            seen));
      }
      rows.push_back(oracle::fuse(group, fusion));
    }
    return rows;
  }

  /// Scores of the older tokens before anything left; infinite where a token must stay.
  static std::vector<double> scores_of(Setting setting, const std::vector<oracle::Row>& rows) {
    setting.capacity = setting.max_tokens = prompt + 1;
    oracle::EvictionOracle all = Contender::reference(setting);
    EXPECT_EQ(all.block(0, rows), Status::ok);
    auto scores = all.options().scoring(all.history(), rows.size() - setting.window);
    for (std::size_t t = 0; t < scores.size(); ++t) {
      if (all.permanent(t)) scores[t] = std::numeric_limits<double>::infinity();
    }
    return scores;
  }

  static void matches(const CacheShape& shape, const Setting& setting, double floor) {
    SCOPED_TRACE(::testing::Message()
                 << setting << ", floor " << floor << ", head_dim " << shape.head_dim);
    KVCache<float, typename Contender::Policy> cache(shape, Contender::options(setting),
                                                     Budget::adaptive(floor));
    const MemoryUsage before = cache.memory();
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      Tokens block = Script().at(shape, layer, 0, prompt);
      flatten_first_head(shape, block);
      std::vector<float> outputs(block.queries.size());
      ASSERT_EQ(cache.prefill(layer, block.queries, block.keys, block.values, std::span(outputs)),
                Status::ok);
      check_layer(cache, layer, block, setting, floor);
    }
    EXPECT_EQ(cache.memory().keys, before.keys) << "the layer's budget is divided, not raised";
    (void)Script().decode(cache, 10);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      Tokens block = Script().at(shape, layer, 0, prompt + 10);
      flatten_first_head(shape, block);
      check_rows(cache, layer, block);
    }
  }

 private:
  /// The first head attends evenly, so that its budget is many tokens, and the others' few.
  static void flatten_first_head(const CacheShape& shape, Tokens& block) {
    for (std::size_t t = 0; t < prompt; ++t) {
      for (std::size_t i = 0; i < shape.group() * shape.head_dim; ++i) {
        block.queries[t * shape.query_heads * shape.head_dim + i] *= 0.02F;
      }
    }
  }

  template <class Cache>
  static void check_layer(const Cache& cache, std::size_t layer, const Tokens& block,
                          const Setting& setting, double floor) {
    const CacheShape& shape = cache.shape();
    std::vector<std::vector<double>> scores;
    std::vector<std::vector<oracle::Row>> rows;
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      rows.push_back(rows_of(shape, block, head, setting.group));
      scores.push_back(scores_of(setting, rows.back()));
    }
    const auto shares = oracle::adaptive_shares(scores, setting.capacity - setting.window, floor);
    heads_differed = heads_differed || shares[0] != shares[1];
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      Setting own = setting;
      own.capacity = shares[head] + setting.window;
      oracle::EvictionOracle reference = Contender::reference(own);
      ASSERT_EQ(reference.block(0, rows[head]), Status::ok);
      EXPECT_EQ(kept(cache.policy(layer, head)), reference.kept()) << "head " << head;
    }
    check_rows(cache, layer, block);
  }

  /// No head's rows were written over another's.
  template <class Cache>
  static void check_rows(const Cache& cache, std::size_t layer, const Tokens& block) {
    const CacheShape& shape = cache.shape();
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      const auto positions = cache.positions(layer, head);
      for (std::size_t slot = 0; slot < positions.size(); ++slot) {
        if (positions[slot] == no_position) continue;
        const std::size_t token = static_cast<std::size_t>(positions[slot]);
        for (std::size_t d = 0; d < shape.head_dim; ++d) {
          const std::size_t at = (token * shape.kv_heads + head) * shape.head_dim + d;
          ASSERT_EQ(cache.keys(layer, head)[slot * shape.head_dim + d], block.keys[at])
              << "layer " << layer << ", head " << head << ", token " << token;
          ASSERT_EQ(cache.values(layer, head)[slot * shape.head_dim + d], block.values[at]);
        }
      }
    }
  }
};

using AdaptiveContenders =
    ::testing::Types<SnapKVAverage, SnapKVMax, MorphKVSum, MorphKVMax, H2OPlain, TOVAContender>;
TYPED_TEST_SUITE(AdaptiveBudgetTest, AdaptiveContenders);

TYPED_TEST(AdaptiveBudgetTest, EqualsTheOracle) {
  for (const std::size_t head_dim : {16U, 8U, 3U}) {
    const CacheShape shape{.layers = 3, .query_heads = 6, .kv_heads = 3, .head_dim = head_dim};
    for (const double floor : {0.2, 0.0, 0.5, 1.0}) {
      this->matches(
          shape,
          {.capacity = 24, .window = 6, .sinks = 0, .max_tokens = 40, .group = GroupFusion::mean},
          floor);
    }
    this->matches(
        shape,
        {.capacity = 24, .window = 6, .sinks = 3, .max_tokens = 40, .group = GroupFusion::mean},
        0.2);
  }
  EXPECT_TRUE(this->heads_differed);
}

/// Rows of a few bytes: heads still begin on cache lines of their own.
TYPED_TEST(AdaptiveBudgetTest, HeadsOfOneDimension) {
  const CacheShape shape{.layers = 3, .query_heads = 4, .kv_heads = 4, .head_dim = 1};
  this->matches(shape, {.capacity = 15, .window = 4, .sinks = 0, .max_tokens = 30}, 0.2);
}

/// Ages are the same in all heads, and draws are each head's own.
TEST(AdaptiveBudget, OfScoresThatNoRowChanges) {
  const CacheShape shape{.layers = 2, .query_heads = 3, .kv_heads = 3, .head_dim = 4};
  KVCache<float, StreamingLLM> newest(shape, {.capacity = 24, .sinks = 0}, Budget::adaptive(0));
  (void)Script().prefill(newest, 60);
  KVCache<float, morphkv::Random> drawn(shape, {.capacity = 24, .recent = 6, .sinks = 0},
                                        Budget::adaptive(0));
  (void)Script().prefill(drawn, 60);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    std::size_t slots = 0;
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      const std::vector<Position> held = kept(newest.policy(layer, head));
      EXPECT_EQ(held.size(), 24U);
      EXPECT_EQ(held.front(), 36);
      slots += drawn.size(layer, head);
    }
    EXPECT_EQ(slots, 3U * 24U);
    EXPECT_NE(kept(drawn.policy(layer, 0)), kept(drawn.policy(layer, 1)));
  }
}

TEST(AdaptiveBudget, AShortPromptIsUniform) {
  const CacheShape shape{.layers = 1, .query_heads = 2, .kv_heads = 2, .head_dim = 4};
  KVCache<float, MorphKV> cache(shape, {.capacity = 24, .window = 6}, Budget::adaptive());
  KVCache<float, MorphKV> uniform(shape, {.capacity = 24, .window = 6});
  EXPECT_EQ(Script().prefill(cache, 24), Script().prefill(uniform, 24));
  EXPECT_EQ(Script().decode(cache, 30), Script().decode(uniform, 30));
  EXPECT_EQ(state_of(cache), state_of(uniform));
}

/// Of a prompt that fits nothing is divided, also where the newest token alone takes no part.
TEST(AdaptiveBudget, APromptOfTheCapacityStays) {
  const CacheShape shape{.layers = 1, .query_heads = 2, .kv_heads = 2, .head_dim = 4};
  KVCache<float, StreamingLLM> cache(shape, {.capacity = 24, .sinks = 0}, Budget::adaptive(0));
  (void)Script().prefill(cache, 24);
  for (const std::size_t head : {0U, 1U}) EXPECT_EQ(cache.size(0, head), 24U);
}

TEST(AdaptiveBudget, ResetDividesAnew) {
  const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 4};
  KVCache<float, MorphKV> cache(shape, {.capacity = 24, .window = 6}, Budget::adaptive());
  auto fresh = cache;
  (void)Script(2).prefill(cache, 60);
  cache.reset();
  EXPECT_EQ(Script().prefill(cache, 60), Script().prefill(fresh, 60));
  EXPECT_EQ(Script().decode(cache, 30), Script().decode(fresh, 30));
  EXPECT_EQ(state_of(cache), state_of(fresh));
}

TEST(AdaptiveBudget, ARefusedPromptDividesNothing) {
  const CacheShape shape{.layers = 1, .query_heads = 2, .kv_heads = 2, .head_dim = 4};
  KVCache<float, MorphKV> cache(shape, {.capacity = 24, .window = 6}, Budget::adaptive());
  const auto untouched = cache;
  for (const std::size_t head : {0U, 1U}) {
    Tokens block = Script().at(shape, 0, 0, 60);
    block.queries[59 * 8 + head * 4] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(cache.prefill(0, block.queries, block.keys, block.values), Status::bad_row);
    for (std::size_t h = 0; h < 2; ++h) {
      EXPECT_EQ(cache.policy(0, h).capacity(), untouched.policy(0, h).capacity());
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::budget_test
