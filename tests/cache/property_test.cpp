// SPDX-License-Identifier: Apache-2.0
// What holds for every policy.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/script.hpp"

namespace morphkv::testing::property_test { namespace {

constexpr CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 8};

template <class Contender>
KVCache<float, typename Contender::Policy> make(const Setting& setting) {
  return {shape, Contender::options(setting)};
}

/// Calls check(positions held) for every head.
template <class Cache, class Check>
void for_each_head(const Cache& cache, const Check& check) {
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      check(kept(cache.policy(layer, head)));
    }
  }
}

template <class Contender>
class AnyPolicyTest : public ::testing::Test {};
TYPED_TEST_SUITE(AnyPolicyTest, AllContenders);

TYPED_TEST(AnyPolicyTest, WithRoomForAllItEqualsFull) {
  const Setting setting{.capacity = 64, .window = 5, .max_tokens = 64};
  auto cache = make<TypeParam>(setting);
  auto full = make<FullContender>(setting);
  const Script script;
  EXPECT_EQ(script.prefill(cache, 17), script.prefill(full, 17));
  EXPECT_EQ(script.decode(cache, 20), script.decode(full, 20));
  EXPECT_EQ(script.prefill(cache, 9), script.prefill(full, 9));
  EXPECT_EQ(script.decode(cache, 18), script.decode(full, 18));
  EXPECT_EQ(state_of(cache), state_of(full));
}

TYPED_TEST(AnyPolicyTest, NextSlotIsTheOneThatPlaceChooses) {
  auto cache = make<TypeParam>({.capacity = 16, .window = 4, .sinks = 1, .max_tokens = 90});
  const Script script;
  std::size_t known = 0;
  bool was_attended = true;
  for (std::size_t step = 0; step < 70; ++step) {
    if (step == 5 || step == 20 || step == 40) {
      (void)script.prefill(cache, step == 20 ? 2 : 9);
      was_attended = true;
    }
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Position position = cache.next_position(layer);
      const Tokens token = script.at(shape, layer, position);
      std::vector<Placement> placements(shape.kv_heads);
      std::vector<Slot> next;
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        next.push_back(cache.policy(layer, head).next_slot());
      }
      ASSERT_EQ(cache.append(layer, token.keys, token.values, position, placements), Status::ok);
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        if (next[head] == no_slot) {
          ASSERT_FALSE(was_attended);
          ASSERT_NE(placements[head].evicted, no_position) << "a free slot is known";
        } else {
          ASSERT_EQ(next[head], placements[head].slot);
          ++known;
        }
      }
      std::vector<float> output(shape.output_width());
      if (step % 7 == 3) continue;
      ASSERT_EQ(cache.attend(layer, token.queries, std::span<float>(output)), Status::ok);
    }
    was_attended = step % 7 != 3;
  }
  EXPECT_GE(known, 240U) << "of 280";
}

template <class Contender>
class BoundedPolicyTest : public ::testing::Test {};
TYPED_TEST_SUITE(BoundedPolicyTest, BoundedContenders);

TYPED_TEST(BoundedPolicyTest, NeverAboveItsCapacity) {
  const Setting setting{.capacity = 16, .window = 5, .sinks = 3};
  auto cache = make<TypeParam>(setting);
  const std::size_t slots = cache.policy(0, 0).slots();
  EXPECT_LE(slots, 17U);
  (void)Script().prefill(cache, 10);
  for (int step = 0; step < 60; ++step) {
    (void)Script().decode(cache, 1);
    for_each_head(cache, [&](const std::vector<Position>& held) {
      EXPECT_LE(held.size(), 16U);
      EXPECT_EQ(held.size(), std::min<std::size_t>(16, 11 + static_cast<std::size_t>(step)));
    });
    EXPECT_LE(cache.size(0, 0), slots);
  }
}

TYPED_TEST(BoundedPolicyTest, SinksAndTheNewestStay) {
  const Setting setting{.capacity = 16, .window = 5, .sinks = 3};
  // StreamingLLM knows no window: all but the sinks are recent.
  auto cache = make<TypeParam>(setting);
  for (Position newest = 0; newest < 60; ++newest) {
    (void)Script().decode(cache, 1);
    for_each_head(cache, [&](const std::vector<Position>& held) {
      for (Position sink = 0; sink < std::min<Position>(newest, 3); ++sink) {
        EXPECT_TRUE(std::binary_search(held.begin(), held.end(), sink));
      }
      for (Position recent = std::max<Position>(0, newest - 4); recent <= newest; ++recent) {
        EXPECT_TRUE(std::binary_search(held.begin(), held.end(), recent));
      }
    });
  }
}

TYPED_TEST(BoundedPolicyTest, TheProtectedPromptStays) {
  const Setting setting{.capacity = 16, .window = 3, .sinks = 1, .protect_prompt = true};
  auto cache = make<TypeParam>(setting);
  (void)Script().prefill(cache, 6);
  (void)Script().decode(cache, 30);
  (void)Script().prefill(cache, 3);
  (void)Script().decode(cache, 30);
  for_each_head(cache, [&](const std::vector<Position>& held) {
    for (const Position token : {0, 1, 2, 3, 4, 5, 36, 37, 38}) {
      EXPECT_TRUE(std::binary_search(held.begin(), held.end(), token)) << token;
    }
  });
}

TYPED_TEST(BoundedPolicyTest, HeadsDecideOnTheirOwn) {
  if (std::same_as<TypeParam, StreamingLLMContender>) return;  // age is the same in all heads
  auto cache = make<TypeParam>({.capacity = 24, .window = 4});
  bool heads_differ = false;
  bool layers_differ = false;
  for (int step = 0; step < 80; ++step) {
    (void)Script().decode(cache, 1);
    heads_differ |= kept(cache.policy(0, 0)) != kept(cache.policy(0, 1));
    layers_differ |= kept(cache.policy(0, 0)) != kept(cache.policy(1, 0));
  }
  EXPECT_TRUE(heads_differ);
  EXPECT_TRUE(layers_differ);
}

TEST(RandomPolicyTest, EvictsUniformlyAmongWhatIsNotProtected) {
  // Nine candidates at every step; over 9000 evictions of a fresh head each would be picked about
  // 1000 times, with a standard deviation of 30.
  std::vector<int> evicted(12, 0);
  for (std::uint64_t seed = 0; seed < 9000; ++seed) {
    morphkv::Random policy(
        {.capacity = 12, .seed = seed, .recent = 2, .sinks = 2, .protect_prompt = false});
    Position gone = no_position;
    for (Position t = 0; t < 13; ++t) gone = policy.place(t).evicted;
    ASSERT_NE(gone, no_position);
    ++evicted[static_cast<std::size_t>(gone)];
  }
  for (const std::size_t token : {0U, 1U, 11U}) EXPECT_EQ(evicted[token], 0);
  for (std::size_t token = 2; token < 11; ++token) EXPECT_NEAR(evicted[token], 1000, 150);
}

TEST(RandomPolicyTest, TheSeedDecides) {
  const auto run = [](std::uint64_t seed, std::size_t head) {
    morphkv::Random policy({.capacity = 12, .seed = seed}, head);
    for (Position t = 0; t < 60; ++t) EXPECT_EQ(policy.place(t).status, Status::ok);
    return kept(policy);
  };
  EXPECT_EQ(run(1, 0), run(1, 0));
  EXPECT_NE(run(1, 0), run(2, 0));
  EXPECT_NE(run(1, 0), run(1, 1));
}

}  // namespace
}  // namespace morphkv::testing::property_test
