// SPDX-License-Identifier: Apache-2.0
// Bad input gets a clear error and changes nothing.
#include <gtest/gtest.h>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <string>
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
  expect_refused(cache_of({.scale = -1}), "scale = -1");
  expect_refused(cache_of({.soft_cap = -2}), "soft_cap = -2");
  expect_refused(cache_of({.soft_cap = 1e9F}), "soft_cap = 1e+09");
  expect_refused(cache_of({.soft_cap = 1e-4F}), "soft_cap = 0.0001");
  for (const float bad : {nan, infinity}) {
    EXPECT_THROW(cache_of({.scale = bad})(), std::invalid_argument);
    EXPECT_THROW(cache_of({.soft_cap = bad})(), std::invalid_argument);
    const float sinks[] = {0, -infinity, bad, 0};
    EXPECT_THROW(cache_of({.layers = 2, .query_heads = 2, .sinks = sinks})(),
                 std::invalid_argument);
  }
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

TYPED_TEST(CacheErrorsTest, PositionsBeyondTheGreatest) {
  auto& cache = this->cache_;
  const std::vector<float> x(16, 0.5F);
  for (const std::size_t layer : {0U, 1U}) {
    ASSERT_EQ(cache.append(layer, Span(x).first(8), Span(x).first(8), max_position), Status::ok);
  }
  const auto before = state_of(cache);
  const Position beyond = max_position + 1;
  EXPECT_EQ(cache.append(0, Span(x).first(8), Span(x).first(8), beyond),
            Status::position_too_large);
  EXPECT_EQ(cache.prefill(0, x, Span(x).first(8), Span(x).first(8)), Status::position_too_large);
  EXPECT_EQ(state_of(cache), before);
}

/// A block may end at the greatest position, and not one token later.
TYPED_TEST(CacheErrorsTest, BlocksUpToTheGreatestPosition) {
  auto& cache = this->cache_;
  const std::vector<float> x(48, 0.5F);
  const Span one = Span(x).first(8);
  ASSERT_EQ(cache.append(0, one, one, max_position - 2), Status::ok);
  EXPECT_EQ(cache.prefill(0, Span(x).first(48), Span(x).first(24), Span(x).first(24)),
            Status::position_too_large);
  EXPECT_EQ(cache.prefill(0, Span(x).first(32), Span(x).first(16), Span(x).first(16)), Status::ok);
  EXPECT_EQ(cache.next_position(0), max_position + 1);
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

TYPED_TEST(CacheErrorsTest, ABlockWithAQueryThatIsNaN) {
  auto& cache = this->cache_;
  const auto before = cache;
  for (const std::size_t head : {0U, 1U}) {
    Tokens block = Script().at(shape, 0, cache.next_position(0), 10);
    block.queries[9 * 16 + head * 8] = nan;
    std::vector<float> outputs(block.queries.size());
    EXPECT_EQ(cache.prefill(0, block.queries, block.keys, block.values, std::span(outputs)),
              Status::bad_row);
    this->expect_untouched(before);
  }
}

/// One head's bad row keeps the scores of the others as they were, too.
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

/// A policy that does not evict keeps no scores, so only these notice.
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

TEST(CacheErrors, ShapesWhoseProductsOverflowAreRefused) {
  constexpr std::size_t huge = std::size_t{1} << 61U;
  constexpr std::size_t wide = std::size_t{1} << 32U;
  const auto cache_of = [](const CacheShape& bad) {
    return [bad] { KVCache<float, Full> cache(bad, {.max_tokens = 4}); };
  };
  expect_refused(cache_of({.head_dim = huge}), "head_dim = " + std::to_string(huge));
  expect_refused(cache_of({.layers = wide, .query_heads = wide, .kv_heads = wide}),
                 "kv_heads = " + std::to_string(wide));
  expect_refused(cache_of({.layers = wide}), "layers = " + std::to_string(wide));
  expect_refused(cache_of({.query_heads = wide}), "query_heads = " + std::to_string(wide));
  expect_refused(
      cache_of({.layers = 1U << 20U, .query_heads = 32, .kv_heads = 32, .head_dim = 128}),
      "layers = 1048576");
  validate({.layers = 1U << 10U, .query_heads = 1U << 10U, .head_dim = 1U << 10U});  // the largest
}

TEST(CacheErrors, OptionsAreReportedAsTheyWereGiven) {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  using Cache = KVCache<float, H2O>;  // heavy + recent would wrap
  expect_refused([&] { Cache(shape, {.heavy = most, .recent = 2}, Budget::pyramid()); },
                 "heavy = " + std::to_string(most));
  expect_refused([&] { Cache(shape, {.heavy = most, .recent = 2}); },
                 "heavy = " + std::to_string(most));
}

TEST(CacheErrors, ThereIsNoSuchLayerHeadOrSlot) {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  (void)Script().decode(cache, 5);
  Script().append(cache);
  const auto before = cache;
  const std::vector<float> x(64, 0.5F);
  std::vector<float> out(64, 7.0F);
  std::vector<Placement> placements(2);
  for (const std::size_t layer : {std::size_t{2}, std::size_t{1} << 63U, most}) {
    EXPECT_EQ(cache.append(layer, Span(x).first(8), Span(x).first(8), 6), Status::wrong_size);
    EXPECT_EQ(cache.place(layer, 6, placements), Status::wrong_size);
    EXPECT_EQ(cache.attend(layer, Span(x).first(16), std::span(out).first(16)), Status::wrong_size);
    EXPECT_EQ(cache.attend_head(layer, 0, Span(x).first(8), std::span(out).first(8)),
              Status::wrong_size);
    EXPECT_EQ(cache.observe_heads(layer), Status::wrong_size);
    EXPECT_EQ(cache.observe(layer, x, 16), Status::wrong_size);
    EXPECT_EQ(cache.prefill(layer, Span(x).first(16), Span(x).first(8), Span(x).first(8)),
              Status::wrong_size);
    const std::string name = "layer = " + std::to_string(layer);
    expect_refused([&] { (void)cache.policy(layer, 0); }, name);
    expect_refused([&] { (void)cache.next_position(layer); }, name);
    expect_refused([&] { (void)cache.size(layer, 0); }, name);
    expect_refused([&] { (void)cache.positions(layer, 0); }, name);
    expect_refused([&] { (void)cache.key(layer, 0, 0); }, name);
    expect_refused([&] { (void)cache.value(layer, 0, 0); }, name);
    expect_refused([&] { (void)cache.keys(layer, 0); }, name);
    expect_refused([&] { (void)cache.values(layer, 0); }, name);
  }
  for (const std::size_t head : {std::size_t{2}, most}) {
    EXPECT_EQ(cache.attend_head(0, head, Span(x).first(8), std::span(out).first(8)),
              Status::wrong_size);
    const std::string name = "head = " + std::to_string(head);
    expect_refused([&] { (void)cache.policy(0, head); }, name);
    expect_refused([&] { (void)cache.keys(0, head); }, name);
  }
  expect_refused([&] { (void)cache.key(0, 0, 6); }, "slot = 6");
  expect_refused([&] { (void)cache.value(0, 1, most); }, "slot = " + std::to_string(most));
  EXPECT_EQ(cache.place(0, 6, std::span(placements).first(1)), Status::wrong_size);
  EXPECT_EQ(out, std::vector<float>(64, 7.0F));
  EXPECT_EQ(state_of(cache), state_of(before));
}

/// A model that has overflowed is reported before tokens that do not fit, whichever head it is.
TEST(CacheErrors, ABadRowComesBeforeABlockThatIsTooLong) {
  KVCache<float, Full> cache(shape, {.max_tokens = 4});
  Tokens block = Script().at(shape, 0, 0, 5);
  std::vector<float> outputs(block.queries.size());
  const auto prefill = [&] {
    return cache.prefill(0, block.queries, block.keys, block.values, std::span(outputs));
  };
  EXPECT_EQ(prefill(), Status::full);
  block.queries.back() = nan;
  EXPECT_EQ(prefill(), Status::bad_row);
}

TEST(CacheErrors, AStrideThatIsTooLong) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  Script().append(cache);
  const std::vector<float> weights(4, 0.125F);
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t stride : {std::size_t{2}, most, most / 2 + 1, most / 3 + 1}) {
    EXPECT_EQ(cache.observe(0, weights, stride), Status::wrong_size) << stride;
  }
  EXPECT_EQ(cache.observe(0, weights, 0), Status::wrong_size);
  EXPECT_EQ(cache.observe(0, Span{}, 1), Status::wrong_size);
  EXPECT_EQ(cache.observe(0, weights, 1), Status::ok);
}

/// The rows of one query head have no stride between them: any is long enough that holds a row.
TEST(CacheErrors, AStrideOfOneQueryHead) {
  KVCache<float, MorphKV> cache({.layers = 1, .head_dim = 4}, {.capacity = 16, .window = 4});
  Script().append(cache);
  const std::vector<float> weights(4, 0.125F);
  EXPECT_EQ(cache.observe(0, weights, 0), Status::wrong_size);
  EXPECT_EQ(cache.observe(0, Span{}, 1), Status::wrong_size);
  EXPECT_EQ(cache.observe(0, Span(weights).first(1), 1000), Status::ok);
}

TEST(CacheErrors, AnOutputThatIsOutOfStepIsUntouched) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  const std::vector<float> query(16, 0.5F);
  std::vector<float> output(16, 7.0F);
  const auto untouched = output;
  EXPECT_EQ(cache.attend(0, query, output), Status::out_of_step);
  (void)Script().decode(cache, 3);
  EXPECT_EQ(cache.attend(0, query, output), Status::out_of_step);
  EXPECT_EQ(cache.attend_head(0, 1, Span(query).first(8), std::span(output).first(8)),
            Status::out_of_step);
  EXPECT_EQ(output, untouched);
}

/// The heads of one layer have attended when a layer that is out of step is asked to.
TEST(CacheErrors, ALayerOutOfStepLeavesTheRowsOfAnother) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  Script().append(cache);
  const std::vector<float> query(16, 0.5F);
  std::vector<float> output(16);
  ASSERT_EQ(cache.attend(0, query, output), Status::ok);
  for (const std::size_t head : {0U, 1U}) {
    ASSERT_EQ(cache.attend_head(1, head, Span(query).first(8), std::span(output).first(8)),
              Status::ok);
  }
  EXPECT_EQ(cache.attend(0, query, output), Status::out_of_step);
  EXPECT_EQ(cache.observe_heads(1), Status::ok);
}

TEST(CacheErrors, HeadsThatDidNotAttendAreNotObserved) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  (void)Script().decode(cache, 20);
  Script().append(cache);
  const std::vector<float> query(8, 0.5F);
  std::vector<float> output(8);
  const auto attend = [&](std::size_t layer, std::size_t head, std::size_t size) {
    return cache.attend_head(layer, head, Span(query).first(size), std::span(output).first(size));
  };
  const auto before = cache;
  EXPECT_EQ(cache.observe_heads(0), Status::out_of_step) << "no head has attended";
  ASSERT_EQ(attend(0, 0, 8), Status::ok);
  EXPECT_EQ(cache.observe_heads(0), Status::out_of_step) << "one has not";
  EXPECT_EQ(attend(0, 1, 7), Status::wrong_size);
  EXPECT_EQ(cache.observe_heads(0), Status::wrong_size) << "one could not";
  ASSERT_EQ(attend(0, 1, 8), Status::ok);
  EXPECT_EQ(cache.observe_heads(1), Status::out_of_step) << "that was the other layer";
  ASSERT_EQ(attend(1, 1, 8), Status::ok);
  EXPECT_EQ(cache.observe_heads(0), Status::out_of_step) << "its row has been written over";
  for (std::size_t head = 0; head < 2; ++head) {
    EXPECT_EQ(cache.policy(0, head).can_observe(), Status::ok) << "no score has changed";
    ASSERT_EQ(attend(0, head, 8), Status::ok);
  }
  EXPECT_EQ(cache.observe_heads(0), Status::ok);
  EXPECT_EQ(cache.observe_heads(0), Status::out_of_step) << "only once";
  auto expected = before;
  const std::vector<float> both(16, 0.5F);
  std::vector<float> outputs(16);
  ASSERT_EQ(expected.attend(0, both, outputs), Status::ok);
  EXPECT_EQ(Script().decode(cache, 0), Script().decode(expected, 0));
  EXPECT_EQ(state_of(cache), state_of(expected));
}

template <class T>
class NotFiniteTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(NotFiniteTest, Scalars);

/// Numbers that a T cannot hold, and the greatest floats that it can.
template <class T>
std::vector<float> too_large() {
  if constexpr (std::same_as<T, Eigen::half>) return {65520.0F, -65520.0F, 70000.0F, -1e30F};
  if constexpr (std::same_as<T, Eigen::bfloat16>) return {0x1.ffp127F, -0x1.ffp127F};
  return {};
}
template <class T>
float greatest() {
  if constexpr (std::same_as<T, Eigen::half>) return std::nextafter(65520.0F, 0.0F);
  if constexpr (std::same_as<T, Eigen::bfloat16>) return std::nextafter(0x1.ffp127F, 0.0F);
  return std::numeric_limits<float>::max();
}

TYPED_TEST(NotFiniteTest, KeysAndValuesAreRefused) {
  using Cache = KVCache<TypeParam, MorphKV>;
  Cache cache(shape, {.capacity = 16, .window = 4});
  (void)Script().decode(cache, 20);
  const auto before = state_of(cache);
  std::vector<float> bad = too_large<TypeParam>();
  bad.insert(bad.end(), {nan, -nan, infinity, -infinity});
  for (const float number : bad) {
    for (const std::size_t at : {0U, 3U, 7U}) {
      Tokens token = Script().at(shape, 0, 20);
      std::vector<float> wrong = token.keys;
      wrong[at] = number;
      EXPECT_EQ(cache.append(0, wrong, token.values, 20), Status::not_finite) << number;
      EXPECT_EQ(cache.append(0, token.keys, wrong, 20), Status::not_finite) << number;
      EXPECT_EQ(cache.prefill(0, token.queries, wrong, token.values), Status::not_finite);
      EXPECT_EQ(cache.prefill(0, token.queries, token.keys, wrong), Status::not_finite);
    }
  }
  std::vector<TypeParam> x(8, static_cast<TypeParam>(0.5F));
  const auto good = x;
  for (const float number : {nan, infinity, -infinity}) {
    x[7] = static_cast<TypeParam>(number);
    EXPECT_EQ(cache.append(0, x, good, 20), Status::not_finite);
    EXPECT_EQ(cache.append(0, good, x, 20), Status::not_finite);
  }
  EXPECT_EQ(state_of(cache), before);
  std::vector<float> large(8, greatest<TypeParam>());
  ASSERT_EQ(cache.append(0, good, good, 20), Status::ok);
  ASSERT_EQ(cache.append(0, std::vector<float>(8, 0.5F), large, 21), Status::ok);
  const auto value = cache.value(0, 0, cache.policy(0, 0).size() - 1);
  for (const auto v : value) EXPECT_TRUE(std::isfinite(static_cast<float>(v)));
}

TEST(CacheErrors, AnAdaptiveFloorOfZeroLeavesEveryHeadACandidate) {
  const CacheShape heads{.layers = 1, .query_heads = 3, .kv_heads = 3, .head_dim = 4};
  KVCache<float, MorphKV> cache(heads, {.capacity = 8, .window = 6, .sinks = 0},
                                Budget::adaptive(0));
  Tokens block = Script().at(heads, 0, 0, 40);
  for (std::size_t t = 0; t < 40; ++t) {  // the first head's queries look nowhere but at themselves
    for (std::size_t d = 0; d < 4; ++d) {
      block.keys[t * 12 + d] = d == t % 4 ? 9.0F : 0.0F;
      block.queries[t * 12 + d] = d == t % 4 ? 90.0F : -90.0F;
    }
  }
  ASSERT_EQ(cache.prefill(0, block.queries, block.keys, block.values), Status::ok);
  for (std::size_t head = 0; head < 3; ++head) EXPECT_GE(cache.policy(0, head).capacity(), 7U);
  (void)Script().decode(cache, 30);
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
