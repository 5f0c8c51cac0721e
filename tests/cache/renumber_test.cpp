// SPDX-License-Identifier: Apache-2.0
// Positions without gaps: keys are turned by as much as their positions change, and the text goes
// on as if nothing had happened.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include "oracle/rope_oracle.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/script.hpp"

namespace morphkv::testing::renumber_test { namespace {

constexpr CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 12};
constexpr Setting setting{.capacity = 20, .window = 4, .max_tokens = 300};
constexpr float frequencies[] = {1.0F, 0.1F, 0.01F, 0.001F};

/// Keys of [kv_heads][head_dim], rotated in double.
std::vector<float> rotated(const std::vector<float>& keys, const Rope& rope, Position position) {
  std::vector<float> result;
  for (std::size_t head = 0; head < shape.kv_heads; ++head) {
    const float* key = keys.data() + head * shape.head_dim;
    for (const double x : oracle::rotated({key, key + shape.head_dim}, rope, position)) {
      result.push_back(static_cast<float>(x));
    }
  }
  return result;
}

/// Positions in their order, up to the last one without a gap.
void expect_no_gaps(std::span<const Position> before, std::span<const Position> after,
                    Position next) {
  ASSERT_EQ(before.size(), after.size());
  std::map<Position, Position> order;
  for (std::size_t slot = 0; slot < before.size(); ++slot) {
    ASSERT_EQ(before[slot] == no_position, after[slot] == no_position);
    if (before[slot] != no_position) order[before[slot]] = after[slot];
  }
  Position expected = next - static_cast<Position>(order.size());
  ASSERT_GE(expected, 0);
  for (const auto& [old, now] : order) ASSERT_EQ(now, expected++) << old;
}

template <class Contender>
class RenumberTest : public ::testing::Test {};
using Contenders =
    ::testing::Types<MorphKVSum, MorphKVMax, H2OPlain, DecayedMaxOfDistant, SnapKVAverage,
                     StreamingLLMContender, TOVAContender, H2ONormalised, DecayedMaxWithPins>;
TYPED_TEST_SUITE(RenumberTest, Contenders);

/// A twin is never renumbered. Keys are not rotated, so attention is the same for both: they hold
/// the same tokens to the end, in the same slots.
TYPED_TEST(RenumberTest, EvictionGoesOn) {
  const auto options = TypeParam::options(setting);
  KVCache<float, typename TypeParam::Policy> cache(shape, options);
  KVCache<float, typename TypeParam::Policy> twin(shape, options);
  Script script;
  Position position = 0;
  const auto step = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i, ++position) {
      for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const Tokens token = script.at(shape, layer, position);
        std::vector<float> outputs[2];
        for (auto& some : outputs) some.resize(shape.output_width());
        ASSERT_EQ(cache.append(layer, token.keys, token.values, cache.next_position(layer)),
                  Status::ok);
        ASSERT_EQ(twin.append(layer, token.keys, token.values, position), Status::ok);
        ASSERT_EQ(cache.attend(layer, token.queries, std::span<float>(outputs[0])), Status::ok);
        ASSERT_EQ(twin.attend(layer, token.queries, std::span<float>(outputs[1])), Status::ok);
        ASSERT_EQ(outputs[0], outputs[1]) << position;
      }
    }
  };
  for (auto* some : {&cache, &twin}) (void)script.prefill(*some, 30);
  position = 30;
  for (const std::size_t count : {1U, 40U, 7U, 60U}) {
    ASSERT_NO_FATAL_FAILURE(step(count));
    const std::vector<HeadState> before = state_of(cache);
    ASSERT_EQ(cache.renumber(), Status::ok);
    const std::vector<HeadState> after = state_of(cache);
    std::size_t most = 0;  // tokens of a head; none of these policies evicts the newest
    for (const HeadState& head : after) {
      const auto holes = std::count(head.positions.begin(), head.positions.end(), no_position);
      most = std::max(most, head.positions.size() - static_cast<std::size_t>(holes));
    }
    EXPECT_EQ(cache.next_position(0), static_cast<Position>(most));
    for (std::size_t head = 0; head < before.size(); ++head) {
      expect_no_gaps(before[head].positions, after[head].positions,
                     cache.next_position(head / shape.kv_heads));
      EXPECT_EQ(before[head].keys, after[head].keys);
      EXPECT_EQ(before[head].values, after[head].values);
      EXPECT_EQ(after[head].keys, state_of(twin)[head].keys);
    }
  }
}

/// Keys come rotated. Afterwards they are those of the new positions, the values what they were.
TYPED_TEST(RenumberTest, KeysAreTurned) {
  for (const Rope& rope : {Rope{frequencies}, Rope{frequencies, 4}, Rope{frequencies, 2, true},
                           Rope{std::span(frequencies).first(2), 0, true}, Rope{}}) {
    KVCache<float, typename TypeParam::Policy> cache(shape, TypeParam::options(setting));
    const Script script;
    std::map<std::vector<float>, Position> came;  // by value, which does not change
    for (Position position = 0; position < 90; ++position) {
      for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const Tokens token = script.at(shape, layer, position);
        ASSERT_EQ(cache.append(layer, rotated(token.keys, rope, position), token.values, position),
                  Status::ok);
        std::vector<float> output(shape.output_width());
        ASSERT_EQ(cache.attend(layer, token.queries, std::span<float>(output)), Status::ok);
        for (std::size_t head = 0; head < shape.kv_heads; ++head) {
          const auto value = std::span(token.values).subspan(head * shape.head_dim, shape.head_dim);
          came[std::vector<float>(value.begin(), value.end())] = position;
        }
      }
    }
    ASSERT_EQ(cache.renumber(rope), Status::ok);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        for (std::size_t slot = 0; slot < cache.size(layer, head); ++slot) {
          const Position now = cache.positions(layer, head)[slot];
          if (now == no_position) continue;
          const auto value = cache.value(layer, head, slot);
          const auto position = came.find(std::vector<float>(value.begin(), value.end()));
          ASSERT_NE(position, came.end());
          const std::vector<float> expected =
              rotated(script.at(shape, layer, position->second).keys, rope, now);
          const auto key = cache.key(layer, head, slot);
          for (std::size_t d = 0; d < shape.head_dim; ++d) {
            ASSERT_NEAR(key[d], expected[head * shape.head_dim + d], 1e-5) << now << ' ' << d;
          }
        }
      }
    }
  }
}

TEST(Renumber, OfSixteenBitsAndQuantised) {
  KVCache<Eigen::half, MorphKV> cache(shape, {.capacity = 20, .window = 4});
  (void)Script().prefill(cache, 60);
  EXPECT_EQ(cache.renumber(Rope{frequencies}), Status::ok);
  EXPECT_EQ(cache.next_position(0), 20);
  CacheShape blocks = shape;
  blocks.head_dim = 32;
  KVCache<Q8_0, MorphKV> quantised(blocks, {.capacity = 20, .window = 4});
  (void)Script().prefill(quantised, 60);
  EXPECT_EQ(quantised.renumber(), Status::ok);
  EXPECT_EQ(quantised.next_position(1), 20);
}

/// H2O may evict the newest token: its position stays the newest one, and the others lie before it.
TEST(Renumber, OfAHeadThatHasEvictedItsNewestToken) {
  H2O policy({.heavy = 2, .recent = 0, .sinks = 0});
  for (Position position = 0; position < 3; ++position) {
    ASSERT_EQ(policy.place(position).status, Status::ok);
    std::vector<float> row{0.5F, 0.5F, 0.0F};
    row.resize(policy.size());
    ASSERT_EQ(policy.observe(row), Status::ok);
  }
  ASSERT_EQ(kept(policy), (std::vector<Position>{0, 1}));
  policy.renumber(9);
  EXPECT_EQ(kept(policy), (std::vector<Position>{7, 8}));
  EXPECT_EQ(policy.newest(), 9);
}

TEST(Renumber, AnEmptyCacheAndOneOutOfStep) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 20, .window = 4, .history = 3});
  EXPECT_EQ(cache.renumber(), Status::ok);
  EXPECT_EQ(cache.next_position(0), 0);
  (void)Script().prefill(cache, 30);
  (void)Script().decode(cache, 2);
  const Tokens token = Script().at(shape, 0, 32);
  const std::vector<HeadState> before = state_of(cache);
  std::vector<float> seven(7, 0.1F);
  EXPECT_EQ(cache.renumber(Rope{seven}), Status::wrong_size);
  ASSERT_EQ(cache.append(0, token.keys, token.values, 32), Status::ok);
  EXPECT_EQ(cache.renumber(Rope{frequencies}), Status::out_of_step);
  ASSERT_EQ(cache.rollback(1), Status::ok);
  EXPECT_EQ(state_of(cache), before);
  EXPECT_EQ(cache.renumber(Rope{frequencies}), Status::ok);
  EXPECT_EQ(cache.rollback(1), Status::too_far_back);
  (void)Script().decode(cache, 3);
  EXPECT_EQ(cache.rollback(3), Status::ok);
  EXPECT_EQ(cache.next_position(0), 20);
}

}  // namespace
}  // namespace morphkv::testing::renumber_test
