// SPDX-License-Identifier: Apache-2.0
// Sequences of a pool come, go and are forked, and each is what it would be alone.
#include "morphkv/cache/sequence_pool.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "support/contenders.hpp"
#include "support/errors.hpp"
#include "support/random.hpp"
#include "support/script.hpp"

namespace morphkv::testing::sequence_pool_test {
namespace {

const CacheShape shape{.layers = 2, .query_heads = 6, .kv_heads = 3, .head_dim = 8};
const MorphKV::Options options{.capacity = 20, .window = 4};
using Pool = SequencePool<Eigen::half, MorphKV>;
using Alone = KVCache<Eigen::half, MorphKV>;

std::vector<Eigen::half> memory_for(std::size_t slabs) {
  return std::vector<Eigen::half>(slabs * Pool::elements(shape, options) + 3);
}

/// Every head of every sequence on a thread of its own.
struct ManyThreads {
  template <class Body>
  void operator()(std::size_t count, Body&& body) const {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
    for (std::thread& thread : threads) thread.join();
  }
};

/// A pool beside the caches that its sequences should equal.
class PoolDuel {
 public:
  explicit PoolDuel(std::size_t slabs)
      : memory_(memory_for(slabs)), pool_(shape, options, memory_) {}

  void create(std::size_t prompt) {
    const std::optional<Pool::Id> id = pool_.create();
    ASSERT_EQ(id.has_value(), alone_.size() < pool_.slabs());
    if (!id) return;
    Alone& alone = alone_.emplace(*id, Alone(shape, options)).first->second;
    ASSERT_EQ(script_.prefill(pool_[*id], prompt), script_.prefill(alone, prompt));
  }

  void fork(Pool::Id origin) {
    const std::optional<Pool::Id> id = pool_.fork(origin);
    ASSERT_EQ(id.has_value(), alone_.size() < pool_.slabs());
    if (id) alone_.emplace(*id, alone_.at(origin));
  }

  void release(Pool::Id id) {
    pool_.release(id);
    alone_.erase(id);
  }

  /// One token of every sequence, at once in the pool.
  template <class Execute>
  void step(const Execute& execute) {
    const std::vector<Pool::Id> ids = taken();
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      Tokens batch{ids.size(), {}, {}, {}};
      std::vector<float> expected;
      for (const Pool::Id id : ids) {
        Alone& alone = alone_.at(id);
        const Position position = alone.next_position(layer);
        const Tokens token = Script(1 + id % 3).at(shape, layer, position);
        batch.queries.insert(batch.queries.end(), token.queries.begin(), token.queries.end());
        batch.keys.insert(batch.keys.end(), token.keys.begin(), token.keys.end());
        batch.values.insert(batch.values.end(), token.values.begin(), token.values.end());
        std::vector<float> output(token.queries.size());
        ASSERT_EQ(alone.append(layer, token.keys, token.values, position), Status::ok);
        ASSERT_EQ(alone.attend(layer, token.queries, output), Status::ok);
        expected.insert(expected.end(), output.begin(), output.end());
      }
      std::vector<float> outputs(batch.queries.size());
      std::vector<Status> statuses(ids.size(), Status::full);
      pool_.append(layer, ids, batch.keys, batch.values, statuses);
      ASSERT_EQ(statuses, std::vector<Status>(ids.size()));
      pool_.attend(layer, ids, batch.queries, outputs, statuses, execute);
      ASSERT_EQ(statuses, std::vector<Status>(ids.size()));
      ASSERT_EQ(outputs, expected);
    }
  }

  void compare() {
    ASSERT_EQ(pool_.free_slabs(), pool_.slabs() - alone_.size());
    for (const auto& [id, alone] : alone_) {
      ASSERT_TRUE(pool_.is_taken(id));
      ASSERT_EQ(state_of(pool_[id]), state_of(alone)) << "sequence " << id;
    }
  }

  [[nodiscard]] std::vector<Pool::Id> taken() const {
    std::vector<Pool::Id> ids;
    for (const auto& [id, alone] : alone_) ids.push_back(id);
    return ids;
  }

 private:
  std::vector<Eigen::half> memory_;
  Pool pool_;
  std::map<Pool::Id, Alone> alone_;
  Script script_;
};

TEST(SequencePool, SequencesComeAndGoAndFork) {
  PoolDuel duel(4);
  Random random(3);
  for (std::size_t round = 0; round < 200; ++round) {
    const std::vector<Pool::Id> ids = duel.taken();
    const std::size_t event = random.below(8);
    if (event == 0) duel.create(1 + random.below(40));
    if (event == 1 && !ids.empty()) duel.fork(ids[random.below(ids.size())]);
    if (event == 2 && ids.size() > 1) duel.release(ids[random.below(ids.size())]);
    duel.step(SerialExecutor());
    duel.compare();
    if (HasFatalFailure()) return;
  }
}

TEST(SequencePool, ThreadsChangeNothing) {
  PoolDuel duel(3);
  for (const std::size_t prompt : {5U, 17U, 33U}) duel.create(prompt);
  for (std::size_t step = 0; step < 20; ++step) duel.step(ManyThreads());
  duel.compare();
}

TEST(SequencePool, OneSequenceMayFailAlone) {
  std::vector<Eigen::half> memory = memory_for(2);
  Pool pool(shape, options, memory);
  const std::vector<Pool::Id> ids{*pool.create(), *pool.create()};
  const std::size_t width = shape.kv_heads * shape.head_dim;
  std::vector<float> keys(2 * width, 1.0F);
  std::vector<Status> statuses(2);
  pool.append(0, ids, keys, keys, statuses);
  std::vector<float> queries(2 * shape.query_heads * shape.head_dim, 1.0F);
  queries.back() = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> outputs(queries.size());
  pool.attend(0, ids, queries, outputs, statuses);
  EXPECT_EQ(statuses, (std::vector{Status::ok, Status::bad_row}));
  EXPECT_EQ(pool[ids[1]].policy(0, 0).can_observe(), Status::ok) << "no head has voted";
  EXPECT_EQ(pool[ids[0]].policy(0, 0).can_observe(), Status::out_of_step);
}

TEST(SequencePool, SpansThatDoNotFitAreRefused) {
  std::vector<Eigen::half> memory = memory_for(1);
  Pool pool(shape, options, memory);
  const std::vector<Pool::Id> ids{*pool.create()};
  std::vector<float> keys(23);
  std::vector<float> queries(48);
  std::vector<float> outputs(47);
  std::vector<Status> statuses(1);
  pool.append(0, ids, keys, keys, statuses);
  EXPECT_EQ(statuses[0], Status::wrong_size);
  pool.attend(0, ids, queries, outputs, statuses);
  EXPECT_EQ(statuses[0], Status::wrong_size);
  EXPECT_EQ(pool[ids[0]].size(0, 0), 0U);
}

TEST(SequencePool, CountsItsBytes) {
  std::vector<Eigen::half> memory = memory_for(5);
  const Pool pool(shape, options, memory);
  EXPECT_EQ(pool.slabs(), 5U);
  EXPECT_EQ(pool.slab_bytes(), 2U * 2 * 20 * 3 * 8 * sizeof(Eigen::half));
  EXPECT_EQ(pool.memory().keys, 5 * pool.slab_bytes() / 2);
  EXPECT_EQ(pool.memory().values, 5 * pool.slab_bytes() / 2);
  const Alone alone(shape, options);
  EXPECT_EQ(pool.memory().window, 5 * alone.memory().window);
  EXPECT_EQ(pool.memory().scratch, 5 * alone.memory().scratch);
}

TEST(SequencePool, RefusesMemoryWithoutASlab) {
  std::vector<Eigen::half> memory(Pool::elements(shape, options) - 1);
  expect_refused([&] { (void)Pool(shape, options, memory); },
                 "elements of memory = " + std::to_string(memory.size()));
}

}  // namespace
}  // namespace morphkv::testing::sequence_pool_test
