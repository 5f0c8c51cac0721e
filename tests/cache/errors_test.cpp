// SPDX-License-Identifier: Apache-2.0
// Bad input gets a clear error and changes nothing.
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "support/contenders.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"

namespace morphkv::testing::errors_test { namespace {

constexpr CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 4};
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

using Span = std::span<const float>;

TEST(CacheErrors, ShapesAreCheckedByName) {
  const auto cache_of = [](const CacheShape& bad) {
    return [bad] { KVCache<float, Full> cache(bad, {}); };
  };
  expect_refused(cache_of({.layers = 0}), "layers = 0");
  expect_refused(cache_of({.query_heads = 0}), "query_heads = 0");
  expect_refused(cache_of({.kv_heads = 0}), "kv_heads = 0");
  expect_refused(cache_of({.head_dim = 0}), "head_dim = 0");
  expect_refused(cache_of({.query_heads = 6, .kv_heads = 4}), "query_heads = 6");
  expect_refused(cache_of({.query_heads = 2, .kv_heads = 4}), "query_heads = 2");
}

TEST(CacheErrors, BudgetsAreCheckedByName) {
  using Cache = KVCache<float, MorphKV>;
  const MorphKV::Options options{.capacity = 16, .window = 4};
  expect_refused([] { (void)Budget::pyramid(0.5); }, "beta = 0.5");
  expect_refused([] { (void)Budget::adaptive(1.5); }, "floor = 1.5");
  expect_refused([] { (void)Budget::adaptive(-0.5); }, "floor = -0.5");
  EXPECT_THROW((void)Budget::pyramid(nan), std::invalid_argument);
  EXPECT_THROW((void)Budget::adaptive(nan), std::invalid_argument);
  expect_refused([&] { Cache(shape, options, Budget::per_head({16, 16, 16})); }, "capacities = 3");
  expect_refused([&] { Cache(shape, options, Budget::per_head({16, 16, 4, 16})); }, "capacity = 4");
}

TEST(CacheErrors, OptionsOfThePolicyAreChecked) {
  using Cache = KVCache<float, MorphKV>;
  expect_refused([] { Cache(shape, {.capacity = 4, .window = 4, .sinks = 0}); }, "capacity = 4");
}

template <class Contender>
class CacheErrorsTest : public ::testing::Test {
 protected:
  using Cache = KVCache<float, typename Contender::Policy>;

  CacheErrorsTest() {
    (void)Script().prefill(cache_, 8);
    (void)Script().decode(cache_, 30);
  }

  static Setting setting() { return {.capacity = 16, .window = 4, .max_tokens = 100}; }

  /// Nothing has changed: neither what is seen, nor what comes.
  void expect_untouched(const Cache& before) {
    EXPECT_EQ(state_of(cache_), state_of(before));
    EXPECT_EQ(cache_.memory(), before.memory());
    Cache bad = cache_;
    Cache good = before;
    EXPECT_EQ(Script().decode(bad, 20), Script().decode(good, 20));
    EXPECT_EQ(state_of(bad), state_of(good));
  }

  Cache cache_{shape, Contender::options(setting())};
};

TYPED_TEST_SUITE(CacheErrorsTest, AllContenders);

TYPED_TEST(CacheErrorsTest, SpansOfTheWrongSize) {
  auto& cache = this->cache_;
  const auto before = cache;
  const std::vector<float> x(200, 0.5F);
  std::vector<float> out(200);
  const auto in = [&](std::size_t size) { return Span(x).first(size); };
  const auto to = [&](std::size_t size) { return std::span(out).first(size); };
  const Position next = cache.next_position(0);
  EXPECT_EQ(cache.append(0, in(7), in(8), next), Status::wrong_size);
  EXPECT_EQ(cache.append(0, in(8), in(9), next), Status::wrong_size);
  EXPECT_EQ(cache.append(0, in(0), in(0), next), Status::wrong_size);
  EXPECT_EQ(cache.append(2, in(8), in(8), next), Status::wrong_size) << "no such layer";
  EXPECT_EQ(cache.attend(0, in(15), to(16)), Status::wrong_size);
  EXPECT_EQ(cache.attend(0, in(16), to(15)), Status::wrong_size);
  EXPECT_EQ(cache.attend(2, in(16), to(16)), Status::wrong_size);
  EXPECT_EQ(cache.prefill(0, in(32), in(16), in(8), to(32)), Status::wrong_size);
  EXPECT_EQ(cache.prefill(0, in(32), in(15), in(15), to(32)), Status::wrong_size);
  EXPECT_EQ(cache.prefill(0, in(16), in(16), in(16), to(32)), Status::wrong_size);
  EXPECT_EQ(cache.prefill(0, in(32), in(16), in(16), to(31)), Status::wrong_size);
  EXPECT_EQ(cache.prefill(2, in(32), in(16), in(16), to(32)), Status::wrong_size);
  this->expect_untouched(before);
}

TYPED_TEST(CacheErrorsTest, PositionsThatGoBackwards) {
  auto& cache = this->cache_;
  const auto before = cache;
  const std::vector<float> x(8, 0.5F);
  for (const Position backwards : {37, 36, 0, -1, -5}) {
    EXPECT_EQ(cache.append(0, Span(x), Span(x), backwards), Status::position_backwards);
  }
  this->expect_untouched(before);
}

TYPED_TEST(CacheErrorsTest, AttendingNothing) {
  typename TestFixture::Cache empty(shape, TypeParam::options(this->setting()));
  std::vector<float> out(16);
  EXPECT_EQ(empty.attend(0, Span(std::vector<float>(16, 1.0F)), std::span(out)),
            Status::out_of_step);
  EXPECT_EQ(empty.prefill(0, Span{}, Span{}, Span{}), Status::ok) << "no tokens, nothing to do";
  EXPECT_EQ(empty.size(0, 0), 0U);
}

TYPED_TEST(CacheErrorsTest, QueriesThatAreNotNumbers) {
  for (const float bad : {nan, infinity}) {
    auto& cache = this->cache_;
    Script().append(cache);
    const auto before = cache;
    std::vector<float> out(16);
    EXPECT_EQ(cache.attend(0, Span(std::vector<float>(16, bad)), std::span(out)), Status::bad_row);
    const std::vector<float> good(16, 0.25F);
    auto other = before;
    std::vector<float> expected(16);
    ASSERT_EQ(other.attend(0, Span(good), std::span(expected)), Status::ok);
    ASSERT_EQ(cache.attend(0, Span(good), std::span(out)), Status::ok);
    EXPECT_EQ(out, expected);
    EXPECT_EQ(state_of(cache), state_of(other));
    const Tokens token = Script().at(shape, 1, cache.next_position(1) - 1);
    ASSERT_EQ(cache.attend(1, token.queries, std::span(out)), Status::ok);
  }
}

TYPED_TEST(CacheErrorsTest, ABlockThatHoldsNaN) {
  auto& cache = this->cache_;
  const auto before = cache;
  for (const std::size_t head : {0U, 1U}) {
    Tokens block = Script().at(shape, 0, cache.next_position(0), 10);
    block.keys[9 * 8 + head * 4] = nan;
    std::vector<float> outputs(block.queries.size());
    EXPECT_EQ(cache.prefill(0, block.queries, block.keys, block.values, std::span(outputs)),
              Status::bad_row);
    this->expect_untouched(before);
  }
}

/// One head's bad row keeps the others from voting, too.
TYPED_TEST(CacheErrorsTest, ABadRowOfOneHead) {
  auto& cache = this->cache_;
  Script().append(cache);
  auto other = cache;
  std::vector<float> query(16, 0.25F);
  query[12] = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> out(16), expected(16);
  EXPECT_EQ(cache.attend(0, Span(query), std::span(out)), Status::bad_row);
  query[12] = 0.25F;
  ASSERT_EQ(other.attend(0, Span(query), std::span(expected)), Status::ok);
  ASSERT_EQ(cache.attend(0, Span(query), std::span(out)), Status::ok);
  EXPECT_EQ(out, expected);
  EXPECT_EQ(state_of(cache), state_of(other));
}

/// What does not evict counts no votes, so only these notice.
template <class Contender>
class AttendTwiceTest : public CacheErrorsTest<Contender> {};
TYPED_TEST_SUITE(AttendTwiceTest, BoundedContenders);

TYPED_TEST(AttendTwiceTest, AttendingTwice) {
  auto& cache = this->cache_;
  const auto before = cache;
  std::vector<float> out(16);
  EXPECT_EQ(cache.attend(0, Span(std::vector<float>(16, 1.0F)), std::span(out)),
            Status::out_of_step);
  this->expect_untouched(before);
}

template <class Contender>
class ObserveErrorsTest : public CacheErrorsTest<Contender> {};
TYPED_TEST_SUITE(ObserveErrorsTest, AllContenders);

TYPED_TEST(ObserveErrorsTest, WeightsThatAreNone) {
  auto& cache = this->cache_;
  Script().append(cache);
  const auto before = cache;
  const std::size_t stride = cache.size(0, 0);
  const std::vector<float> good(4 * stride, 0.125F);
  for (const std::size_t query_head : {0U, 3U}) {
    for (const float bad : {nan, infinity, -0.125F, 1.5F}) {
      std::vector<float> weights = good;
      weights[query_head * stride + stride / 2] = bad;
      EXPECT_EQ(cache.observe(0, weights, stride), Status::bad_row);
    }
  }
  EXPECT_EQ(cache.observe(0, Span(good).first(4 * stride - 1), stride), Status::wrong_size);
  EXPECT_EQ(cache.observe(0, good, stride - 1), Status::wrong_size);
  EXPECT_EQ(cache.observe(2, good, stride), Status::wrong_size);
  this->expect_untouched(before);
  EXPECT_EQ(cache.observe(0, good, stride), Status::ok);
}

TEST(CacheErrors, ACacheThatKeepsAllIsFull) {
  KVCache<float, Full> cache(shape, {.max_tokens = 10});
  (void)Script().prefill(cache, 8);
  (void)Script().decode(cache, 2);
  const auto before = state_of(cache);
  const Tokens token = Script().at(shape, 0, 10, 3);
  EXPECT_EQ(cache.append(0, Span(token.keys).first(8), Span(token.values).first(8), 10),
            Status::full);
  EXPECT_EQ(cache.prefill(0, token.queries, token.keys, token.values), Status::full);
  EXPECT_EQ(state_of(cache), before);
}

TEST(CacheErrors, EverythingIsProtected) {
  KVCache<float, TOVA> cache(shape, {.capacity = 10, .protect_prompt = true});
  const Tokens block = Script().at(shape, 0, 0, 11);
  EXPECT_EQ(cache.prefill(0, block.queries, block.keys, block.values), Status::nothing_to_evict);
  EXPECT_EQ(cache.size(0, 0), 0U);
  (void)Script().prefill(cache, 10);
  const auto before = state_of(cache);
  EXPECT_EQ(cache.append(0, Span(block.keys).first(8), Span(block.values).first(8), 10),
            Status::nothing_to_evict);
  EXPECT_EQ(state_of(cache), before);
}

}  // namespace
}  // namespace morphkv::testing::errors_test
