// SPDX-License-Identifier: Apache-2.0
// A cache whose heads have two tiers of slots, against oracles that hold all keys and values and
// round them where a token goes to another tier; and what such a cache refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/allocation_counter.hpp"
#include "support/contenders.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"
#include "support/tiered_duel.hpp"

namespace morphkv::testing::tiered_cache_test { namespace {

template <class Contender>
class TieredCacheTest : public ::testing::Test {
 protected:
  template <class T, class Cold>
  static void matches(const CacheShape& shape, const Setting& setting, std::size_t hot,
                      const std::vector<std::size_t>& prompts, std::size_t steps) {
    SCOPED_TRACE(::testing::Message() << setting << ", hot " << hot << ", group " << shape.group());
    double played = 0;
    constexpr int sequences = 3;
    for (int seed = 0; seed < sequences; ++seed) {
      TieredDuel<T, Cold, Contender> duel(shape, setting, hot, static_cast<std::uint64_t>(seed));
      for (const std::size_t prompt : prompts) {
        if (prompt > 0 && !duel.over()) duel.prefill(prompt);
        for (std::size_t s = 0; s < steps && !duel.over(); ++s, ++played) {
          duel.step();
          if (HasFailure()) return;
        }
      }
    }
    EXPECT_GT(played, 0.5 * static_cast<double>(sequences * prompts.size() * steps))
        << "ties are rare, so most of it must have been compared";
  }
};

using Evicting = ::testing::Types<MorphKVSum, H2OPlain, DecayedMaxWithPins, StreamingLLMContender,
                                  TOVAContender>;
TYPED_TEST_SUITE(TieredCacheTest, Evicting);

TYPED_TEST(TieredCacheTest, GroupsAndSizesOfTheTiers) {
  const Setting setting{.capacity = 16, .window = 5, .sinks = 2};
  for (const std::size_t group : {1U, 3U, 4U}) {
    const CacheShape shape{.layers = 1, .query_heads = 2 * group, .kv_heads = 2, .head_dim = 32};
    for (const std::size_t hot : {1U, 6U, 15U}) {
      this->template matches<Eigen::half, Q8_0>(shape, setting, hot, {20, 0}, 15);
    }
  }
}

TYPED_TEST(TieredCacheTest, TurnsAndChunks) {
  const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 64};
  Setting setting{.capacity = 18, .window = 4, .sinks = 1};
  for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean}) {
    setting.group = fusion;
    this->template matches<float, Q8_0>(shape, setting, 7, {9, 9, 1, 40, 3}, 6);
    this->template matches<Eigen::bfloat16, Q4_0>(shape, setting, 9, {0, 30, 2}, 10);
    this->template matches<Q8_0, Q4_0>(shape, setting, 5, {25, 5}, 12);
  }
}

TYPED_TEST(TieredCacheTest, LogitsOfEveryKindAndLatentValues) {
  const float sinks[] = {0.5F, -1, 2, -std::numeric_limits<float>::infinity()};
  const float slopes[] = {0.25F, 0, 0.0625F, 0.5F};
  const Setting setting{.capacity = 16, .window = 4, .sinks = 1};
  CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 32, .value_dim = 64};
  shape.soft_cap = 5;
  shape.sinks = sinks;
  shape.slopes = slopes;
  this->template matches<Eigen::half, Q8_0>(shape, setting, 6, {20}, 20);
  const CacheShape latent{.layers = 1,
                          .query_heads = 4,
                          .kv_heads = 1,
                          .head_dim = 96,
                          .value_dim = 32,
                          .values_in_keys = true};
  this->template matches<Eigen::half, Q4_0>(latent, setting, 6, {20}, 20);
}

constexpr CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 64};
constexpr DecayedMax::Options options{
    .capacity = 20, .recent = 8, .sinks = 2, .pins = 6, .pin_half_life = 9};
using Cache = TieredCache<Eigen::half, Q8_0, DecayedMax>;

/// All that a cache shows.
struct Shown {
  std::vector<Position> positions;
  std::vector<float> numbers;
  friend bool operator==(const Shown&, const Shown&) = default;
};
template <class C>
Shown shown(const C& cache) {
  Shown result;
  for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
    for (std::size_t head = 0; head < cache.shape().kv_heads; ++head) {
      const auto positions = cache.positions(layer, head);
      result.positions.insert(result.positions.end(), positions.begin(), positions.end());
      for (std::size_t slot = 0; slot < positions.size(); ++slot) {
        const auto add = [&](const auto* row) {
          for (std::size_t d = 0; d < cache.shape().head_dim; ++d) {
            result.numbers.push_back(number_at(row, d));
          }
        };
        cache.storage().all_keys(layer, head).with_row(slot, add);
        cache.storage().all_values(layer, head).with_row(slot, add);
      }
    }
  }
  return result;
}

TEST(TieredCache, ForksAndNewSequences) {
  const Script script;
  Cache cache(shape, options, Tiers{.hot = 7});
  (void)script.prefill(cache, 30);
  (void)script.decode(cache, 10);
  Cache fork = cache;
  Cache copy(shape, options, Tiers{.hot = 7});
  copy.copy_from(cache);
  const Shown before = shown(cache);
  const std::vector<float> expected = script.decode(fork, 20);
  EXPECT_EQ(shown(cache), before);
  EXPECT_EQ(script.decode(copy, 20), expected);
  EXPECT_EQ(script.decode(cache, 20), expected);
  cache.reset();
  Cache fresh(shape, options, Tiers{.hot = 7});
  EXPECT_EQ(script.prefill(cache, 25), script.prefill(fresh, 25));
  EXPECT_EQ(script.decode(cache, 25), script.decode(fresh, 25));
  EXPECT_EQ(shown(cache), shown(fresh));
}

/// An engine with its own attention is told the slot, and the cache has moved what lay there.
TEST(TieredCache, ForAnEngineThatWritesAndAttendsItself) {
  const Script script;
  Cache cache(shape, options, Tiers{.hot = 7});
  Cache reference(shape, options, Tiers{.hot = 7});
  (void)script.prefill(cache, 30);
  (void)script.prefill(reference, 30);
  for (std::size_t step = 0; step < 40; ++step) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Position position = cache.next_position(layer);
      const Tokens token = script.at(shape, layer, position);
      std::vector<Placement> placements(shape.kv_heads);
      std::vector<Placement> expected(shape.kv_heads);
      const std::vector<Position> held = kept(cache, layer, 0);
      ASSERT_EQ(cache.place(layer, position, placements), Status::ok);
      ASSERT_EQ(reference.append(layer, token.keys, token.values, position, expected), Status::ok);
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        const Placement& placement = placements[head];
        EXPECT_EQ(placement.slot, expected[head].slot);
        EXPECT_EQ(placement.evicted, expected[head].evicted);
        ASSERT_LT(placement.slot, 7U);
        kernels::convert(token.keys.data() + head * 64, 64,
                         cache.storage().keys(layer, head)[placement.slot]);
        kernels::convert(token.values.data() + head * 64, 64,
                         cache.storage().values(layer, head)[placement.slot]);
      }
      EXPECT_TRUE(std::binary_search(held.begin(), held.end(), placements[0].evicted));
      EXPECT_FALSE(std::ranges::count(cache.positions(layer, 0), placements[0].evicted));
      const std::vector<float> weights(shape.query_heads * 20, 0.05F);
      ASSERT_EQ(cache.observe(layer, weights, 20), Status::ok);
      ASSERT_EQ(reference.observe(layer, weights, 20), Status::ok);
    }
    ASSERT_EQ(shown(cache), shown(reference));
  }
}

TEST(TieredCache, StepsDoNotAllocate) {
  Cache cache(shape, options, Tiers{.hot = 7});
  (void)Script().prefill(cache, 30);
  const Tokens token = Script().at(shape, 0, 0);
  std::vector<float> output(token.queries.size());
  bool ok = true;
  const std::size_t before = allocations.count;
  for (std::size_t step = 0; step < 60; ++step) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      ok &= cache.append(layer, std::span<const float>(token.keys),
                         std::span<const float>(token.values),
                         cache.next_position(layer)) == Status::ok;
      ok &= cache.attend(layer, std::span<const float>(token.queries), std::span<float>(output)) ==
            Status::ok;
    }
  }
  const std::size_t made = allocations.count - before;
  EXPECT_TRUE(ok);
  EXPECT_EQ(made, 0U);
}

TEST(TieredCache, BytesAreThoseOfBothFormats) {
  const std::size_t heads = shape.heads();
  const Cache cache(shape, options, Tiers{.hot = 8});
  EXPECT_EQ(cache.storage().slots(1, 1), 20U);
  // 8 x 64 halves, and 12 x 2 blocks of 34 bytes; blocks of a head begin on a cache line's multiple
  // of elements, 34 bytes here.
  EXPECT_EQ(cache.memory().keys, heads * (8 * 64 * 2 + 12 * 2 * 34));
  EXPECT_EQ(cache.memory().values, cache.memory().keys);
  const KVCache<Eigen::half, DecayedMax> half(shape, options);
  EXPECT_EQ(cache.memory().positions, half.memory().positions);
  EXPECT_EQ(cache.memory().scores, half.memory().scores);
  const std::size_t before = allocations.live;
  const Cache counted(shape, options, Tiers{.hot = 8});
  const std::size_t held = allocations.live - before;
  EXPECT_LE(counted.memory().total(), held);
  EXPECT_GE(counted.memory().total() + heads * (2 * sizeof(DecayedMax) + 512), held);
}

TEST(TieredCache, RefusedCallsChangeNothing) {
  const Script script;
  Cache cache(shape, options, Tiers{.hot = 7});
  (void)script.prefill(cache, 30);
  (void)script.decode(cache, 3);
  script.append(cache);
  Cache untouched = cache;
  const Shown before = shown(cache);
  Tokens token = script.at(shape, 0, cache.next_position(0));
  const Position next = cache.next_position(0);
  EXPECT_EQ(cache.append(0, token.keys, token.values, next - 1), Status::position_backwards);
  EXPECT_EQ(cache.append(2, token.keys, token.values, next), Status::wrong_size);
  token.values[5] = 1e9F;
  EXPECT_EQ(cache.append(0, token.keys, token.values, next), Status::not_finite);
  EXPECT_EQ(cache.prefill(0, token.queries, token.keys, token.values), Status::not_finite);
  EXPECT_EQ(cache.rollback(1), Status::too_far_back);
  EXPECT_EQ(shown(cache), before);
  EXPECT_EQ(script.decode(cache, 20), script.decode(untouched, 20));
  EXPECT_EQ(shown(cache), shown(untouched));
}

TEST(TieredCache, WhatCannotBeIsRefusedByName) {
  const auto cache_of = [](std::size_t hot, const DecayedMax::Options& given = options,
                           const CacheShape& model = shape) {
    return [=] { Cache(model, given, Tiers{.hot = hot}); };
  };
  expect_refused(cache_of(0), "hot = 0");
  expect_refused(cache_of(20), "hot = 20");
  DecayedMax::Options with_history = options;
  with_history.history = 2;
  expect_refused(cache_of(7, with_history), "history = 2");
  DecayedMax::Options growing = options;
  growing.response_slots = 10;
  expect_refused(cache_of(7, growing), "tiers = two");
  const std::size_t windows[] = {0, 9};
  CacheShape sliding = shape;
  sliding.windows = windows;
  expect_refused(cache_of(7, options, sliding), "window = 9");
  expect_refused(cache_of(7, options, {.head_dim = 48}), "head_dim = 48");
  expect_refused([] { Cache(shape, options, Tiers{.hot = 7}, Budget::adaptive()); },
                 "budget = adaptive");
  expect_refused(
      [] {
        Cache(shape, options, Tiers{.hot = 7}, Budget::per_head({20, 20, 20, 7}));
      },
      "capacity = 7");
  expect_refused(
      [] {
        DecayedMax::Options few = options;
        few.pins = 0;
        Cache(shape, few, Tiers{.hot = 12}, Budget::per_head({20, 20, 20, 12}));
      },
      "hot = 12");
  Cache cache(shape, options, Tiers{.hot = 7});
  expect_refused([&] { cache.copy_from(Cache(shape, options, Tiers{.hot = 8})); },
                 "other = a cache of other tiers");
  (void)Script().prefill(cache, 30);
  expect_refused([&] { (void)cache.key(0, 0, 7); }, "slot = 7");
  expect_refused([&] { (void)cache.value(0, 0, 7); }, "slot = 7");
  EXPECT_EQ(cache.key(0, 0, 6).size(), 64U);
}

template <class C>
concept Saves = requires(const C& cache) {
  cache.save();
};
template <class C>
concept TurnsKeys = requires(C& cache, const Rope& rope) {
  cache.renumber(rope);
};
static_assert(!Saves<Cache> && Saves<KVCache<Eigen::half, DecayedMax>>);
static_assert(!TurnsKeys<Cache> && TurnsKeys<KVCache<Eigen::half, DecayedMax>>);

}  // namespace
}  // namespace morphkv::testing::tiered_cache_test
