// SPDX-License-Identifier: Apache-2.0
// A cache over the engine's memory holds and computes what a cache over its own does, and touches
// nothing else.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/contenders.hpp"
#include "support/engine_memory.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"

namespace morphkv::testing::engine_storage_test { namespace {

const CacheShape shape{.layers = 2, .query_heads = 6, .kv_heads = 3, .head_dim = 24};

/// Outputs of one prompt, many steps and a later turn.
template <class Cache>
std::vector<float> live(Cache& cache, std::size_t prompt) {
  const Script script;
  std::vector<float> outputs = script.prefill(cache, prompt);
  for (const std::vector<float>& more :
       {script.decode(cache, 30), script.prefill(cache, 3), script.decode(cache, 30)}) {
    outputs.insert(outputs.end(), more.begin(), more.end());
  }
  return outputs;
}

template <class Contender>
class EngineStorageTest : public ::testing::Test {
 protected:
  using Policy = typename Contender::Policy;

  template <Scalar T>
  static void match_owned_memory() {
    const auto options = Contender::options({.capacity = 37, .window = 5, .max_tokens = 200});
    for (const MemoryKind& kind : memory_kinds) {
      SCOPED_TRACE(kind);
      KVCache<T, Policy> owned(shape, options);
      const std::size_t slots = owned.policy(0, 0).slots();
      EngineMemory<T> memory(shape, slots, kind);
      KVCache<T, Policy, EngineStorage<T>> cache(shape, options, memory.storage());
      const std::size_t prompt = std::same_as<Contender, RandomContender> ? 20 : 60;
      // The rows are summed in the same order wherever they lie, so not a bit may differ.
      ASSERT_EQ(live(cache, prompt), live(owned, prompt));
      ASSERT_EQ(state_of(cache), state_of(owned));
      std::size_t written = 0;
      for (std::size_t head = 0; head < shape.heads(); ++head) {
        written += 2 * cache.size(head / 3, head % 3) * shape.head_dim;
      }
      EXPECT_EQ(memory.elements() - memory.untouched_elements(), written);
      EXPECT_EQ(cache.memory().keys + cache.memory().values, 0U);
    }
  }
};

TYPED_TEST_SUITE(EngineStorageTest, AllContenders);

TYPED_TEST(EngineStorageTest, MatchesOwnedMemory) {
  this->template match_owned_memory<float>();
  this->template match_owned_memory<Eigen::bfloat16>();
}

using Cache = KVCache<float, MorphKV, EngineStorage<float>>;
const MorphKV::Options small{.capacity = 40, .window = 6, .history = 3};

TEST(EngineStorage, RollsBack) {
  for (const MemoryKind& kind : memory_kinds) {
    SCOPED_TRACE(kind);
    EngineMemory<float> memory(shape, 40, kind);
    Cache cache(shape, small, memory.storage());
    KVCache<float, MorphKV> owned(shape, small);
    (void)live(cache, 50);
    (void)live(owned, 50);
    const Script rejected(9);
    (void)rejected.decode(cache, 3);
    ASSERT_EQ(cache.rollback(3), Status::ok);
    ASSERT_EQ(state_of(cache), state_of(owned));
  }
}

TEST(EngineStorage, PagesComeWhenTheyAreNeeded) {
  const MemoryKind kind{"pages", HeadOrder::hnd, 16};
  EngineMemory<float> memory(shape, 40, kind);
  Cache cache(shape, small, memory.storage());
  cache.storage().set_pages({});
  const Script script;
  KVCache<float, MorphKV> owned(shape, small);
  for (std::size_t pages = 0; pages < 3; ++pages) {
    const auto before = state_of(cache);
    const Tokens token = script.at(shape, 0, cache.next_position(0));
    EXPECT_EQ(cache.append(0, token.keys, token.values, cache.next_position(0)), Status::no_memory);
    EXPECT_EQ(cache.prefill(0, token.queries, token.keys, token.values), Status::no_memory);
    EXPECT_EQ(state_of(cache), before);
    cache.storage().set_pages(std::span(memory.pages()).first(pages + 1));
    const std::size_t steps = std::min<std::size_t>(16, 40 - 16 * pages);
    ASSERT_EQ(script.decode(cache, steps), script.decode(owned, steps));
  }
  ASSERT_EQ(script.decode(cache, 50), script.decode(owned, 50));  // from here on, victims
  ASSERT_EQ(state_of(cache), state_of(owned));
}

TEST(EngineStorage, ForksIntoOtherMemory) {
  for (const MemoryKind& kind : memory_kinds) {
    SCOPED_TRACE(kind);
    EngineMemory<float> first(shape, 40, kind);
    EngineMemory<float> second(shape, 40, memory_kinds[0]);
    Cache origin(shape, small, first.storage());
    Cache fork(shape, small, second.storage());
    (void)live(origin, 50);
    fork.copy_from(origin);
    ASSERT_EQ(state_of(fork), state_of(origin));
    KVCache<float, MorphKV> owned(shape, small);
    (void)live(owned, 50);
    ASSERT_EQ(Script(1).decode(fork, 20), Script(1).decode(owned, 20));
    (void)Script(2).decode(origin, 20);
    ASSERT_EQ(state_of(fork), state_of(owned));
  }
}

TEST(EngineStorage, PlacementsAreReported) {
  EngineMemory<float> memory(shape, 40, memory_kinds[1]);
  Cache cache(shape, small, memory.storage());
  (void)Script().decode(cache, 45);
  const auto before = state_of(cache);
  const Tokens token = Script().at(shape, 1, 45);
  std::array<Placement, 3> placements;
  ASSERT_EQ(cache.append(1, token.keys, token.values, 45, placements), Status::ok);
  for (std::size_t head = 0; head < 3; ++head) {
    const Placement& placement = placements[head];
    EXPECT_EQ(before[3 + head].positions[placement.slot], placement.evicted);
    EXPECT_EQ(cache.positions(1, head)[placement.slot], 45);
  }
}

TEST(EngineStorage, AnEngineMayWriteItself) {
  EngineMemory<float> memory(shape, 40, memory_kinds[3]);
  Cache cache(shape, small, memory.storage());
  KVCache<float, MorphKV> owned(shape, small);
  const Script script;
  for (Position position = 0; position < 60; ++position) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Tokens token = script.at(shape, layer, position);
      std::array<Placement, 3> placements;
      ASSERT_EQ(cache.place(layer, position, placements), Status::ok);
      for (std::size_t head = 0; head < 3; ++head) {
        const Slot slot = placements[head].slot;
        const auto row = static_cast<std::ptrdiff_t>(head * shape.head_dim);
        std::copy_n(token.keys.begin() + row, shape.head_dim,
                    cache.storage().keys(layer, head)[slot]);
        std::copy_n(token.values.begin() + row, shape.head_dim,
                    cache.storage().values(layer, head)[slot]);
      }
      std::vector<float> output(token.queries.size());
      ASSERT_EQ(cache.attend(layer, token.queries, output), Status::ok);
    }
  }
  (void)script.decode(owned, 60);
  EXPECT_EQ(state_of(cache), state_of(owned));
}

TEST(EngineStorage, RefusesWhatDoesNotFit) {
  std::vector<float> memory(100'000);
  const std::vector<LayerMemory<float>> one{{memory.data(), memory.data()}};
  const std::vector<LayerMemory<float>> null{{memory.data(), nullptr}, {nullptr, nullptr}};
  const std::vector<LayerMemory<float>> two{{memory.data(), memory.data()},
                                            {memory.data(), memory.data()}};
  using Storage = EngineStorage<float>;
  const auto make = [&](const auto& layers, const auto&... rest) {
    (void)Storage(shape, layers, rest..., HeadOrder::nhd);
  };
  expect_refused([&] { make(one, std::size_t{40}); }, "layers of memory = 1");
  expect_refused([&] { make(null, std::size_t{40}); }, "a layer's memory = null");
  expect_refused([&] { make(two, PageTable{{}, 0}); }, "page_size = 0");
  expect_refused(
      [&] {
        (void)Storage(shape, two, 40, MemoryStrides{24, 23, 0});
      },
      "stride of a slot = 23");
  expect_refused([&] { (void)Cache(shape, small, Storage(shape, two, 39, HeadOrder::nhd)); },
                 "slots of memory = 39");
  expect_refused(
      [&] {
        (void)Cache(shape, small, Storage(shape, two, 80, HeadOrder::nhd), Budget::adaptive());
      },
      "budget = adaptive");
}

TEST(EngineStorage, PagesAreCheckedByEntry) {
  const MemoryKind kind{"pages", HeadOrder::hnd, 16};
  EngineMemory<float> memory(shape, 40, kind);
  Cache cache(shape, small, memory.storage());
  (void)Script().decode(cache, 20);
  const auto before = state_of(cache);
  const std::vector<std::int32_t> padded{1, 3, -1};
  const std::vector<std::int32_t> repeated{5, 1, 5};
  expect_refused([&] { cache.storage().set_pages(padded); }, "pages[2] = -1");
  expect_refused([&] { cache.storage().set_pages(repeated); }, "pages[2] = 5");
  std::vector<float> pool(100'000);
  const std::vector<LayerMemory<float>> good{{pool.data(), pool.data()},
                                             {pool.data(), pool.data()}};
  expect_refused(
      [&] {
        (void)EngineStorage<float>(shape, good, PageTable{padded, 16}, HeadOrder::nhd);
      },
      "pages[2] = -1");
  EXPECT_EQ(state_of(cache), before);
  EXPECT_EQ(cache.storage().slots(0, 0), 48U) << "the table is the one of before";
  KVCache<float, MorphKV> owned(shape, small);
  (void)Script().decode(owned, 20);
  EXPECT_EQ(Script().decode(cache, 40), Script().decode(owned, 40));

  EngineMemory<float> strided(shape, 40, memory_kinds[0]);
  Cache flat(shape, small, strided.storage());
  expect_refused([&] { flat.storage().set_pages(memory.pages()); }, "pages = 3");
}

TEST(EngineStorage, NumbersOfTheMemoryAreChecked) {
  std::vector<float> memory(100'000);
  const std::vector<LayerMemory<float>> two{{memory.data(), memory.data()},
                                            {memory.data(), memory.data()}};
  using Storage = EngineStorage<float>;
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  const std::string number = std::to_string(most);
  expect_refused([&] { (void)Storage(shape, two, most, HeadOrder::nhd); }, "slots = " + number);
  expect_refused(
      [&] {
        (void)Storage(shape, two, PageTable{{}, most}, HeadOrder::nhd);
      },
      "page_size = " + number);
  expect_refused(
      [&] {
        (void)Storage(shape, two, 40, MemoryStrides{23, 72, 0});
      },
      "stride of a head = 23");
  const CacheShape one_head{.layers = 2, .head_dim = 24};
  const Storage storage(one_head, two, 40, MemoryStrides{0, 24, 0});  // which has no stride
  EXPECT_EQ(storage.slots(0, 0), 40U);
  expect_refused(
      [&] {
        (void)Storage(shape, two, PageTable{{}, 16}, MemoryStrides{24, 72, 23});
      },
      "stride of a page = 23");
  expect_refused([&] { (void)Storage({.head_dim = 0}, two, 40, HeadOrder::nhd); }, "head_dim = 0");
}

TEST(EngineStorage, AForkNeedsTheSameOptions) {
  EngineMemory<float> first(shape, 40, memory_kinds[0]);
  EngineMemory<float> second(shape, 40, memory_kinds[1]);
  Cache origin(shape, small, first.storage());
  (void)live(origin, 50);
  const auto refuses = [&](MorphKV::Options options) {
    Cache fork(shape, options, second.storage());
    (void)Script(4).decode(fork, 3);
    const auto before = state_of(fork);
    expect_refused([&] { fork.copy_from(origin); }, "other = a cache of other options or budget");
    EXPECT_EQ(state_of(fork), before);
  };
  refuses({.capacity = 40, .window = 6, .fusion = Fusion::sum, .history = 3});
  refuses({.capacity = 40, .window = 5, .history = 3});
  refuses({.capacity = 40, .window = 6, .group = GroupFusion::mean, .history = 3});
  refuses({.capacity = 40, .window = 6, .sinks = 3, .history = 3});
  refuses({.capacity = 40, .window = 6, .history = 4});
  refuses({.capacity = 39, .window = 6, .history = 3});
}

TEST(PagedBatch, TablesAreCheckedByEntry) {
  const std::vector<std::int32_t> indptr{0, 3, 2, 9};
  const std::vector<std::int32_t> negative{0, -1};
  const std::vector<std::int32_t> indices{7, 2, 9, 4};
  const std::vector<std::int32_t> last{5, 0, 17};
  const PagedBatch batch{indptr, indices, last, 16};
  EXPECT_EQ(batch.sequence(0).pages.size(), 3U);
  expect_refused([&] { (void)batch.sequence(1); }, "indptr[2] = 2");
  expect_refused([&] { (void)batch.sequence(2); }, "indptr[3] = 9");
  expect_refused([&] { (void)batch.sequence(3); }, "sequence = 3");
  expect_refused([&] { (void)PagedBatch{}.sequence(0); }, "sequence = 0");
  expect_refused(
      [&] {
        (void)PagedBatch{negative, indices, last, 16}.sequence(0);
      },
      "indptr[1] = -1");
  const std::vector<std::int32_t> one{0, 1};
  expect_refused(
      [&] {
        (void)PagedBatch{one, indices, {&last[2], 1}, 16}.slots_in_use(0);
      },
      "last_page_len[0] = 17");
}

TEST(PagedBatch, SpeaksTheWordsOfPagedAttention) {
  const std::vector<std::int32_t> indptr{0, 3, 3, 4};
  const std::vector<std::int32_t> indices{7, 2, 9, 4};
  const std::vector<std::int32_t> last{5, 0, 16};
  const PagedBatch batch{indptr, indices, last, 16};
  EXPECT_EQ(batch.slots_in_use(0), 37U);
  EXPECT_EQ(batch.slots_in_use(1), 0U);
  EXPECT_EQ(batch.slots_in_use(2), 16U);
  EXPECT_EQ(batch.sequence(0).pages[2], 9);
  EXPECT_TRUE(batch.sequence(1).pages.empty());
  EXPECT_EQ(batch.sequence(2).pages[0], 4);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t slots = batch.slots_in_use(i);
    EXPECT_EQ(pages_for(slots, 16), batch.sequence(i).pages.size());
    EXPECT_EQ(last_page_len(slots, 16), static_cast<std::size_t>(last[i]));
  }
}

}  // namespace
}  // namespace morphkv::testing::engine_storage_test
