// SPDX-License-Identifier: Apache-2.0
// Values of their own dimension, and values that lie in the keys: outputs are those of the
// definition over what is held, in every storage.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "support/attention_definition.hpp"
#include "support/contenders.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"

namespace morphkv::testing::value_dim_test { namespace {

constexpr CacheShape narrow{
    .layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 12, .value_dim = 5};
constexpr CacheShape wide{
    .layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 6, .value_dim = 20};
/// As DeepSeek's attention in its absorbed form.
constexpr CacheShape latent{.layers = 2,
                            .query_heads = 5,
                            .kv_heads = 1,
                            .head_dim = 12,
                            .value_dim = 8,
                            .values_in_keys = true,
                            .scale = 0.3F};

/// Compares each step's outputs with the definition over the positions that the cache holds.
template <class Cache>
void expect_definition(Cache& cache, const CacheShape& shape, std::size_t prompt) {
  const Script script;
  std::vector<AttentionDefinition> heads;
  for (std::size_t at = 0; at < shape.heads(); ++at) {
    heads.emplace_back(shape, at / shape.kv_heads, at % shape.kv_heads);
  }
  const std::vector<float> outputs = script.prefill(cache, prompt);
  ASSERT_EQ(outputs.size(), shape.layers * prompt * shape.output_width());
  std::vector<Position> seen;
  for (Position position = 0; position < static_cast<Position>(prompt); ++position) {
    seen.push_back(position);
    for (std::size_t at = 0; at < heads.size(); ++at) {
      const std::size_t layer = at / shape.kv_heads;
      const Tokens token = script.at(shape, layer, position);
      heads[at].add(token);
      const std::size_t row = layer * prompt + static_cast<std::size_t>(position);
      heads[at].expect_output(
          token, seen,
          std::span(outputs).subspan(row * shape.output_width(), shape.output_width()));
    }
  }
  for (std::size_t step = 0; step < 40; ++step) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Position position = cache.next_position(layer);
      const Tokens token = script.at(shape, layer, position);
      ASSERT_EQ(cache.append(layer, token.keys, token.values, position), Status::ok);
      std::vector<std::vector<Position>> held;
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        const auto positions = cache.positions(layer, head);
        held.emplace_back(positions.begin(), positions.end());
      }
      std::vector<float> output(shape.output_width());
      ASSERT_EQ(cache.attend(layer, token.queries, std::span<float>(output)), Status::ok);
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        AttentionDefinition& definition = heads[layer * shape.kv_heads + head];
        definition.add(token);
        definition.expect_output(token, held[head], output);
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

template <class Contender>
class ValueDimTest : public ::testing::Test {
 protected:
  using Policy = typename Contender::Policy;
  static auto options(std::size_t history = 0) {
    return Contender::options({.capacity = 16, .max_tokens = 200, .history = history});
  }
};
using Contenders = ::testing::Types<MorphKVMax, SnapKVAverage, H2OPlain, DecayedMaxWithPins>;
TYPED_TEST_SUITE(ValueDimTest, Contenders);

TYPED_TEST(ValueDimTest, OutputsAreThoseOfTheDefinition) {
  for (const CacheShape& shape : {narrow, wide, latent}) {
    for (const std::size_t prompt : {3U, 40U}) {
      KVCache<float, typename TestFixture::Policy> cache(shape, this->options());
      expect_definition(cache, shape, prompt);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TYPED_TEST(ValueDimTest, DraftsForksAndCopies) {
  const Script script;
  const Script rejected(2);
  for (const CacheShape& shape : {narrow, wide, latent}) {
    KVCache<float, typename TestFixture::Policy> cache(shape, this->options(6));
    (void)script.prefill(cache, 30);
    auto fork = cache;
    for (const std::size_t draft : {1U, 6U, 4U}) {
      (void)script.decode(cache, 5);
      (void)script.decode(fork, 5);
      (void)rejected.decode(cache, draft);
      ASSERT_EQ(cache.rollback(draft), Status::ok);
      ASSERT_EQ(state_of(cache), state_of(fork));
      (void)script.prefill(cache, draft);
      ASSERT_EQ(cache.rollback(draft - 1), Status::ok);
      (void)script.prefill(fork, 1);
      ASSERT_EQ(state_of(cache), state_of(fork));
    }
    KVCache<float, typename TestFixture::Policy> copy(shape, this->options(6));
    copy.copy_from(cache);
    ASSERT_EQ(script.decode(copy, 20), script.decode(fork, 20));
    ASSERT_EQ(state_of(copy), state_of(fork));
  }
}

/// A latent cache is the cache of the same keys, and of values that are their beginnings.
TYPED_TEST(ValueDimTest, ValuesInTheKeysAreValues) {
  CacheShape apart = latent;
  apart.values_in_keys = false;
  KVCache<Eigen::bfloat16, typename TestFixture::Policy> stored_once(latent, this->options());
  KVCache<Eigen::bfloat16, typename TestFixture::Policy> stored_twice(apart, this->options());
  EXPECT_EQ(stored_once.memory().values, 0U);
  EXPECT_EQ(stored_once.memory().keys, stored_twice.memory().keys);
  const Script script;
  for (const std::size_t block : {30U, 1U, 1U, 1U, 7U, 1U, 1U}) {
    for (std::size_t layer = 0; layer < latent.layers; ++layer) {
      const Tokens tokens = script.at(latent, layer, stored_once.next_position(layer), block);
      std::vector<float> values;
      for (std::size_t t = 0; t < block; ++t) {
        const auto begin = tokens.keys.begin() + static_cast<std::ptrdiff_t>(t * latent.head_dim);
        values.insert(values.end(), begin, begin + static_cast<std::ptrdiff_t>(latent.value_dim));
      }
      std::vector<float> one(block * latent.output_width());
      std::vector<float> two(one.size());
      ASSERT_EQ(stored_once.prefill(layer, tokens.queries, tokens.keys, {}, std::span<float>(one)),
                Status::ok);
      ASSERT_EQ(stored_twice.prefill(layer, tokens.queries, tokens.keys,
                                     std::span<const float>(values), std::span<float>(two)),
                Status::ok);
      ASSERT_EQ(one, two);
    }
    ASSERT_EQ(state_of(stored_once), state_of(stored_twice));
  }
}

TEST(ValueDim, EveryStorage) {
  const MorphKV::Options options{.capacity = 16, .window = 4};
  const Script script;
  for (const CacheShape& shape : {narrow, wide, latent}) {
    KVCache<float, MorphKV> owned(shape, options);
    constexpr std::size_t page = 4;
    const std::vector<std::int32_t> pages = {7, 0, 3, 5};
    std::vector<float> keys(shape.layers * 8 * page * shape.key_width());
    std::vector<float> values(shape.layers * 8 * page * shape.value_width());
    std::vector<LayerMemory<float>> layers;
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      layers.push_back(
          {keys.data() + layer * keys.size() / shape.layers,
           shape.values_in_keys ? nullptr : values.data() + layer * values.size() / shape.layers});
    }
    using Engine = EngineStorage<float>;
    KVCache<float, MorphKV, Engine> paged(
        shape, options, Engine(shape, layers, PageTable{pages, page}, HeadOrder::nhd));
    ASSERT_EQ(script.prefill(owned, 30), script.prefill(paged, 30));
    ASSERT_EQ(script.decode(owned, 30), script.decode(paged, 30));
    ASSERT_EQ(state_of(owned), state_of(paged));
    // Memory in one piece, with strides of the engine's own.
    std::vector<float> loose_keys(shape.layers * 16 * 40 * shape.kv_heads);
    std::vector<float> loose_values(shape.layers * 16 * 50 * shape.kv_heads);
    layers.clear();
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      layers.push_back({loose_keys.data() + layer * 16 * 40 * shape.kv_heads,
                        loose_values.data() + layer * 16 * 50 * shape.kv_heads});
    }
    KVCache<float, MorphKV, Engine> loose(shape, options,
                                          Engine(shape, layers, 16, MemoryStrides{16 * 40, 40, 0},
                                                 MemoryStrides{50, 50 * shape.kv_heads, 0}));
    KVCache<float, MorphKV> again(shape, options);
    ASSERT_EQ(script.prefill(again, 30), script.prefill(loose, 30));
    ASSERT_EQ(script.decode(again, 30), script.decode(loose, 30));
    std::vector<float> memory(SequencePool<float, MorphKV>::page_elements(shape, 5) *
                              pages_for(16, 5) * shape.layers);
    SequencePool<float, MorphKV> pool(shape, memory, 5);
    const auto id = pool.create(options);
    KVCache<float, MorphKV> third(shape, options);
    ASSERT_EQ(script.prefill(third, 30), script.prefill(pool[id], 30));
    EXPECT_EQ(pool.free_pages(), 0U);
    EXPECT_EQ(pool.memory().keys + pool.memory().values, memory.size() * sizeof(float));
    const Tokens token = script.at(shape, 0, 30);
    std::vector<float> output(shape.output_width());
    std::vector<float> pooled(output.size());
    std::vector<Status> statuses(1);
    const std::vector ids = {id};
    ASSERT_EQ(third.append(0, token.keys, token.values, 30), Status::ok);
    ASSERT_EQ(third.attend(0, token.queries, std::span<float>(output)), Status::ok);
    ASSERT_EQ(pool.append(0, std::span(ids), token.keys, token.values, std::span(statuses)),
              Status::ok);
    ASSERT_EQ(pool.attend(0, std::span(ids), token.queries, pooled, std::span(statuses)),
              Status::ok);
    ASSERT_EQ(output, pooled);
  }
}

TEST(ValueDim, HeadsThatShareSlots) {
  for (const CacheShape& shape : {narrow, wide, latent}) {
    KVCache<float, DecayedMax, SharedStorage<float>> cache(shape, {.capacity = 16, .recent = 4},
                                                           SharedBudget{});
    expect_definition(cache, shape, 30);
  }
}

TEST(ValueDim, BudgetsDivideALayer) {
  for (const CacheShape& shape : {narrow, wide}) {
    KVCache<float, SnapKV> cache(shape, {.capacity = 16, .window = 4, .max_tokens = 100},
                                 Budget::adaptive());
    expect_definition(cache, shape, 30);
  }
}

TEST(ValueDim, WrongSizesChangeNothing) {
  KVCache<float, MorphKV> cache(narrow, {.capacity = 16, .window = 4});
  const Tokens token = Script().at(narrow, 0, 0);
  std::vector<float> output(narrow.output_width());
  std::vector<float> as_queries(narrow.query_width());
  EXPECT_EQ(cache.append(0, token.keys, token.keys, 0), Status::wrong_size);
  EXPECT_EQ(cache.prefill(0, token.queries, token.keys, token.keys), Status::wrong_size);
  EXPECT_EQ(cache.prefill(0, token.queries, token.keys, token.values, std::span<float>(as_queries)),
            Status::wrong_size);
  EXPECT_EQ(cache.size(0, 0), 0U);
  ASSERT_EQ(cache.append(0, token.keys, token.values, 0), Status::ok);
  EXPECT_EQ(cache.attend(0, token.queries, std::span<float>(as_queries)), Status::wrong_size);
  EXPECT_EQ(cache.attend(0, token.queries, std::span<float>(output)), Status::ok);
  KVCache<float, MorphKV> once(latent, {.capacity = 16, .window = 4});
  const Tokens stored = Script().at(latent, 0, 0);
  EXPECT_EQ(once.append(0, stored.keys, stored.keys, 0), Status::wrong_size);
  EXPECT_EQ(once.append(0, stored.keys, {}, 0), Status::ok);
  EXPECT_THROW((void)once.values(0, 0), std::invalid_argument);
}

TEST(ValueDim, RefusalsNameIt) {
  const auto cache_of = [](const CacheShape& shape) {
    return [=] { KVCache<float, MorphKV>(shape, {.capacity = 64}); };
  };
  expect_refused(cache_of({.head_dim = 8, .value_dim = 9, .values_in_keys = true}),
                 "value_dim = 9");
  expect_refused(cache_of({.value_dim = std::size_t{1} << 31U}), "value_dim = 2147483648");
  std::vector<float> memory(1000);
  const LayerMemory<float> layer{memory.data(), nullptr};
  using Engine = EngineStorage<float>;
  const CacheShape one{.head_dim = 8, .value_dim = 4};
  expect_refused([&] { Engine(one, std::span(&layer, 1), 10, HeadOrder::hnd); },
                 "a layer's memory = null");
  const LayerMemory<float> both{memory.data(), memory.data()};
  expect_refused(
      [&] {
        Engine(one, std::span(&both, 1), 10, MemoryStrides{80, 8, 0}, MemoryStrides{30, 3, 0});
      },
      "stride of a slot of values = 3");
}

}  // namespace
}  // namespace morphkv::testing::value_dim_test
