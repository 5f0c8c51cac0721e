// SPDX-License-Identifier: Apache-2.0
// What a cache holds, what it says it holds, and when it allocates.
#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <vector>

#include "support/allocation_counter.hpp"
#include "support/contenders.hpp"
#include "support/counted_new.hpp"
#include "support/script.hpp"

namespace morphkv::testing::memory_test { namespace {

constexpr CacheShape shape{.layers = 3, .query_heads = 4, .kv_heads = 2, .head_dim = 32};
constexpr Setting setting{.capacity = 64, .window = 8, .max_tokens = 512};

template <class Contender>
class MemoryTest : public ::testing::Test {
 protected:
  template <class T = float>
  using Cache = KVCache<T, typename Contender::Policy>;

  /// Decodes with memory prepared beforehand. \return the allocations that the cache made
  template <class T>
  static std::size_t allocations_of_steps(Cache<T>& cache, std::size_t steps) {
    const Tokens token = Script().at(shape, 0, 0);
    std::vector<float> output(token.queries.size());
    const std::span<const float> query(token.queries);
    const std::span<const float> key(token.keys);
    const std::span<const float> value(token.values);
    bool ok = true;
    const std::size_t before = allocations.count;
    for (std::size_t step = 0; step < steps; ++step) {
      for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        ok &= cache.append(layer, key, value, cache.next_position(layer)) == Status::ok;
        ok &= cache.attend(layer, query, std::span<float>(output)) == Status::ok;
      }
    }
    const std::size_t made = allocations.count - before;
    EXPECT_TRUE(ok);
    return made;
  }
};

TYPED_TEST_SUITE(MemoryTest, AllContenders);

TYPED_TEST(MemoryTest, StepsDoNotAllocate) {
  typename TestFixture::template Cache<> cache(shape, TypeParam::options(setting));
  EXPECT_EQ(this->allocations_of_steps(cache, 200), 0U);
  (void)Script().prefill(cache, 40);
  EXPECT_EQ(this->allocations_of_steps(cache, 100), 0U);
  const std::size_t before = allocations.count;
  cache.reset();
  EXPECT_EQ(allocations.count, before);
  EXPECT_EQ(this->allocations_of_steps(cache, 100), 0U);
}

TYPED_TEST(MemoryTest, ObservingAndTakingBackDoNotAllocate) {
  Setting with_history = setting;
  with_history.history = 4;
  typename TestFixture::template Cache<> cache(shape, TypeParam::options(with_history));
  const Tokens token = Script().at(shape, 0, 0);
  const std::vector<float> weights(shape.query_heads * setting.max_tokens, 0.001F);
  bool ok = true;
  const std::size_t before = allocations.count;
  for (std::size_t step = 0; step < 200; ++step) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      ok &= cache.append(layer, std::span<const float>(token.keys),
                         std::span<const float>(token.values),
                         cache.next_position(layer)) == Status::ok;
      ok &= cache.observe(layer, weights, setting.max_tokens) == Status::ok;
    }
    if (step % 7 == 6) ok &= cache.rollback(3) == Status::ok;
  }
  const std::size_t after = allocations.count;
  EXPECT_TRUE(ok);
  EXPECT_EQ(after, before);
}

TYPED_TEST(MemoryTest, SaysWhatItHolds) {
  for (const std::size_t history : {0U, 5U}) {
    Setting with_history = setting;
    with_history.history = history;
    const std::size_t before = allocations.live;
    typename TestFixture::template Cache<> cache(shape, TypeParam::options(with_history));
    const std::size_t held = allocations.live - before;
    const MemoryUsage usage = cache.memory();
    EXPECT_EQ(usage.total(), usage.keys + usage.values + usage.positions + usage.window +
                                 usage.scores + usage.history + usage.scratch);
    // Besides its buffers a cache holds vectors of a few words a head.
    constexpr std::size_t words = shape.heads() * (2 * sizeof(typename TypeParam::Policy) + 512);
    EXPECT_LE(usage.total(), held);
    EXPECT_GE(usage.total() + words, held);

    (void)Script().prefill(cache, 80 - 60 * std::same_as<TypeParam, RandomContender>);
    (void)Script().decode(cache, 40);
    EXPECT_EQ(cache.memory(), usage) << "constant, whatever comes";
    EXPECT_LE(allocations.live - before, held + 256) << "and nothing else is kept";
  }
}

template <class Contender>
class ScalarMemoryTest : public MemoryTest<Contender> {};
TYPED_TEST_SUITE(ScalarMemoryTest, OneOfEachKind);

TYPED_TEST(ScalarMemoryTest, StepsOfSixteenBitCachesDoNotAllocate) {
  typename TestFixture::template Cache<Eigen::half> half(shape, TypeParam::options(setting));
  EXPECT_EQ(this->allocations_of_steps(half, 200), 0U);
  typename TestFixture::template Cache<Eigen::bfloat16> bf16(shape, TypeParam::options(setting));
  EXPECT_EQ(this->allocations_of_steps(bf16, 200), 0U);
}

TYPED_TEST(ScalarMemoryTest, KeysAndValuesWeighWhatTheirTypeDoes) {
  typename TestFixture::template Cache<> cache(shape, TypeParam::options(setting));
  typename TestFixture::template Cache<Eigen::half> half(shape, TypeParam::options(setting));
  const std::size_t slots = cache.policy(0, 0).slots();
  EXPECT_EQ(cache.memory().keys, shape.heads() * slots * shape.head_dim * sizeof(float));
  EXPECT_EQ(cache.memory().keys, cache.memory().values);
  EXPECT_EQ(half.memory().keys, cache.memory().keys / 2);
  EXPECT_EQ(half.memory().window, cache.memory().window);
}

TEST(CacheMemory, KeysAndValuesOfAHeadAreThoseOfItsTokens) {
  CacheShape two_sizes = shape;
  two_sizes.value_dim = 8;
  KVCache<float, MorphKV> cache(two_sizes, MorphKVSum::options(setting));
  for (const std::size_t tokens : {0U, 1U, 5U, 100U}) {
    cache.reset();
    (void)Script().decode(cache, tokens);
    const std::size_t held = std::min(tokens, setting.capacity);
    EXPECT_EQ(cache.keys(1, 1).size(), held * 32);
    EXPECT_EQ(cache.values(1, 1).size(), held * 8);
  }
}

template <class Contender>
class ChunkMemoryTest : public MemoryTest<Contender> {};
using ConstantInSize = ::testing::Types<MorphKVSum, H2OPlain, TOVAContender>;
TYPED_TEST_SUITE(ChunkMemoryTest, ConstantInSize);

TYPED_TEST(ChunkMemoryTest, APromptInChunksNeedsNoMoreThanACapacityAndAChunk) {
  typename TestFixture::template Cache<> cache(shape, TypeParam::options(setting));
  const Tokens block = Script().at(shape, 0, 0, 32);
  std::vector<float> outputs(block.queries.size());
  std::size_t early = 0;
  for (int chunk = 0; chunk < 40; ++chunk) {
    const std::size_t before = allocations.live;
    allocations.peak = before;
    ASSERT_EQ(cache.prefill(0, block.queries, block.keys, block.values, std::span(outputs)),
              Status::ok);
    const std::size_t peak = allocations.peak - before;
    if (chunk == 4) early = peak;
    if (chunk > 4) {
      EXPECT_LE(peak, early + 64);
    }
  }
  // Keys, values and a row of each kind over capacity and chunk, for both heads, in float.
  const std::size_t columns = setting.capacity + 1 + 32;
  EXPECT_LT(early, shape.kv_heads * columns *
                       (4 * shape.head_dim + 16 * shape.group() + 12 * setting.window + 64) *
                       sizeof(float));
}

TEST(MemoryUsageTest, AddsUp) {
  MemoryUsage one{1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(one.total(), 28U);
  one += one;
  EXPECT_EQ(one, (MemoryUsage{2, 4, 6, 8, 10, 12, 14}));
}

TEST(MorphKVMemory, ForItsWindowAsDocumented) {
  const auto bytes = [](const MorphKV::Options& options) { return MorphKV(options).memory(); };
  constexpr std::size_t slots = 256;
  constexpr Fusion sum = Fusion::sum;
  // 2 bytes per slot and row or maximum, 4 per pane of a sum; scores of 4.
  EXPECT_EQ(bytes({.capacity = slots, .window = 16, .fusion = sum}).window, slots * 2 * 16);
  EXPECT_EQ(bytes({.capacity = slots, .window = 16, .fusion = sum}).scores, slots * 4);
  EXPECT_EQ(bytes({.capacity = slots, .window = 16, .fusion = sum, .panes = 4}).window,
            slots * 4 * 4);
  EXPECT_EQ(bytes({.capacity = slots, .window = 16, .fusion = sum, .panes = 4}).scores, slots * 4);
  EXPECT_EQ(bytes({.capacity = slots, .window = 16}).window, slots * 2 * 16);
  EXPECT_EQ(bytes({.capacity = slots, .window = 16}).scores, slots * 4);
  EXPECT_EQ(bytes({.capacity = slots}).window, slots * 2 * 8) << "8 panes of maxima by default";
  EXPECT_EQ(bytes({.capacity = slots, .window = 16}).history, 0U);
}

}  // namespace
}  // namespace morphkv::testing::memory_test
