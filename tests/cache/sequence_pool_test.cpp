// SPDX-License-Identifier: Apache-2.0
// Sequences of a pool come, go and are forked, and each is what it would be alone.
#include "morphkv/cache/sequence_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/allocation_counter.hpp"
#include "support/contenders.hpp"
#include "support/errors.hpp"
#include "support/pool_duel.hpp"
#include "support/random.hpp"
#include "support/script.hpp"

namespace morphkv::testing::sequence_pool_test { namespace {

const CacheShape shape{.layers = 2, .query_heads = 6, .kv_heads = 3, .head_dim = 8};
const MorphKV::Options options{.capacity = 20, .window = 4};
using Pool = SequencePool<Eigen::half, MorphKV>;
using Alone = KVCache<Eigen::half, MorphKV>;
constexpr std::size_t page_size = 4;

std::vector<Eigen::half> memory_for(std::size_t pages) {
  return std::vector<Eigen::half>(pages * Pool::page_elements(shape, page_size) + 3);
}

// ---- Scripts against caches that own their memory

template <class T, class Contender>
struct Case {
  using Element = T;
  using Kind = Contender;
};

template <class OneCase>
class SequencePoolTest : public ::testing::Test {};
using Cases =
    ::testing::Types<Case<float, MorphKVSum>, Case<float, DecayedMaxWithPins>,
                     Case<float, H2OPlain>, Case<float, SnapKVAverage>, Case<float, FullContender>,
                     Case<Eigen::half, MorphKVMax>, Case<Q8_0, DecayedMaxOfAll>>;
TYPED_TEST_SUITE(SequencePoolTest, Cases);

template <class Contender>
typename Contender::Policy::Options draw_options(Random& random) {
  return Contender::options({.capacity = 8 + random.below(17),
                             .window = 4,
                             .sinks = 1,
                             .max_tokens = 40,
                             .history = random.chance(0.7) ? std::size_t{3} : 0});
}

template <class T, class Contender>
void live(std::size_t size, HeadOrder order, std::size_t rounds) {
  using Duel = PoolDuel<T, Contender>;
  const CacheShape model{.layers = 2,
                         .query_heads = 4,
                         .kv_heads = 2,
                         .head_dim = Quantised<T> ? std::size_t{64} : std::size_t{8},
                         .value_dim = Quantised<T> ? std::size_t{32} : std::size_t{12}};
  Duel duel(model, 2 + 150 / size, size, order, size);
  Random random(31 * size);
  const auto draw = [&](std::vector<typename Duel::Id> ids) {
    std::erase_if(ids, [&](auto) { return random.chance(0.3); });
    for (std::size_t i = ids.size(); i > 1; --i) std::swap(ids[i - 1], ids[random.below(i)]);
    return ids;
  };
  for (std::size_t round = 0; round < rounds; ++round) {
    const auto ids = duel.ids();
    const std::size_t event = random.below(11);
    const auto any = [&] { return ids[random.below(ids.size())]; };
    if (ids.empty() || (event < 2 && ids.size() < 9)) {
      const auto drawn = draw_options<Contender>(random);
      const std::size_t least = capacity_of(drawn);
      duel.create(drawn, random.chance(0.5)
                             ? Budget::per_head({least + 3, least + 8, least, least + 5})
                             : Budget::uniform());
    } else if (event < 4 && ids.size() < 9) {
      duel.fork(any());
    } else if (event == 4) {
      duel.release(any());
    } else if (event == 5) {
      duel.reset(any());
    } else if (event == 6) {
      const auto id = any();
      duel.rollback(id, random.below(4));
    } else if (event < 9) {
      const auto chosen = draw(ids);
      std::vector<std::size_t> lengths(chosen.size());
      for (std::size_t& length : lengths) {
        length = random.chance(0.4) ? random.below(4) : random.below(30);
      }
      duel.prefill(chosen, lengths, SerialExecutor());
    }
    const auto chosen = draw(duel.ids());
    duel.step(chosen, random.chance(0.85), SerialExecutor());
    duel.compare();
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(duel.events().refusals, 10U);
  if (size > 1) {  // a page of one slot is copied only where tokens are replaced
    EXPECT_GT(duel.events().copies, 20U);
  }
  EXPECT_GT(duel.events().blocks, 20U);
  EXPECT_GT(duel.events().rollbacks, 1U);
  EXPECT_GT(duel.events().most_sequences, 5U);
  duel.end();
}

TYPED_TEST(SequencePoolTest, EverySequenceIsWhatItWouldBeAlone) {
  using T = typename TypeParam::Element;
  using Contender = typename TypeParam::Kind;
  for (const std::size_t size : {1U, 3U, 16U}) {
    SCOPED_TRACE("pages of " + std::to_string(size));
    live<T, Contender>(size, size == 3 ? HeadOrder::nhd : HeadOrder::hnd, 220);
    if (this->HasFatalFailure()) return;
  }
}

// ---- Pages

/// The bytes of all pages of a sequence.
std::vector<std::byte> bytes_of(const Pool& pool, const std::vector<Eigen::half>& memory,
                                Pool::Id id) {
  std::vector<std::byte> bytes;
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    for (const std::int32_t page : pool[id].storage().pages(layer).pages) {
      const std::size_t elements = pool.layout().elements();
      const auto part = std::as_bytes(
          std::span(memory).subspan(static_cast<std::size_t>(page) * elements, elements));
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
  }
  return bytes;
}

TEST(SequencePool, SequencesTakePagesWhileTheyGrow) {
  std::vector<Eigen::half> memory = memory_for(30);
  Pool pool(shape, memory, page_size);
  EXPECT_EQ(pool.pages(), 30U);
  EXPECT_EQ(pool.free_pages(), 30U);
  EXPECT_EQ(pool.page_size(), page_size);
  const Pool::Id id = pool.create({.capacity = 18, .window = 4, .history = 4});
  EXPECT_EQ(pool[id].storage().max_pages(), 2U * 5);
  for (const std::size_t layer : {0U, 1U}) EXPECT_EQ(pool[id].storage().slots(layer, 0), 5U * 4);
  const Script script;
  for (std::size_t tokens = 1; tokens <= 40; ++tokens) {
    (void)script.decode(pool[id], 1);
    const std::size_t used = 2 * ((std::min<std::size_t>(tokens, 18) + 3) / 4);
    ASSERT_EQ(pool.free_pages(), 30 - used);
  }
  pool[id].reset();
  EXPECT_EQ(pool.free_pages(), 30U);
  (void)script.prefill(pool[id], 7);
  EXPECT_EQ(pool.free_pages(), 26U);
  (void)script.decode(pool[id], 2);
  EXPECT_EQ(pool.free_pages(), 24U);
  ASSERT_EQ(pool[id].rollback(1), Status::ok);
  EXPECT_EQ(pool.free_pages(), 26U) << "8 tokens fit in two pages per layer";
  pool.release(id);
  EXPECT_EQ(pool.free_pages(), 30U);
}

TEST(SequencePool, AStepWithoutAPageChangesNothingAndSucceedsLater) {
  std::vector<Eigen::half> memory = memory_for(5);
  Pool pool(shape, memory, page_size);
  const Pool::Id first = pool.create(options);
  const Pool::Id second = pool.create(options);
  Alone alone(shape, options);
  const Script script;
  (void)script.prefill(pool[first], 8);  // four pages
  (void)script.prefill(pool[second], 0);
  const std::vector<Pool::Id> ids{second};
  const std::vector<std::int32_t> indptr{0, 3};
  std::vector<Status> statuses(1);
  std::vector<float> outputs(3 * shape.output_width());
  const auto prefill = [&](std::size_t layer) {
    const Tokens block = script.at(shape, layer, 0, 3);
    return pool.prefill(layer, ids, indptr, block.queries, block.keys, block.values, outputs,
                        statuses);
  };
  ASSERT_EQ(prefill(0), Status::ok);
  const auto before = pool[second].save();
  EXPECT_EQ(prefill(1), Status::no_memory);
  EXPECT_EQ(statuses[0], Status::no_memory);
  const Tokens token = script.at(shape, 1, 0);
  std::vector<Placement> placements(3, {Status::full, 77, 77});
  EXPECT_EQ(pool.append(1, ids, token.keys, token.values, statuses, placements), Status::no_memory);
  EXPECT_EQ(pool.place(1, ids, placements, statuses), Status::no_memory);
  EXPECT_EQ(placements[0].slot, 77U) << "untouched";
  EXPECT_EQ(pool[second].save(), before);
  EXPECT_EQ(pool.free_pages(), 0U);
  pool.release(first);
  ASSERT_EQ(prefill(1), Status::ok);
  (void)script.prefill(alone, 3);
  EXPECT_EQ(pool[second].save(), alone.save());
}

TEST(SequencePool, AForkSharesPagesUntilTheyAreWritten) {
  std::vector<Eigen::half> memory = memory_for(40);
  Pool pool(shape, memory, page_size);
  const Script script;
  MorphKV::Options without_sinks = options;
  without_sinks.sinks = 0;  // whose page no token is written to
  const Pool::Id origin = pool.create(without_sinks);
  Alone alone(shape, without_sinks);
  (void)script.prefill(pool[origin], 30);  // full: five pages per layer
  (void)script.prefill(alone, 30);
  ASSERT_EQ(pool.free_pages(), 30U);
  const MemoryUsage one = pool.memory();
  const Pool::Id fork = pool.fork(origin);
  EXPECT_EQ(pool.free_pages(), 30U);
  EXPECT_EQ(pool.memory().keys, one.keys) << "a shared page counts once";
  EXPECT_EQ(pool.memory().values, one.values);
  EXPECT_EQ(pool.memory().scratch, 2 * one.scratch) << "but the bookkeeping is the fork's own";

  const auto before = bytes_of(pool, memory, origin);
  ASSERT_EQ(bytes_of(pool, memory, fork), before);
  Alone other = alone;
  for (int step = 0; step < 60; ++step) {  // until all pages are written
    ASSERT_EQ(Script(2).decode(pool[fork], 1), Script(2).decode(other, 1));
    ASSERT_EQ(bytes_of(pool, memory, origin), before) << "the origin's memory is not written";
  }
  EXPECT_EQ(pool[fork].save(), other.save());
  EXPECT_EQ(pool[origin].save(), alone.save());
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    std::set<std::int32_t> pages;
    for (const Pool::Id id : {origin, fork}) {
      for (const std::int32_t page : pool[id].storage().pages(layer).pages) pages.insert(page);
    }
    EXPECT_EQ(pages.size(), 10U) << "nothing is shared any more";
  }
  EXPECT_EQ(pool.free_pages(), 20U);
  const std::vector<std::int32_t> table(pool[origin].storage().pages(0).pages.begin(),
                                        pool[origin].storage().pages(0).pages.end());
  ASSERT_EQ(script.decode(pool[origin], 30), script.decode(alone, 30));
  EXPECT_TRUE(std::equal(table.begin(), table.end(), pool[origin].storage().pages(0).pages.begin()))
      << "pages of its own are not copied";
  pool.release(origin);
  EXPECT_EQ(pool.free_pages(), 30U);
  ASSERT_EQ(Script(2).decode(pool[fork], 30), Script(2).decode(other, 30));
}

TEST(SequencePool, AForkOutlivesItsOriginAndTakesASuffix) {
  std::vector<Eigen::half> memory = memory_for(16);
  Pool pool(shape, memory, page_size);
  const Script script;
  const Pool::Id origin = pool.create(options);
  (void)script.prefill(pool[origin], 9);  // six pages, two of them half empty
  Alone alone(shape, options);
  (void)script.prefill(alone, 9);
  const Pool::Id fork = pool.fork(origin);
  Alone suffix = alone;
  ASSERT_EQ(Script(5).prefill(pool[fork], 4), Script(5).prefill(suffix, 4));
  EXPECT_EQ(pool.free_pages(), 6U) << "per layer a copy of the last page, and one page more";
  EXPECT_EQ(pool[fork].save(), suffix.save());
  EXPECT_EQ(pool[origin].save(), alone.save());
  pool.release(origin);
  EXPECT_EQ(pool.free_pages(), 8U);
  ASSERT_EQ(script.decode(pool[fork], 7), script.decode(suffix, 7));
  EXPECT_EQ(pool.free_pages(), 6U);
}

TEST(SequencePool, NoPageIsTakenForACallThatNeedsMore) {
  // Two pages per layer and head are shared; a step needs up to three, and two are free.
  std::vector<Eigen::half> memory = memory_for(12);
  Pool pool(shape, memory, page_size);
  const Script script;
  const Pool::Id origin = pool.create(options);
  (void)script.prefill(pool[origin], 30);
  const Pool::Id fork = pool.fork(origin);
  const std::vector<Pool::Id> ids{fork};
  std::vector<Status> statuses(1);
  std::size_t refusals = 0;
  std::size_t steps = 0;
  for (; steps < 100 && refusals == 0; ++steps) {
    const std::size_t layer = steps % 2;
    const Tokens token = Script(3).at(shape, layer, pool[fork].next_position(layer));
    const std::size_t free = pool.free_pages();
    const auto before = pool[fork].save();
    const Status status = pool.append(layer, ids, token.keys, token.values, statuses);
    if (status == Status::ok) {
      std::vector<float> output(shape.output_width());
      ASSERT_EQ(pool.attend(layer, ids, token.queries, output, statuses), Status::ok);
      continue;
    }
    ASSERT_EQ(status, Status::no_memory);
    EXPECT_EQ(pool.free_pages(), free);
    EXPECT_EQ(pool[fork].save(), before);
    ++refusals;
  }
  EXPECT_EQ(refusals, 1U);
  pool.release(origin);
  (void)Script(3).decode(pool[fork], 0);
  const std::size_t layer = (steps - 1) % 2;
  const Tokens token = Script(3).at(shape, layer, pool[fork].next_position(layer));
  EXPECT_EQ(pool.append(layer, ids, token.keys, token.values, statuses), Status::ok)
      << "nothing is shared any more";
}

TEST(SequencePool, RollbackRestoreAndRenumberLeaveTheOtherAlone) {
  using Floats = SequencePool<float, MorphKV>;
  MorphKV::Options with_history = options;
  with_history.history = 6;
  std::vector<float> memory(60 * Floats::page_elements(shape, page_size));
  Floats pool(shape, memory, page_size);
  KVCache<float, MorphKV> alone(shape, with_history);
  const Script script;
  const std::vector<float> frequencies{1.0F, 0.1F, 0.01F};
  const Rope rope{.frequencies = frequencies};
  const auto origin = pool.create(with_history);
  const auto live = [&](auto& cache) {
    (void)script.prefill(cache, 30);
    (void)script.decode(cache, 3);
    (void)Script(4).prefill(cache, 6);
  };
  live(pool[origin]);
  live(alone);
  const auto change = [&](const auto& call) {
    const auto fork = pool.fork(origin);
    auto twin = alone;
    const std::size_t free = pool.free_pages();
    call(pool[fork]);
    call(twin);
    EXPECT_EQ(pool[fork].save(), twin.save());
    EXPECT_EQ(pool[origin].save(), alone.save());
    ASSERT_EQ(script.decode(pool[fork], 9), script.decode(twin, 9));
    EXPECT_EQ(pool[origin].save(), alone.save());
    EXPECT_LT(pool.free_pages(), free) << "something was copied";
    pool.release(fork);
  };
  change([](auto& cache) { ASSERT_EQ(cache.rollback(6), Status::ok); });
  change([](auto& cache) { ASSERT_EQ(cache.rollback(2), Status::ok); });
  change([&](auto& cache) { ASSERT_EQ(cache.renumber(rope), Status::ok); });
  change([](auto& cache) { ASSERT_EQ(cache.renumber(), Status::ok); });
  KVCache<float, MorphKV> saved(shape, with_history);
  (void)Script(8).prefill(saved, 11);
  change([&](auto& cache) { cache.restore(saved.save()); });
  const std::size_t free = pool.free_pages();
  pool[origin].restore(saved.save());
  EXPECT_EQ(pool.free_pages(), free + 2 * 2) << "11 tokens need three of five pages per layer";
}

/// The tokens of a block that stay in a rollback may come to other slots than they had.
TEST(SequencePool, ABlockThatIsTakenBackInPartMayNeedOtherPages) {
  MorphKV::Options with_history = options;
  with_history.history = 6;
  using Floats = SequencePool<float, MorphKV>;
  std::size_t elsewhere = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Script script(seed);
    KVCache<float, MorphKV> alone(shape, with_history);
    (void)script.prefill(alone, 30);
    (void)script.prefill(alone, 6);
    std::set<std::pair<std::size_t, Slot>> block;  // pages of the block, which has one per slot
    const auto for_each_slot_of_block = [&](const auto& use) {
      for (std::size_t head = 0; head < shape.heads(); ++head) {
        const std::size_t layer = head / shape.kv_heads;
        const auto positions = alone.positions(layer, head % shape.kv_heads);
        for (Slot slot = 0; slot < positions.size(); ++slot) {
          if (positions[slot] >= 30) use(std::pair(layer, slot));
        }
      }
    };
    for_each_slot_of_block([&](const auto& page) { block.insert(page); });
    std::vector<float> memory((40 + block.size()) * Floats::page_elements(shape, 1));
    Floats pool(shape, memory, 1);
    const auto origin = pool.create(with_history);
    (void)script.prefill(pool[origin], 30);
    (void)script.prefill(pool[origin], 6);
    const auto fork = pool.fork(origin);
    const auto before = pool[fork].save();
    EXPECT_EQ(pool[fork].rollback(2), Status::no_memory);
    EXPECT_EQ(pool.free_pages(), block.size());
    EXPECT_EQ(pool[fork].save(), before);
    pool.release(origin);
    ASSERT_EQ(pool[fork].rollback(2), Status::ok);
    ASSERT_EQ(alone.rollback(2), Status::ok);
    EXPECT_EQ(pool[fork].save(), alone.save());
    for_each_slot_of_block([&](const auto& page) { elsewhere += block.contains(page) ? 0U : 1U; });
  }
  EXPECT_GT(elsewhere, 0U);
}

/// The pages of a rollback in part: those of the tokens that go, and one for each that comes again.
TEST(SequencePool, ABlockThatIsTakenBackInPartNeedsAPageForEachToken) {
  const CacheShape one{.layers = 1, .head_dim = 8};
  MorphKV::Options with_history = options;
  with_history.history = 6;
  using Floats = SequencePool<float, MorphKV>;
  const Script script;
  KVCache<float, MorphKV> alone(one, with_history);
  (void)script.prefill(alone, 30);
  (void)script.prefill(alone, 6);
  const auto written =
      std::ranges::count_if(alone.positions(0, 0), [](Position p) { return p >= 30; });
  const std::size_t enough = static_cast<std::size_t>(written) + 4;  // of 20 that are shared
  for (const std::size_t free : {enough - 1, enough}) {
    std::vector<float> memory((20 + free) * Floats::page_elements(one, 1));
    Floats pool(one, memory, 1);
    const auto origin = pool.create(with_history);
    (void)script.prefill(pool[origin], 30);
    (void)script.prefill(pool[origin], 6);
    const auto fork = pool.fork(origin);
    ASSERT_EQ(pool.free_pages(), free);
    EXPECT_EQ(pool[fork].rollback(2), free == enough ? Status::ok : Status::no_memory);
  }
}

TEST(SequencePool, CallsBesideStepsNeedPagesToo) {
  MorphKV::Options with_history = options;
  with_history.history = 6;
  using Floats = SequencePool<float, MorphKV>;
  std::vector<float> memory(12 * Floats::page_elements(shape, page_size));
  Floats pool(shape, memory, page_size);
  const Script script;
  const auto origin = pool.create(with_history);
  (void)script.prefill(pool[origin], 30);
  (void)script.decode(pool[origin], 5);
  const auto small = pool.create({.capacity = 8, .window = 4});
  (void)script.prefill(pool[small], 4);
  ASSERT_EQ(pool.free_pages(), 0U);
  const auto fork = pool.fork(origin);
  const auto before = pool[fork].save();
  const std::vector<float> frequencies{1.0F};
  const Rope rope{.frequencies = frequencies};
  EXPECT_EQ(pool[fork].rollback(5), Status::no_memory);
  EXPECT_EQ(pool[fork].renumber(rope), Status::no_memory);
  KVCache<float, MorphKV> other(shape, with_history);
  (void)Script(2).prefill(other, 20);
  expect_refused([&] { pool[fork].restore(other.save()); }, "free pages = too few");
  EXPECT_EQ(pool[fork].save(), before);
  EXPECT_EQ(pool[origin].save(), before);
  pool.release(origin);
  EXPECT_EQ(pool[fork].rollback(5), Status::ok);
  EXPECT_EQ(pool[fork].renumber(rope), Status::ok);
  pool[fork].restore(other.save());
  EXPECT_EQ(pool[fork].save(), other.save());
}

TEST(SequencePool, PagesLieAsTheLayoutSays) {
  const CacheShape model{
      .layers = 2, .query_heads = 2, .kv_heads = 2, .head_dim = 3, .value_dim = 2};
  using Floats = SequencePool<float, StreamingLLM>;
  for (const HeadOrder order : {HeadOrder::hnd, HeadOrder::nhd}) {
    const std::size_t size = 4;
    EXPECT_EQ(Floats::page_elements(model, size), 4U * 2 * (3 + 2));
    std::vector<float> memory(9 * Floats::page_elements(model, size));
    Floats pool(model, memory, size, order);
    (void)pool.create({.capacity = 8});
    const auto id = pool.create({.capacity = 10});
    (void)Script().prefill(pool[id], 9);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const PageTable table = pool[id].storage().pages(layer);
      ASSERT_EQ(table.pages.size(), 3U);
      EXPECT_EQ(table.page_size, size);
      for (std::size_t head = 0; head < 2; ++head) {
        for (std::size_t slot = 0; slot < 9; ++slot) {
          const auto page = static_cast<std::size_t>(table.pages[slot / size]);
          const std::size_t row =
              order == HeadOrder::hnd ? head * size + slot % size : slot % size * 2 + head;
          const float* begin = memory.data() + page * pool.layout().elements();
          EXPECT_EQ(pool[id].key(layer, head, slot).data(), begin + row * 3);
          EXPECT_EQ(pool[id].value(layer, head, slot).data(), begin + size * 2 * 3 + row * 2);
        }
      }
    }
  }
}

TEST(SequencePool, AnEngineWritesToPagesThatAreNotShared) {
  using Floats = SequencePool<float, MorphKV>;
  std::vector<float> memory(40 * Floats::page_elements(shape, page_size));
  Floats pool(shape, memory, page_size);
  const Script script;
  const auto origin = pool.create(options);
  (void)script.prefill(pool[origin], 30);
  const auto fork = pool.fork(origin);
  KVCache<float, MorphKV> twin(shape, options);
  (void)script.prefill(twin, 30);
  const auto before = pool[origin].save();
  const std::vector<Floats::Id> ids{fork};
  std::vector<Status> statuses(1);
  std::vector<Placement> placements(shape.kv_heads);
  for (int step = 0; step < 30; ++step) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Tokens token = Script(7).at(shape, layer, pool[fork].next_position(layer));
      ASSERT_EQ(pool.place(layer, ids, placements, statuses), Status::ok);
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        const std::size_t slot = placements[head].slot;
        std::copy_n(&token.keys[head * 8], 8, pool[fork].storage().keys(layer, head)[slot]);
        std::copy_n(&token.values[head * 8], 8, pool[fork].storage().values(layer, head)[slot]);
      }
      std::vector<float> output(shape.output_width());
      ASSERT_EQ(pool.attend(layer, ids, token.queries, output, statuses), Status::ok);
    }
    (void)Script(7).decode(twin, 1);
    ASSERT_EQ(pool[fork].save(), twin.save());
    ASSERT_EQ(pool[origin].save(), before);
  }
  EXPECT_EQ(pool.place(0, ids, std::span(placements).first(2), statuses), Status::wrong_size);
  EXPECT_EQ(pool.place(2, ids, placements, statuses), Status::wrong_size);
  EXPECT_EQ(pool.place(0, ids, placements, {}), Status::wrong_size);
  EXPECT_EQ(pool[fork].save(), twin.save());
}

TEST(SequencePool, AppendAndPlaceReportTheSlotsOfEverySequence) {
  using Floats = SequencePool<float, MorphKV>;
  std::vector<float> memory(60 * Floats::page_elements(shape, page_size));
  Floats pool(shape, memory, page_size);
  std::vector<Floats::Id> ids;
  std::vector<KVCache<float, MorphKV>> alone;
  for (const std::size_t capacity : {9U, 14U, 20U}) {
    const MorphKV::Options own{.capacity = capacity, .window = 4};
    ids.push_back(pool.create(own));
    alone.emplace_back(shape, own);
  }
  std::vector<Status> statuses(ids.size());
  std::vector<Placement> placements(ids.size() * shape.kv_heads);
  std::vector<Placement> expected(shape.kv_heads);
  std::vector<float> output(shape.output_width());
  for (int step = 0; step < 30; ++step) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      std::vector<float> keys;
      std::vector<float> values;
      std::vector<float> queries;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const Tokens token = Script(i).at(shape, layer, step);
        keys.insert(keys.end(), token.keys.begin(), token.keys.end());
        values.insert(values.end(), token.values.begin(), token.values.end());
        queries.insert(queries.end(), token.queries.begin(), token.queries.end());
      }
      ASSERT_EQ(step % 2 == 0 ? pool.append(layer, ids, keys, values, statuses, placements)
                              : pool.place(layer, ids, placements, statuses),
                Status::ok);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const Tokens token = Script(i).at(shape, layer, step);
        ASSERT_EQ(alone[i].append(layer, token.keys, token.values, step, expected), Status::ok);
        for (std::size_t head = 0; head < shape.kv_heads; ++head) {
          const Placement& placement = placements[i * shape.kv_heads + head];
          ASSERT_EQ(placement.slot, expected[head].slot) << "sequence " << i << ", head " << head;
          ASSERT_EQ(placement.evicted, expected[head].evicted);
          if (step % 2 == 0) continue;
          const auto& storage = pool[ids[i]].storage();
          std::copy_n(&token.keys[head * 8], 8, storage.keys(layer, head)[placement.slot]);
          std::copy_n(&token.values[head * 8], 8, storage.values(layer, head)[placement.slot]);
        }
        ASSERT_EQ(alone[i].attend(layer, token.queries, std::span<float>(output)), Status::ok);
      }
      std::vector<float> outputs(ids.size() * shape.output_width());
      ASSERT_EQ(pool.attend(layer, ids, queries, outputs, statuses), Status::ok);
      ASSERT_EQ(std::vector<float>(outputs.end() - static_cast<std::ptrdiff_t>(output.size()),
                                   outputs.end()),
                output);
    }
  }
}

TEST(SequencePool, APoolMovesWithItsSequences) {
  std::vector<Eigen::half> memory = memory_for(20);
  Pool first(shape, memory, page_size);
  const Pool::Id id = first.create(options);
  Alone alone(shape, options);
  (void)Script().prefill(first[id], 10);
  (void)Script().prefill(alone, 10);
  Pool second = std::move(first);
  const Pool::Id fork = second.fork(id);
  ASSERT_EQ(Script().decode(second[fork], 30), Script().decode(alone, 30));
  second[id].copy_from(second[fork]);
  EXPECT_EQ(second[id].save(), alone.save());
  EXPECT_EQ(second.free_pages(), 10U) << "the copy shares all pages";
  second.release(id);
  EXPECT_EQ(second.free_pages(), 10U);

  std::vector<Eigen::half> other_memory = memory_for(20);
  Pool other(shape, other_memory, page_size);
  const Pool::Id stranger = other.create(options);
  (void)Script().prefill(other[stranger], 3);
  const auto before = other[stranger].save();
  expect_refused([&] { other[stranger].copy_from(second[fork]); },
                 "other = a cache in another pool");
  EXPECT_EQ(other[stranger].save(), before);
  other[stranger].restore(second[fork].save());
  EXPECT_EQ(other[stranger].save(), alone.save());
  second.release(fork);
  EXPECT_EQ(second.free_pages(), 20U);
}

// ---- Wrong calls

TEST(SequencePool, OneSequenceMayFailAlone) {
  std::vector<Eigen::half> memory = memory_for(20);
  Pool pool(shape, memory, page_size);
  const std::vector<Pool::Id> ids{pool.create(options), pool.create(options)};
  const std::size_t width = shape.kv_heads * shape.head_dim;
  std::vector<float> keys(2 * width, 1.0F);
  std::vector<Status> statuses(2);
  ASSERT_EQ(pool.append(0, ids, keys, keys, statuses), Status::ok);
  std::vector<float> queries(2 * shape.query_heads * shape.head_dim, 1.0F);
  queries.back() = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> outputs(queries.size());
  EXPECT_EQ(pool.attend(0, ids, queries, outputs, statuses), Status::bad_row);
  EXPECT_EQ(statuses, (std::vector{Status::ok, Status::bad_row}));
  EXPECT_EQ(pool[ids[1]].policy(0, 0).can_observe(), Status::ok) << "no score has changed";
  EXPECT_EQ(pool[ids[0]].policy(0, 0).can_observe(), Status::out_of_step);
}

TEST(SequencePool, SpansThatDoNotFitAreRefused) {
  std::vector<Eigen::half> memory = memory_for(20);
  Pool pool(shape, memory, page_size);
  const std::vector<Pool::Id> ids{pool.create(options), pool.create(options)};
  const std::vector<float> x(96, 0.5F);
  std::vector<float> outputs(96, 7.0F);
  std::vector<Status> statuses(3, Status::full);
  const auto in = [&](std::size_t size) { return std::span<const float>(x).first(size); };
  const auto to = [&](std::size_t size) { return std::span(outputs).first(size); };
  const auto of = [&](std::size_t size) { return std::span(statuses).first(size); };
  EXPECT_EQ(pool.append(0, ids, in(47), in(47), of(2)), Status::wrong_size);
  EXPECT_EQ(pool.append(0, ids, in(48), in(47), of(2)), Status::wrong_size);
  EXPECT_EQ(pool.append(0, ids, in(48), in(48), of(1)), Status::wrong_size);
  EXPECT_EQ(pool.append(0, ids, in(48), in(48), of(0)), Status::wrong_size);
  EXPECT_EQ(pool.append(0, ids, in(48), in(48), of(3)), Status::wrong_size);
  EXPECT_EQ(pool.append(2, ids, in(48), in(48), of(2)), Status::wrong_size) << "no such layer";
  EXPECT_EQ(statuses, std::vector<Status>(3, Status::full)) << "nothing was written";
  for (const Pool::Id id : ids) EXPECT_EQ(pool[id].size(0, 0), 0U);
  ASSERT_EQ(pool.append(0, ids, in(48), in(48), of(2)), Status::ok);
  EXPECT_EQ(pool.attend(0, ids, in(96), to(95), of(2)), Status::wrong_size);
  EXPECT_EQ(pool.attend(0, ids, in(95), to(96), of(2)), Status::wrong_size);
  EXPECT_EQ(pool.attend(0, ids, in(96), to(96), of(1)), Status::wrong_size);
  EXPECT_EQ(pool.attend(2, ids, in(96), to(96), of(2)), Status::wrong_size);
  EXPECT_EQ(outputs, std::vector<float>(96, 7.0F));
  EXPECT_EQ(pool.attend(0, ids, in(96), to(96), of(2)), Status::ok);
}

TEST(SequencePool, BlocksThatDoNotFitAreRefused) {
  std::vector<Eigen::half> memory = memory_for(20);
  Pool pool(shape, memory, page_size);
  const std::vector<Pool::Id> ids{pool.create(options), pool.create(options)};
  const std::vector<float> x(200, 0.5F);
  std::vector<float> outputs(200, 7.0F);
  std::vector<Status> statuses(3, Status::full);
  const auto prefill = [&](std::size_t layer, std::vector<std::int32_t> indptr,
                           std::size_t queries = 144, std::size_t keys = 72,
                           std::size_t values = 72, std::size_t out = 144, std::size_t count = 2) {
    const auto in = [&](std::size_t size) { return std::span<const float>(x).first(size); };
    return pool.prefill(layer, ids, indptr, in(queries), in(keys), in(values),
                        std::span(outputs).first(out), std::span(statuses).first(count));
  };
  EXPECT_EQ(prefill(2, {0, 1, 3}), Status::wrong_size) << "no such layer";
  EXPECT_EQ(prefill(0, {}), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 3}), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 1, 2, 3}), Status::wrong_size);
  EXPECT_EQ(prefill(0, {1, 2, 3}), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 4, 3}), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, -1, 3}), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 1, 2}), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 1, 3}, 143), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 1, 3}, 144, 71), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 1, 3}, 144, 72, 73), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 1, 3}, 144, 72, 72, 143), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 1, 3}, 144, 72, 72, 144, 1), Status::wrong_size);
  EXPECT_EQ(prefill(0, {0, 1, 3}, 144, 72, 72, 144, 3), Status::wrong_size);
  EXPECT_EQ(statuses, std::vector<Status>(3, Status::full)) << "nothing was written";
  EXPECT_EQ(outputs, std::vector<float>(200, 7.0F));
  for (const Pool::Id id : ids) EXPECT_EQ(pool[id].size(0, 0), 0U);
  EXPECT_EQ(pool.free_pages(), 20U);
  EXPECT_EQ(prefill(0, {0, 0, 3}, 144, 72, 72, 0), Status::ok) << "without outputs";
  EXPECT_EQ(outputs, std::vector<float>(200, 7.0F));
  EXPECT_EQ(prefill(0, {0, 1, 3}), Status::ok);
  EXPECT_EQ(pool[ids[0]].size(0, 0), 1U);
  EXPECT_EQ(pool[ids[1]].size(0, 0), 5U);
  const std::vector<float> none;
  EXPECT_EQ(
      pool.prefill(0, {}, std::vector<std::int32_t>{0}, none, none, none, std::span<float>(), {}),
      Status::ok)
      << "of no sequence";
}

TEST(SequencePool, OneBlockMayFailAlone) {
  std::vector<Eigen::half> memory = memory_for(20);
  Pool pool(shape, memory, page_size);
  const Pool::Id gone = pool.create(options);
  pool.release(gone);
  const Pool::Id good = pool.create(options);
  const Pool::Id bad = pool.create(options);
  const Pool::Id too_large = pool.create(options);
  const std::vector<Pool::Id> ids{gone, bad, good, good, too_large};
  const std::vector<std::int32_t> indptr{0, 2, 4, 6, 8, 10};
  std::vector<Eigen::half> queries(10 * 48, Eigen::half(1.0F));
  std::vector<Eigen::half> keys(10 * 24, Eigen::half(1.0F));
  std::vector<Eigen::half> outputs(10 * 48);
  queries[2 * 48] = std::numeric_limits<Eigen::half>::quiet_NaN();
  keys[9 * 24] = std::numeric_limits<Eigen::half>::infinity();
  std::vector<Status> statuses(5);
  EXPECT_EQ(pool.prefill(1, ids, indptr, queries, keys, keys, outputs, statuses),
            Status::no_sequence);
  EXPECT_EQ(statuses, (std::vector{Status::no_sequence, Status::bad_row, Status::ok,
                                   Status::no_sequence, Status::not_finite}));
  EXPECT_EQ(pool[good].size(1, 0), 2U);
  EXPECT_EQ(pool[bad].size(1, 0), 0U);
  EXPECT_EQ(pool[too_large].size(1, 0), 0U);
  EXPECT_EQ(pool.free_pages(), 19U);
  EXPECT_EQ(outputs[4 * 48], Eigen::half(1.0F));
}

TEST(SequencePool, WhatAppendRefusesIsNotAttended) {
  std::vector<Eigen::half> memory = memory_for(20);
  Pool pool(shape, memory, page_size);
  const std::vector<Pool::Id> ids{pool.create(options), pool.create(options)};
  std::vector<float> keys(48, 1.0F);
  const std::vector<float> queries(96, 1.0F);
  std::vector<float> outputs(96, 7.0F);
  std::vector<Status> statuses(2);
  keys[0] = 70000;  // too large for half
  EXPECT_EQ(pool.append(0, ids, keys, keys, statuses), Status::not_finite);
  EXPECT_EQ(statuses, (std::vector{Status::not_finite, Status::ok}));
  EXPECT_EQ(pool.attend(0, ids, queries, outputs, statuses), Status::not_finite);
  EXPECT_EQ(statuses, (std::vector{Status::not_finite, Status::ok})) << "the failure stays";
  EXPECT_EQ(outputs[0], 7.0F);
  EXPECT_EQ(outputs[48], 1.0F);
  EXPECT_EQ(pool[ids[0]].size(0, 0), 0U);
  EXPECT_EQ(pool[ids[1]].size(0, 0), 1U);
}

TEST(SequencePool, AnIdNamesOneSequenceForAsLongAsItLives) {
  std::vector<Eigen::half> memory = memory_for(20);
  Pool pool(shape, memory, page_size);
  const Pool::Id first = pool.create(options);
  (void)Script().prefill(pool[first], 5);
  pool.release(first);
  EXPECT_FALSE(pool.is_taken(first));
  const std::string named = "sequence id = " + std::to_string(first);
  expect_refused([&] { pool.release(first); }, named);
  EXPECT_EQ(pool.free_pages(), 20U);
  const Pool::Id second = pool.create(options);  // in the same place
  (void)Script().prefill(pool[second], 3);
  EXPECT_NE(first, second);
  EXPECT_FALSE(pool.is_taken(first));
  expect_refused([&] { pool.release(first); }, named);
  expect_refused([&] { (void)pool[first]; }, named);
  expect_refused([&] { (void)pool.fork(first); }, named);
  expect_refused([&] { (void)pool[~Pool::Id{0}]; }, "sequence id = 18446744073709551615");
  EXPECT_EQ(pool[second].size(0, 0), 3U);

  const std::vector<Pool::Id> ids{first, second, second, 99};
  const std::vector<float> keys(4 * 24, 1.0F);
  const std::vector<float> queries(4 * 48, 1.0F);
  std::vector<float> outputs(4 * 48, 7.0F);
  std::vector<Status> statuses(4, Status::full);
  EXPECT_EQ(pool.append(0, ids, keys, keys, statuses), Status::no_sequence);
  const std::vector expected{Status::no_sequence, Status::ok, Status::no_sequence,
                             Status::no_sequence};
  EXPECT_EQ(statuses, expected);
  EXPECT_EQ(pool[second].next_position(0), 4) << "one token, though it was named twice";
  EXPECT_EQ(pool.attend(0, ids, queries, outputs, statuses), Status::no_sequence);
  EXPECT_EQ(statuses, expected);
  std::fill(statuses.begin(), statuses.end(), Status::ok);
  EXPECT_EQ(pool.attend(0, ids, queries, outputs, statuses), Status::no_sequence);
  EXPECT_EQ(statuses[0], Status::no_sequence);
  EXPECT_EQ(statuses[2], Status::no_sequence);
  EXPECT_EQ(outputs[0], 7.0F);
}

// ---- Memory

TEST(SequencePool, NothingAllocatesBetweenPrompts) {
  std::vector<Eigen::half> memory = memory_for(60);
  MorphKV::Options with_history = options;
  with_history.history = 2;
  Pool pool(shape, memory, page_size);
  const Pool::Id origin = pool.create(with_history);
  (void)Script().prefill(pool[origin], 30);
  const Pool::Id growing = pool.create(with_history);
  const std::vector<Pool::Id> ids{origin, pool.fork(origin), growing};
  const std::vector<float> keys(3 * 24, 0.5F);
  const std::vector<float> queries(3 * 48, 0.5F);
  std::vector<float> outputs(3 * 48);
  std::vector<Placement> placements(3 * 3);
  std::vector<Status> statuses(3);
  bool ok = true;
  const std::size_t before = allocations.count;
  const std::size_t free = pool.free_pages();
  for (int round = 0; round < 50; ++round) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      ok &= pool.append(layer, ids, keys, keys, statuses, placements) == Status::ok;
      ok &= pool.attend(layer, ids, queries, outputs, statuses) == Status::ok;
      if (round % 5 == 3) ok &= pool.place(layer, ids, placements, statuses) == Status::ok;
    }
    for (const Pool::Id id : ids) {
      if (round % 5 == 4) ok &= pool[id].rollback(2) == Status::ok;
    }
    if (round == 40) pool[growing].reset();
  }
  EXPECT_LT(pool.free_pages(), free) << "pages were taken and copied";
  for (const Pool::Id id : ids) pool.release(id);
  EXPECT_EQ(allocations.count, before);
  EXPECT_TRUE(ok);
  EXPECT_EQ(pool.free_pages(), pool.pages());
}

TEST(SequencePool, CountsItsBytes) {
  std::vector<Eigen::half> memory = memory_for(20);
  Pool pool(shape, memory, page_size);
  EXPECT_EQ(pool.memory().keys, 0U);
  EXPECT_EQ(pool.memory().positions, 20U * 8);
  const Pool::Id id = pool.create(options);
  (void)Script().prefill(pool[id], 9);
  EXPECT_EQ(pool.memory().keys, 6U * 4 * 3 * 8 * sizeof(Eigen::half));
  EXPECT_EQ(pool.memory().values, pool.memory().keys);
  const Alone alone(shape, options);
  EXPECT_EQ(pool.memory().window, alone.memory().window);
  EXPECT_EQ(pool.memory().scratch, alone.memory().scratch);
  const std::size_t tables = pool[id].storage().memory().positions;
  const std::size_t pages = shape.layers * (options.capacity / page_size);
  EXPECT_EQ(tables, pages * 12 + (2 * shape.layers + 1) * sizeof(std::size_t));
  EXPECT_EQ(pool.memory().positions, 20U * 8 + tables + alone.memory().positions);
  pool.release(id);
  EXPECT_EQ(pool.memory().total(), 20U * 8);
}

TEST(SequencePool, RefusesWhatDoesNotFit) {
  std::vector<Eigen::half> memory(Pool::page_elements(shape, 4) - 1);
  expect_refused([&] { (void)Pool(shape, memory, 4); },
                 "elements of memory = " + std::to_string(memory.size()));
  expect_refused([&] { (void)Pool(shape, memory, 0); }, "page_size = 0");
  expect_refused([&] { (void)Pool::page_elements(shape, (1U << 20U) + 1); }, "page_size = 1048577");
  expect_refused([&] { (void)Pool({.head_dim = 0}, memory, 3); }, "head_dim = 0");
  Pool pool(shape, memory, 3);
  const MemoryUsage before = pool.memory();
  expect_refused([&] { (void)pool.create({.capacity = 3, .window = 4}); }, "capacity = 3");
  expect_refused([&] { (void)pool.create(options, Budget::adaptive()); }, "budget = adaptive");
  expect_refused([&] { (void)pool.create(options, Budget::per_head({1})); }, "capacities = 1");
  EXPECT_EQ(pool.memory(), before);
  EXPECT_FALSE(pool.is_taken(0));
}

}  // namespace
}  // namespace morphkv::testing::sequence_pool_test
