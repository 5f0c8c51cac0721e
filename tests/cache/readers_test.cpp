// SPDX-License-Identifier: Apache-2.0
// Layers that read another layer's cache and vote: what is evicted is what a cache evicts whose
// groups have the query heads of all of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"

namespace morphkv::testing::readers_test { namespace {

constexpr std::size_t two_readers[] = {2, 0};
constexpr CacheShape shape{
    .layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 8, .readers = two_readers};

/// The queries of reader number `reader` at a position.
std::vector<float> queries_of(const CacheShape& model, std::size_t reader, Position position) {
  return Script(100 + reader).at(model, 0, position).queries;
}

/// The next token of a layer, which attends. \return its output
template <class Cache>
std::vector<float> step(Cache& cache, std::size_t layer) {
  const Position position = cache.next_position(layer);
  const Tokens token = Script().at(cache.shape(), layer, position);
  EXPECT_EQ(cache.append(layer, token.keys, token.values, position), Status::ok);
  std::vector<float> output(cache.shape().output_width());
  EXPECT_EQ(cache.attend(layer, token.queries, std::span<float>(output)), Status::ok);
  return output;
}

template <class Cache>
std::vector<float> read(Cache& cache, std::size_t reader) {
  std::vector<float> output(cache.shape().output_width());
  const auto queries = queries_of(cache.shape(), reader, cache.next_position(0) - 1);
  EXPECT_EQ((cache.template read<float>(0, queries, std::span<float>(output))), Status::ok);
  return output;
}

template <class Contender>
class ReadersTest : public ::testing::Test {};
TYPED_TEST_SUITE(ReadersTest, OracleContenders);

TYPED_TEST(ReadersTest, VoteAsQueryHeadsOfTheGroup) {
  using Policy = typename TypeParam::Policy;
  for (const std::size_t group : {1U, 3U}) {
    for (const std::size_t readers : {1U, 2U}) {
      for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean, GroupFusion::sum}) {
        SCOPED_TRACE(::testing::Message() << "group " << group << ", readers " << readers);
        const auto options =
            TypeParam::options({.capacity = 16, .window = 4, .max_tokens = 90, .group = fusion});
        const std::size_t counts[] = {readers, 0};
        CacheShape model = shape;
        model.query_heads = 2 * group;
        model.readers = counts;
        KVCache<float, Policy> cache(model, options);
        CacheShape alone = model;
        alone.readers = nullptr;
        KVCache<float, Policy> other_layer(alone, options);
        CacheShape joined = alone;
        joined.layers = 1;
        joined.query_heads = 2 * group * (readers + 1);
        KVCache<float, Policy> whole(joined, options);
        for (Position position = 0; position < 60; ++position) {
          std::vector<std::vector<float>> queries{Script().at(model, 0, position).queries};
          std::vector<std::vector<float>> outputs{step(cache, 0)};
          ASSERT_EQ(step(cache, 1), step(other_layer, 1));  // it uses the same working space
          for (std::size_t reader = 0; reader < readers; ++reader) {
            queries.push_back(queries_of(model, reader, position));
            outputs.push_back(read(cache, reader));
          }
          const std::size_t width = group * model.head_dim;
          std::vector<float> all;
          std::vector<float> expected;
          for (std::size_t head = 0; head < 2; ++head) {
            const auto add = [&](const std::vector<float>& from, std::vector<float>& to) {
              const auto part = std::span(from).subspan(head * width, width);
              to.insert(to.end(), part.begin(), part.end());
            };
            for (const auto& one : queries) add(one, all);
            for (const auto& one : outputs) add(one, expected);
          }
          const Tokens token = Script().at(model, 0, position);
          ASSERT_EQ(whole.append(0, token.keys, token.values, position), Status::ok);
          std::vector<float> output(joined.output_width());
          ASSERT_EQ(whole.attend(0, all, std::span<float>(output)), Status::ok);
          for (std::size_t i = 0; i < output.size(); ++i) {
            ASSERT_NEAR(output[i], expected[i], 1e-5F);
          }
          for (std::size_t head = 0; head < 2; ++head) {
            ASSERT_EQ(kept(cache.policy(0, head)), kept(whole.policy(0, head))) << position;
            ASSERT_EQ(kept(cache.policy(1, head)), kept(other_layer.policy(1, head)));
          }
        }
      }
    }
  }
}

using Bytes = std::vector<std::byte>;
template <class Cache>
Bytes state(const Cache& cache) {
  const auto bytes = cache.policy(0, 1).state_bytes();
  return {bytes.begin(), bytes.end()};
}

TEST(Readers, TheLastOfThemUpdatesTheScores) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  for (int token = 0; token < 30; ++token) {
    (void)step(cache, 0);
    const Bytes before = state(cache);
    (void)read(cache, 0);
    ASSERT_EQ(state(cache), before);
    // One that fails has no vote.
    std::vector<float> output(shape.output_width());
    std::vector<float> bad(shape.query_width(), 1.0F);
    bad.back() = std::numeric_limits<float>::quiet_NaN();
    ASSERT_EQ(cache.read<float>(0, bad, output), Status::bad_row);
    ASSERT_EQ(state(cache), before);
    (void)read(cache, 1);
    const Bytes after = state(cache);
    ASSERT_NE(after, before);
    (void)read(cache, 1);
    ASSERT_EQ(state(cache), after) << "all have voted";
  }
}

/// Where a reader is missing, the token scores nothing, as one that does not attend.
TEST(Readers, WithoutAllOfThemATokenScoresNothing) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  KVCache<float, MorphKV> mute(shape, {.capacity = 16, .window = 4});
  for (int token = 0; token < 40; ++token) {
    (void)step(cache, 0);
    (void)read(cache, 0);
    const Position position = mute.next_position(0);
    const Tokens same = Script().at(shape, 0, position);
    ASSERT_EQ(mute.append(0, same.keys, same.values, position), Status::ok);
    ASSERT_EQ(state(cache), state(mute)) << token;
  }
}

/// A read before the owner's attention, or after its row was observed otherwise, is no vote.
TEST(Readers, VoteBetweenTheOwnersAttentionAndTheNextToken) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  KVCache<float, MorphKV> twin(shape, {.capacity = 16, .window = 4});
  for (Position position = 0; position < 40; ++position) {
    const Tokens token = Script().at(shape, 0, position);
    ASSERT_EQ(cache.append(0, token.keys, token.values, position), Status::ok);
    ASSERT_EQ(twin.append(0, token.keys, token.values, position), Status::ok);
    (void)read(cache, 0);
    std::vector<float> output(shape.output_width());
    ASSERT_EQ(cache.attend(0, token.queries, std::span<float>(output)), Status::ok);
    ASSERT_EQ(twin.attend(0, token.queries, std::span<float>(output)), Status::ok);
    (void)read(cache, 0);
    (void)read(twin, 0);
    if (position % 3 == 0) {
      const std::size_t slots = cache.size(0, 0);
      const std::vector<float> weights(shape.query_heads * slots, 0.5F);
      ASSERT_EQ(cache.observe(0, weights, slots), Status::ok);
      ASSERT_EQ(twin.observe(0, weights, slots), Status::ok);
      (void)read(cache, 1);
    } else {
      (void)read(cache, 1);
      (void)read(twin, 1);
    }
    ASSERT_EQ(state(cache), state(twin));
  }
}

TEST(Readers, OfASequenceOfAPoolAndOfHeadsThatAnEngineSchedules) {
  using Pool = SequencePool<float, MorphKV>;
  const MorphKV::Options options{.capacity = 16, .window = 4};
  std::vector<float> memory(40 * Pool::page_elements(shape, 5));
  Pool pool(shape, memory, 5);
  const std::vector<Pool::Id> ids{pool.create(options), pool.create(options)};
  KVCache<float, MorphKV> cache(shape, options);
  KVCache<float, MorphKV> heads(shape, options);
  const std::size_t width = shape.group() * shape.head_dim;
  for (Position position = 0; position < 40; ++position) {
    (void)step(cache, 0);
    const Tokens token = Script().at(shape, 0, position);
    Tokens both = token;
    for (auto* part : {&both.queries, &both.keys, &both.values}) {
      const std::vector<float> once = *part;
      part->insert(part->end(), once.begin(), once.end());
    }
    std::vector<Status> statuses(2);
    std::vector<float> outputs(both.queries.size());
    ASSERT_EQ(pool.append(0, ids, both.keys, both.values, statuses), Status::ok);
    ASSERT_EQ(pool.attend(0, ids, both.queries, outputs, statuses), Status::ok);
    ASSERT_EQ(heads.append(0, token.keys, token.values, position), Status::ok);
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      ASSERT_EQ(heads.attend_head(0, head, std::span(token.queries).subspan(head * width, width),
                                  std::span(outputs).subspan(head * width, width)),
                Status::ok);
    }
    ASSERT_EQ(heads.observe_heads(0), Status::ok);
    ASSERT_EQ(heads.observe_heads(0), Status::out_of_step);
    for (std::size_t reader = 0; reader < 2; ++reader) {
      const auto expected = read(cache, reader);
      for (const Pool::Id id : ids) ASSERT_EQ(read(pool[id], reader), expected);
      ASSERT_EQ(read(heads, reader), expected);
    }
    for (const Pool::Id id : ids) ASSERT_EQ(state(pool[id]), state(cache));
    ASSERT_EQ(state(heads), state(cache));
  }
}

TEST(Readers, CostNothingWhereNoneVotes) {
  constexpr std::size_t none[] = {0, 0};
  CacheShape model = shape;
  model.readers = none;
  CacheShape plain = shape;
  plain.readers = nullptr;
  const MorphKV::Options options{.capacity = 16, .window = 4};
  EXPECT_EQ((KVCache<float, MorphKV>(model, options).memory()),
            (KVCache<float, MorphKV>(plain, options).memory()));
  const std::size_t rows = 2 * (2 + 2);  // of two heads: the owner's, two readers', the fused one
  EXPECT_EQ((KVCache<float, MorphKV>(shape, options).memory().scratch),
            (KVCache<float, MorphKV>(plain, options).memory().scratch + rows * 16 * sizeof(float)));
}

TEST(Readers, TooManyAreRefused) {
  constexpr std::size_t many[] = {1, 1025};
  CacheShape model = shape;
  model.readers = many;
  expect_refused([&] { (void)KVCache<float, MorphKV>(model, {.capacity = 16, .window = 4}); },
                 "readers = 1025");
}

}  // namespace
}  // namespace morphkv::testing::readers_test
