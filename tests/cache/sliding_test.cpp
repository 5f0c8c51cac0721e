// SPDX-License-Identifier: Apache-2.0
// Layers whose attention slides, beside layers that a policy evicts from.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "support/attention_definition.hpp"
#include "support/contenders.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"

namespace morphkv::testing::sliding_test { namespace {

constexpr std::size_t windows[] = {0, 5, 0, 1, 40};
constexpr CacheShape shape{
    .layers = 5, .query_heads = 4, .kv_heads = 2, .head_dim = 8, .soft_cap = 4, .windows = windows};
constexpr CacheShape without{
    .layers = 5, .query_heads = 4, .kv_heads = 2, .head_dim = 8, .soft_cap = 4};

/// The newest tokens of a layer at `position`, by position.
std::vector<Position> newest(std::size_t layer, Position position) {
  const auto come = static_cast<std::size_t>(position) + 1;
  std::vector<Position> tokens(windows[layer] == 0 ? come : std::min(come, windows[layer]));
  std::iota(tokens.begin(), tokens.end(), position + 1 - static_cast<Position>(tokens.size()));
  return tokens;
}

template <class Contender>
class SlidingTest : public ::testing::Test {
 protected:
  static auto make(const CacheShape& model, std::size_t history = 0) {
    return KVCache<float, typename Contender::Policy>(
        model, Contender::options({.capacity = 14, .max_tokens = 200, .history = history}));
  }

  /// The outputs of the newest token, or of a block, in a layer.
  static void expect_outputs(std::size_t layer, Position first, std::span<const float> outputs) {
    const std::size_t width = shape.query_width();
    const Position end = first + static_cast<Position>(outputs.size() / width);
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      AttentionDefinition definition(shape, layer, head);
      for (Position position = 0; position < end; ++position) {
        const Tokens token = Script().at(shape, layer, position);
        definition.add(token);
        if (position < first) continue;
        const auto at = static_cast<std::size_t>(position - first) * width;
        definition.expect_output(token, newest(layer, position), outputs.subspan(at, width));
      }
    }
  }

  template <class Cache>
  static void expect_newest(const Cache& cache) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      if (windows[layer] == 0) continue;
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        const auto held = cache.positions(layer, head);
        std::vector<Position> sorted(held.begin(), held.end());
        std::sort(sorted.begin(), sorted.end());
        ASSERT_EQ(sorted, newest(layer, cache.next_position(layer) - 1)) << layer;
      }
    }
  }
};
TYPED_TEST_SUITE(SlidingTest, AllContenders);

/// Blocks and single tokens, in turn: a sliding layer holds its window and attends to no more; the
/// others are as in a cache without windows.
TYPED_TEST(SlidingTest, HoldsAndSeesTheWindow) {
  auto cache = this->make(shape);
  auto reference = this->make(without);
  const Script script;
  for (const std::size_t block : {3U, 0U, 1U, 9U, 4U, 50U, 7U}) {
    if (block > 9 && std::same_as<TypeParam, RandomContender>) continue;  // all protected
    const Position first = cache.next_position(0);
    const std::vector<float> outputs = script.prefill(cache, block);
    const std::vector<float> expected = script.prefill(reference, block);
    const std::size_t each = outputs.size() / shape.layers;
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const auto of_layer = std::span(outputs).subspan(layer * each, each);
      if (windows[layer] > 0) {
        this->expect_outputs(layer, first, of_layer);
      } else {
        ASSERT_TRUE(std::ranges::equal(of_layer, std::span(expected).subspan(layer * each, each)));
      }
    }
    this->expect_newest(cache);
    for (std::size_t step = 0; step < 8; ++step) {
      const Position position = cache.next_position(0);
      const std::vector<float> output = script.decode(cache, 1);
      (void)script.decode(reference, 1);
      for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const std::size_t width = shape.query_width();
        if (windows[layer] > 0) {
          this->expect_outputs(layer, position, std::span(output).subspan(layer * width, width));
        }
      }
      this->expect_newest(cache);
    }
    const auto state = state_of(cache);
    const auto expected_state = state_of(reference);
    for (std::size_t layer : {0U, 2U}) {
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        const std::size_t at = layer * shape.kv_heads + head;
        ASSERT_EQ(state[at], expected_state[at]);
      }
    }
    if (::testing::Test::HasFailure()) return;
  }
}

TYPED_TEST(SlidingTest, ADraftIsTakenBack) {
  auto cache = this->make(shape, 6);
  auto reference = this->make(shape, 6);
  const Script script;
  const Script rejected(2);
  for (auto* c : {&cache, &reference}) (void)script.prefill(*c, 9);
  for (const std::size_t draft : {1U, 6U, 3U, 5U, 6U}) {
    (void)script.decode(cache, 4);
    (void)script.decode(reference, 4);
    (void)rejected.decode(cache, draft);
    ASSERT_EQ(cache.rollback(draft), Status::ok);
    ASSERT_EQ(state_of(cache), state_of(reference)) << draft;
    // A block, of which all but two tokens are rejected.
    (void)script.prefill(cache, draft);
    const std::size_t kept = std::min(draft, std::size_t{2});
    ASSERT_EQ(cache.rollback(draft - kept), Status::ok);
    (void)script.prefill(reference, kept);
    ASSERT_EQ(state_of(cache), state_of(reference)) << draft;
    this->expect_newest(cache);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Sliding, ForksMovesAndResets) {
  const Script script;
  KVCache<float, MorphKV> cache(shape, {.capacity = 20});
  (void)script.prefill(cache, 30);
  auto fork = cache;
  ASSERT_EQ(script.decode(cache, 50), script.decode(fork, 50));
  ASSERT_EQ(state_of(cache), state_of(fork));
  cache.reset();
  KVCache<float, MorphKV> fresh(shape, {.capacity = 20});
  ASSERT_EQ(script.prefill(cache, 30), script.prefill(fresh, 30));
  ASSERT_EQ(script.decode(cache, 50), script.decode(fresh, 50));
}

TEST(Sliding, AnEngineMayAttend) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 20});
  KVCache<float, MorphKV> driven(shape, {.capacity = 20});
  const Script script;
  for (std::size_t step = 0; step < 60; ++step) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Tokens token = script.at(shape, layer, static_cast<Position>(step));
      std::vector<float> output(shape.query_width());
      for (auto* c : {&cache, &driven}) {
        ASSERT_EQ(c->append(layer, token.keys, token.values, static_cast<Position>(step)),
                  Status::ok);
      }
      ASSERT_EQ(cache.attend(layer, token.queries, std::span<float>(output)), Status::ok);
      if (windows[layer] > 0) continue;  // a sliding layer needs no row
      std::vector<float> rows(shape.query_heads * 64);
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        AttentionDefinition definition(shape, layer, head);
        for (Position p = 0; p <= static_cast<Position>(step); ++p) {
          definition.add(script.at(shape, layer, p));
        }
        for (std::size_t g = 0; g < shape.group(); ++g) {
          const auto weights = definition.weights(token, g, driven.positions(layer, head));
          std::copy(weights.begin(), weights.end(),
                    rows.begin() + static_cast<std::ptrdiff_t>((head * shape.group() + g) * 64));
        }
      }
      ASSERT_EQ(driven.observe(layer, rows, 64), Status::ok);
    }
  }
  ASSERT_EQ(state_of(cache), state_of(driven));
}

TEST(Sliding, TheNextSlotIsTheOneThatPlaceChooses) {
  MorphKV policy({.capacity = 20});
  policy.set_window(5);
  for (Position position = 0; position < 23; ++position) {
    const Slot next = policy.next_slot();
    ASSERT_EQ(policy.place(position).slot, next) << position;
  }
}

TEST(Sliding, LayersOfAPoolTakePagesForTheirWindows) {
  const MorphKV::Options options{.capacity = 20};
  using Pool = SequencePool<float, MorphKV>;
  std::size_t pages = 0;
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    pages += pages_for(shape.window(layer) == 0 ? 20 : shape.window(layer), 8);
  }
  std::vector<float> memory(3 * pages * Pool::page_elements(shape, 8));
  Pool pool(shape, memory, 8);
  KVCache<float, MorphKV> cache(shape, options);
  const auto id = pool.create(options);
  EXPECT_EQ(pool[id].storage().max_pages(), pages);
  const Script script;
  ASSERT_EQ(script.prefill(pool[id], 70), script.prefill(cache, 70));
  EXPECT_EQ(pool.free_pages(), 2 * pages);
  const auto fork = pool.fork(id);
  ASSERT_EQ(script.decode(pool[fork], 70), script.decode(cache, 70));
  EXPECT_EQ(pool.free_pages(), pages) << "every page was written";
}

TEST(Sliding, MemoryIsThatOfTheWindow) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 1000});
  EXPECT_EQ(cache.storage().slots(1, 0), 5U);
  EXPECT_EQ(cache.storage().slots(4, 1), 40U);
  EXPECT_EQ(cache.policy(4, 0).memory().scores, 0U);
  EXPECT_EQ(cache.policy(4, 0).memory().window, 0U);
}

TEST(Sliding, RefusalsNameTheWindow) {
  using Shared = KVCache<float, DecayedMax, SharedStorage<float>>;
  expect_refused([] { Shared(shape, {.capacity = 64, .recent = 8}, SharedBudget{}); },
                 "window = 5");
  constexpr std::size_t huge[] = {std::size_t{1} << 31U};
  expect_refused([&] { KVCache<float, MorphKV>({.windows = huge}, {.capacity = 64}); },
                 "window = 2147483648");
}

}  // namespace
}  // namespace morphkv::testing::sliding_test
