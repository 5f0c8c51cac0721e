// SPDX-License-Identifier: Apache-2.0
// Memory that runs out at any point of any call: the caller gets std::bad_alloc, nothing has
// changed, and nothing is lost. Calls that must not allocate do not.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "support/allocation_counter.hpp"
#include "support/contenders.hpp"
#include "support/script.hpp"

namespace morphkv::testing::allocation_failure_test { namespace {

const CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 4};

/// Calls with the first, second, ... allocation failing, until none fails. After each failure
/// unchanged(which) must hold, and no byte may be in use that was not before.
/// \return how many allocations the call makes
template <class Call, class Unchanged>
std::size_t fail_each_allocation(const Call& call, const Unchanged& unchanged) {
  for (std::size_t failures = 0;; ++failures) {
    const std::size_t live = allocations.live;
    bool threw = false;
    allocations.fail_after = failures;
    try {
      call();
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    allocations.fail_after = AllocationCounter::never;
    if (!threw) return failures;
    EXPECT_EQ(allocations.live, live) << "allocation " << failures;
    unchanged(failures);
    if (::testing::Test::HasFailure() || failures > 10'000) return failures;
  }
}

constexpr auto nothing_to_check = [](std::size_t) {};

/// A prefill whose allocations fail.
template <class Cache>
void expect_all_or_nothing(Cache& cache, std::size_t tokens) {
  const Script script;
  const auto before = cache;
  const Tokens block = script.at(shape, 0, cache.next_position(0), tokens);
  std::vector<float> outputs(block.queries.size());
  const auto prefill = [&] {
    ASSERT_EQ(cache.prefill(0, block.queries, block.keys, block.values, std::span(outputs)),
              Status::ok);
  };
  const auto unchanged = [&](std::size_t failures) {
    ASSERT_EQ(state_of(cache), state_of(before)) << "allocation " << failures;
    ASSERT_EQ(cache.next_position(0), before.next_position(0));
    ASSERT_EQ(cache.memory(), before.memory());
    if (failures % 5 != 0) return;
    auto went_on = cache;
    auto expected = before;
    ASSERT_EQ(script.decode(went_on, 12), script.decode(expected, 12));
    ASSERT_EQ(state_of(went_on), state_of(expected));
  };
  EXPECT_GT(fail_each_allocation(prefill, unchanged), 10U);
  auto expected = before;
  (void)script.prefill(expected, tokens);
  ASSERT_EQ(state_of(cache), state_of(expected));
  ASSERT_EQ(script.decode(cache, 20), script.decode(expected, 20));
}

/// Constructions and copies, which allocate, and steps, which do not.
template <class Cache, class Make>
void expect_faultless(const Make& make, bool has_history = true, bool reset_allocates = false) {
  const Script script;
  EXPECT_GT(fail_each_allocation([&] { (void)make(); }, nothing_to_check), 3U);

  Cache cache = make();
  (void)script.decode(cache, 30);
  const Cache& origin = cache;
  EXPECT_GT(fail_each_allocation([&] { const Cache copy(origin); }, nothing_to_check), 3U);

  Cache other = make();
  (void)Script(9).decode(other, 25);
  const auto before = state_of(other);
  const auto unchanged = [&](std::size_t which) {
    ASSERT_EQ(state_of(other), before) << "allocation " << which;
  };
  EXPECT_GT(fail_each_allocation([&] { other.copy_from(origin); }, unchanged), 3U);
  ASSERT_EQ(state_of(other), state_of(cache));
  ASSERT_EQ(script.decode(other, 10), script.decode(cache, 10));

  const Tokens token = script.at(shape, 0, cache.next_position(0));
  std::vector<float> output(token.queries.size());
  const auto steps = [&] {
    ASSERT_EQ(cache.append(0, token.keys, token.values, cache.next_position(0)), Status::ok);
    ASSERT_EQ(cache.attend(0, token.queries, std::span(output)), Status::ok);
    ASSERT_EQ(cache.rollback(1), has_history ? Status::ok : Status::too_far_back);
  };
  EXPECT_EQ(fail_each_allocation(steps, nothing_to_check), 0U);

  const auto at_the_end = state_of(cache);
  const auto kept_all = [&](std::size_t which) {
    ASSERT_EQ(state_of(cache), at_the_end) << "allocation " << which;
  };
  EXPECT_EQ(fail_each_allocation([&] { cache.reset(); }, kept_all) > 0, reset_allocates);
  Cache fresh = make();
  ASSERT_EQ(script.decode(cache, 10), script.decode(fresh, 10));
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

TYPED_TEST(AllocationFailureTest, LosesNothingInConstructionsCopiesAndSteps) {
  using Cache = KVCache<float, typename TypeParam::Policy>;
  expect_faultless<Cache>([] {
    return Cache(shape,
                 TypeParam::options(
                     {.capacity = 20, .window = 4, .sinks = 2, .max_tokens = 90, .history = 2}));
  });
}

TYPED_TEST(AllocationFailureTest, LeavesACacheThatRestoresAsItWas) {
  using Pool = SequencePool<float, typename TypeParam::Policy>;
  const auto options_of = [](std::size_t capacity) {
    return TypeParam::options(
        {.capacity = capacity, .window = 4, .sinks = 2, .max_tokens = 90, .history = 3});
  };
  const Script script;
  KVCache<float, typename TypeParam::Policy> cache(shape, options_of(20));
  (void)script.decode(cache, 30);
  (void)script.prefill(cache, 2);
  (void)script.decode(cache, 1);
  const auto saved = cache.save();
  for (const std::size_t capacity : {20U, 12U, 24U}) {
    std::vector<float> memory(30 * Pool::page_elements(shape, 4));
    Pool pool(shape, memory, 4);
    const auto id = pool.create(options_of(capacity));
    (void)Script(2).decode(pool[id], 9);
    const auto before = pool[id].save();
    const std::size_t free = pool.free_pages();
    const auto unchanged = [&](std::size_t which) {
      ASSERT_EQ(pool[id].save(), before) << "allocation " << which;
      ASSERT_EQ(pool.free_pages(), free) << "allocation " << which;
    };
    EXPECT_GT(fail_each_allocation([&] { pool[id].restore(saved); }, unchanged), 10U);
    if (capacity == 20) {
      EXPECT_EQ(pool[id].save(), saved);
    }
    (void)script.decode(pool[id], 20);
  }
  const auto unchanged = [&](std::size_t which) {
    ASSERT_EQ(cache.save(), saved) << "allocation " << which;
  };
  EXPECT_GT(fail_each_allocation([&] { (void)cache.save(); }, unchanged), 3U);
}

TEST(AllocationFailure, VotesOfReadersAllocateNothing) {
  constexpr std::size_t readers[] = {1};
  CacheShape model = shape;
  model.readers = readers;
  KVCache<float, MorphKV> cache(model, {.capacity = 20, .window = 4});
  const Tokens token = Script().at(shape, 0, 0);
  std::vector<float> output(token.queries.size());
  const auto step = [&] {
    ASSERT_EQ(cache.append(0, token.keys, token.values, cache.next_position(0)), Status::ok);
    ASSERT_EQ(cache.attend(0, token.queries, std::span(output)), Status::ok);
    ASSERT_EQ(cache.read<float>(0, token.queries, std::span(output)), Status::ok);
  };
  for (int t = 0; t < 30; ++t) EXPECT_EQ(fail_each_allocation(step, nothing_to_check), 0U);
}

TEST(AllocationFailure, LosesNothingOfSharedSlots) {
  using Cache = KVCache<float, DecayedMax, SharedStorage<float>>;
  expect_faultless<Cache>(
      [] { return Cache(shape, {.capacity = 20, .recent = 4}, SharedBudget{}); }, false, true);
}

TEST(AllocationFailure, LosesNothingOfAnAdaptiveBudget) {
  using Cache = KVCache<float, MorphKV>;
  expect_faultless<Cache>(
      [] { return Cache(shape, {.capacity = 20, .window = 4}, Budget::adaptive()); }, false, true);
}

TEST(AllocationFailure, LosesNothingOfAPool) {
  using Pool = SequencePool<float, MorphKV>;
  const MorphKV::Options options{.capacity = 20, .window = 4, .history = 2};
  std::vector<float> memory(30 * Pool::page_elements(shape, 4));
  const auto make = [&] { return Pool(shape, memory, 4); };
  EXPECT_GE(fail_each_allocation([&] { (void)make(); }, nothing_to_check), 3U);
  Pool pool = make();
  const Pool::Id first = pool.create(options);
  (void)Script().prefill(pool[first], 30);
  ASSERT_EQ(pool.free_pages(), 25U);
  const auto saved = pool[first].save();
  const auto unchanged = [&](std::size_t which) {
    ASSERT_EQ(pool.free_pages(), 25U) << "allocation " << which;
    ASSERT_EQ(pool[first].save(), saved) << "allocation " << which;
  };
  Pool::Id second{};
  EXPECT_GT(fail_each_allocation([&] { second = pool.create(options); }, unchanged), 3U);
  Pool::Id third{};
  EXPECT_GT(fail_each_allocation([&] { third = pool.fork(first); }, unchanged), 3U);
  EXPECT_GT(fail_each_allocation([&] { pool[second].copy_from(pool[third]); }, unchanged), 3U);
  EXPECT_EQ(fail_each_allocation([&] { pool.release(second); }, nothing_to_check), 0U);
  EXPECT_EQ(fail_each_allocation([&] { pool.release(third); }, nothing_to_check), 0U);
  unchanged(0);
  (void)Script().decode(pool[first], 60);
  EXPECT_EQ(pool.free_pages(), 25U) << "nothing is shared any more";
}

TEST(AllocationFailure, LeavesAllSequencesOfABlockAsTheyWere) {
  using Pool = SequencePool<float, MorphKV>;
  std::vector<float> memory(30 * Pool::page_elements(shape, 4));
  Pool pool(shape, memory, 4);
  const std::vector<Pool::Id> ids{pool.create({.capacity = 12, .window = 4}),
                                  pool.create({.capacity = 20, .window = 4, .history = 30})};
  for (const Pool::Id id : ids) (void)Script(id).prefill(pool[id], 9);
  const std::vector saved{pool[ids[0]].save(), pool[ids[1]].save()};
  const std::size_t free = pool.free_pages();
  const std::vector<std::int32_t> indptr{0, 25, 40};
  const Tokens block = Script().at(shape, 0, 9, 40);
  std::vector<float> outputs(40 * shape.output_width());
  std::vector<Status> statuses(2);
  const auto prefill = [&] {
    ASSERT_EQ(
        pool.prefill(0, ids, indptr, block.queries, block.keys, block.values, outputs, statuses),
        Status::ok);
  };
  const auto unchanged = [&](std::size_t which) {
    ASSERT_EQ(pool.free_pages(), free) << "allocation " << which;
    for (std::size_t i = 0; i < 2; ++i) {
      ASSERT_EQ(pool[ids[i]].save(), saved[i]) << "allocation " << which;
    }
  };
  EXPECT_GT(fail_each_allocation(prefill, unchanged), 20U);
  EXPECT_EQ(pool[ids[0]].next_position(0), 34);
  EXPECT_EQ(pool[ids[1]].next_position(0), 24);
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
