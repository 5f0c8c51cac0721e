// SPDX-License-Identifier: Apache-2.0
// Memory that runs out at any point of a prefill: the caller gets std::bad_alloc, and nothing has
// changed.
#include <gtest/gtest.h>

#include <cstddef>
#include <new>
#include <span>
#include <vector>

#include "support/allocation_counter.hpp"
#include "support/contenders.hpp"
#include "support/script.hpp"

namespace morphkv::testing::allocation_failure_test { namespace {

const CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 4};

/// Prefills with the first, second, ... allocation failing, until none fails.
template <class Cache>
void expect_all_or_nothing(Cache& cache, std::size_t tokens) {
  const Script script;
  const auto before = cache;
  const Tokens block = script.at(shape, 0, cache.next_position(0), tokens);
  std::vector<float> outputs(block.queries.size());
  std::size_t failures = 0;
  for (;; ++failures) {
    ASSERT_LT(failures, 10'000U);
    bool threw = false;
    allocations.fail_after = failures;
    try {
      ASSERT_EQ(cache.prefill(0, block.queries, block.keys, block.values, std::span(outputs)),
                Status::ok);
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    allocations.fail_after = AllocationCounter::never;
    if (!threw) break;
    ASSERT_EQ(state_of(cache), state_of(before)) << "allocation " << failures;
    ASSERT_EQ(cache.next_position(0), before.next_position(0));
    ASSERT_EQ(cache.memory(), before.memory());
    if (failures % 5 == 0) {
      auto went_on = cache;
      auto expected = before;
      ASSERT_EQ(script.decode(went_on, 12), script.decode(expected, 12));
      ASSERT_EQ(state_of(went_on), state_of(expected));
    }
  }
  EXPECT_GT(failures, 10U);
  auto expected = before;
  (void)script.prefill(expected, tokens);
  ASSERT_EQ(state_of(cache), state_of(expected));
  ASSERT_EQ(script.decode(cache, 20), script.decode(expected, 20));
}

template <class Contender>
class AllocationFailureTest : public ::testing::Test {};
TYPED_TEST_SUITE(AllocationFailureTest, AllContenders);

TYPED_TEST(AllocationFailureTest, LeavesTheCacheAsItWas) {
  const bool protects = std::same_as<TypeParam, RandomContender>;  // its prompts stay whole
  KVCache<float, typename TypeParam::Policy> cache(
      shape, TypeParam::options(
                 {.capacity = 20, .window = 4, .sinks = 2, .max_tokens = 90, .history = 2}));
  expect_all_or_nothing(cache, protects ? 5 : 30);
  (void)Script().decode(cache, 5);
  expect_all_or_nothing(cache, protects ? 2 : 9);
}

TEST(AllocationFailure, LeavesAnAdaptiveBudgetUndivided) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 20, .window = 4}, Budget::adaptive());
  expect_all_or_nothing(cache, 50);
}

TEST(AllocationFailure, LeavesSharedSlotsWhereTheyWere) {
  KVCache<float, DecayedMax, SharedStorage<float>> cache(shape, {.capacity = 20, .recent = 4},
                                                         SharedBudget{});
  (void)Script().decode(cache, 60);
  expect_all_or_nothing(cache, 30);
}

}  // namespace
}  // namespace morphkv::testing::allocation_failure_test
