// SPDX-License-Identifier: Apache-2.0
// A cache of quantised numbers, or of E4M3, keeps, and attends to, what a float cache of the
// rounded numbers does: in every storage, for blocks, steps, trees, drafts and forks.
#include <gtest/gtest.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "morphkv/kernels/convert.hpp"
#include "support/contenders.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"

namespace morphkv::testing::quantised_cache_test { namespace {

constexpr CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 64};
constexpr CacheShape latent{.layers = 2,
                            .query_heads = 4,
                            .kv_heads = 1,
                            .head_dim = 96,
                            .value_dim = 32,
                            .values_in_keys = true};

/// Of each head its own; with some of them numbers are out of range.
constexpr float key_scales[] = {0.02F, 0.004F, 0.5F, 3};
constexpr float value_scales[] = {0.1F, 1, 0.0031F, 0.25F};

/// The same with scales, if T has them.
template <class T>
CacheShape with_scales(CacheShape model) {
  if constexpr (std::same_as<T, E4M3>) {
    model.key_scales = key_scales;
    if (!model.values_in_keys) model.value_scales = value_scales;
  }
  return model;
}

/// The numbers that a cache of T stores for the keys of some tokens in a layer, or for the values.
template <class T>
std::vector<float> rounded(std::vector<float> numbers, const CacheShape& model, std::size_t layer,
                           bool of_keys) {
  const std::size_t dim = of_keys ? model.head_dim : model.stored_value_dim();
  std::vector<T> row(row_size<T>(dim));
  for (std::size_t i = 0; dim > 0 && i < numbers.size() / dim; ++i) {
    const std::size_t head = i % model.kv_heads;
    const float scale = of_keys ? model.key_scale(layer, head) : model.value_scale(layer, head);
    kernels::store_row(numbers.data() + i * dim, dim, scale, row.data());
    kernels::load_row(row.data(), dim, scale, numbers.data() + i * dim);
  }
  return numbers;
}

/// Where keys are quantised, a step rounds each number of a query by 2^-16 of the greatest, about
/// 6: in 64 products with numbers of about 1, over 8, the logit is off by 6e-4 at most.
void expect_near(const std::vector<float>& one, const std::vector<float>& two) {
  ASSERT_EQ(one.size(), two.size());
  for (std::size_t i = 0; i < one.size(); ++i) ASSERT_NEAR(one[i], two[i], 5e-4F);
}

/// Attention to drafts and for another layer.
template <class T, class Cache, class Reference>
void look(Cache& cache, Reference& reference, std::size_t layer) {
  const CacheShape& model = cache.shape();
  const Tokens tree = Script(3).at(model, layer, 0, 3);
  constexpr std::int32_t parents[] = {no_parent, 0, 0};
  const std::vector<float> keys = rounded<T>(tree.keys, model, layer, true);
  const std::vector<float> values = rounded<T>(tree.values, model, layer, false);
  std::vector<float> one(3 * model.output_width());
  std::vector<float> two(one.size());
  ASSERT_EQ((cache.template attend_tree<float>(layer, tree.queries, tree.keys, tree.values, parents,
                                               one)),
            Status::ok);
  ASSERT_EQ(
      (reference.template attend_tree<float>(layer, tree.queries, keys, values, parents, two)),
      Status::ok);
  expect_near(one, two);
  const std::span<const float> query = std::span(tree.queries).first(model.query_width());
  one.resize(model.output_width());
  two.resize(one.size());
  ASSERT_EQ((cache.template read<float>(layer, query, one)), Status::ok);
  ASSERT_EQ((reference.template read<float>(layer, query, two)), Status::ok);
  expect_near(one, two);
}

/// Takes the next tokens into a cache of T and, rounded, into a float cache, and compares.
template <class T, class Cache, class Reference>
void take(Cache& cache, Reference& reference, std::size_t count, bool as_block) {
  const CacheShape& model = cache.shape();
  for (std::size_t layer = 0; layer < model.layers; ++layer) {
    const Position first = cache.next_position(layer);
    const Tokens tokens = Script().at(model, layer, first, count);
    const std::vector<float> keys = rounded<T>(tokens.keys, model, layer, true);
    const std::vector<float> values = rounded<T>(tokens.values, model, layer, false);
    std::vector<float> one(count * model.output_width());
    std::vector<float> two(one.size());
    if (as_block) {
      ASSERT_EQ(
          cache.prefill(layer, tokens.queries, tokens.keys, tokens.values, std::span<float>(one)),
          Status::ok);
      ASSERT_EQ(reference.prefill(layer, tokens.queries, keys, values, std::span<float>(two)),
                Status::ok);
    } else {
      const Tokens token = Script().at(model, layer, first);
      ASSERT_EQ(cache.append(layer, token.keys, token.values, first), Status::ok);
      ASSERT_EQ(reference.append(layer, keys, values, first), Status::ok);
      ASSERT_EQ(cache.attend(layer, token.queries, std::span<float>(one)), Status::ok);
      ASSERT_EQ(reference.attend(layer, token.queries, std::span<float>(two)), Status::ok);
    }
    expect_near(one, two);
    if (as_block) look<T>(cache, reference, layer);
    for (std::size_t head = 0; head < model.kv_heads; ++head) {
      const auto held = cache.positions(layer, head);
      const auto expected = reference.positions(layer, head);
      ASSERT_EQ(std::vector<Position>(held.begin(), held.end()),
                std::vector<Position>(expected.begin(), expected.end()));
      for (std::size_t slot = 0; slot < held.size(); ++slot) {
        if (held[slot] == no_position) continue;
        std::vector<float> key(model.head_dim);
        std::vector<float> value(model.output_dim());
        kernels::load_row(cache.key(layer, head, slot).data(), key.size(),
                          model.key_scale(layer, head), key.data());
        kernels::load_row(cache.value(layer, head, slot).data(), value.size(),
                          model.value_scale(layer, head), value.data());
        const auto expected_key = reference.key(layer, head, slot);
        const auto expected_value = reference.value(layer, head, slot);
        ASSERT_EQ(key, std::vector<float>(expected_key.begin(), expected_key.end()));
        ASSERT_EQ(value, std::vector<float>(expected_value.begin(), expected_value.end()));
      }
    }
  }
}

template <class T, class Cache, class Reference>
void compare(Cache& cache, Reference& reference) {
  for (const std::size_t block : {30U, 1U, 7U}) {
    take<T>(cache, reference, block, true);
    for (std::size_t step = 0; step < 20; ++step) {
      take<T>(cache, reference, 1, false);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

template <class Numbers>
class QuantisedCacheTest : public ::testing::Test {};
using Formats = ::testing::Types<Q8_0, Q4_0, E4M3>;
TYPED_TEST_SUITE(QuantisedCacheTest, Formats);

TYPED_TEST(QuantisedCacheTest, IsTheFloatCacheOfTheRoundedNumbers) {
  for (const CacheShape& model : {shape, latent}) {
    const CacheShape stored = with_scales<TypeParam>(model);
    KVCache<TypeParam, MorphKV> cache(stored, {.capacity = 20});
    KVCache<float, MorphKV> reference(model, {.capacity = 20});
    compare<TypeParam>(cache, reference);
    // Pins look at values.
    const DecayedMax::Options pins{.capacity = 20, .recent = 8, .sinks = 2, .pins = 6};
    KVCache<TypeParam, DecayedMax> pinned(stored, pins);
    KVCache<float, DecayedMax> pinned_reference(model, pins);
    compare<TypeParam>(pinned, pinned_reference);
  }
}

TYPED_TEST(QuantisedCacheTest, InPagesAndPools) {
  const MorphKV::Options options{.capacity = 16};
  for (const CacheShape& model : {shape, latent}) {
    const std::vector<std::int32_t> pages = {2, 0, 3, 5};
    const CacheShape stored = with_scales<TypeParam>(model);
    const RowSizes row = row_sizes<TypeParam>(stored);
    std::vector<TypeParam> memory(model.layers * 6 * 4 * model.kv_heads * (row.key + row.value));
    std::vector<LayerMemory<TypeParam>> layers;
    for (std::size_t layer = 0; layer < model.layers; ++layer) {
      TypeParam* keys = memory.data() + layer * memory.size() / model.layers;
      layers.push_back({keys, keys + 6 * 4 * model.kv_heads * row.key});
    }
    using Engine = EngineStorage<TypeParam>;
    KVCache<TypeParam, MorphKV, Engine> paged(
        stored, options, Engine(stored, layers, PageTable{pages, 4}, HeadOrder::hnd));
    KVCache<float, MorphKV> reference(model, options);
    compare<TypeParam>(paged, reference);
    using Pool = SequencePool<TypeParam, MorphKV>;
    std::vector<TypeParam> pool_memory(model.layers * 4 * Pool::page_elements(stored, 4));
    Pool pool(stored, pool_memory, 4);
    const auto id = pool.create(options);
    KVCache<float, MorphKV> second(model, options);
    compare<TypeParam>(pool[id], second);
  }
}

TYPED_TEST(QuantisedCacheTest, HeadsThatShareSlotsAndBudgets) {
  const DecayedMax::Options options{.capacity = 32, .recent = 8};
  const CacheShape stored = with_scales<TypeParam>(shape);
  KVCache<TypeParam, DecayedMax, SharedStorage<TypeParam>> cache(stored, options, SharedBudget{});
  KVCache<float, DecayedMax, SharedStorage<float>> reference(shape, options, SharedBudget{});
  compare<TypeParam>(cache, reference);
  const SnapKV::Options snap{.capacity = 16, .window = 4, .max_tokens = 200};
  KVCache<TypeParam, SnapKV> divided(stored, snap, Budget::adaptive());
  KVCache<float, SnapKV> divided_reference(shape, snap, Budget::adaptive());
  compare<TypeParam>(divided, divided_reference);
}

TYPED_TEST(QuantisedCacheTest, DraftsAndForks) {
  const Script script;
  const Script rejected(2);
  const CacheShape stored = with_scales<TypeParam>(shape);
  KVCache<TypeParam, MorphKV> cache(stored, {.capacity = 20, .history = 6});
  (void)script.prefill(cache, 30);
  auto fork = cache;
  for (const std::size_t draft : {1U, 6U, 4U}) {
    ASSERT_EQ(script.decode(cache, 5), script.decode(fork, 5));
    (void)rejected.decode(cache, draft);
    ASSERT_EQ(cache.rollback(draft), Status::ok);
    (void)script.prefill(cache, draft);
    ASSERT_EQ(cache.rollback(draft - 1), Status::ok);
    (void)script.prefill(fork, 1);
  }
  KVCache<TypeParam, MorphKV> copy(stored, {.capacity = 20, .history = 6});
  copy.copy_from(cache);
  ASSERT_EQ(script.decode(copy, 20), script.decode(fork, 20));
}

TYPED_TEST(QuantisedCacheTest, WhatCannotBeStoredIsRefused) {
  const auto cache_of = [](const CacheShape& model) {
    return [=] { KVCache<TypeParam, MorphKV>(model, {.capacity = 64}); };
  };
  if constexpr (Quantised<TypeParam>) {
    expect_refused(cache_of({.head_dim = 48}), "head_dim = 48");
    expect_refused(cache_of({.head_dim = 64, .value_dim = 33}), "value_dim = 33");
  }
  KVCache<TypeParam, MorphKV> cache(shape, {.capacity = 64});
  Tokens token = Script().at(shape, 0, 0);
  token.values[5] = Quantised<TypeParam> ? 1e6F : std::numeric_limits<float>::infinity();
  EXPECT_EQ(cache.append(0, token.keys, token.values, 0), Status::not_finite);
  EXPECT_EQ(cache.prefill(0, token.queries, token.keys, token.values), Status::not_finite);
  EXPECT_EQ(cache.size(0, 0), 0U);
}

}  // namespace
}  // namespace morphkv::testing::quantised_cache_test
