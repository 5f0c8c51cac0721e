// SPDX-License-Identifier: Apache-2.0
// Sequences of a pool come, go and are forked, and each is what it would be alone.
#include "morphkv/cache/sequence_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "support/allocation_counter.hpp"
#include "support/contenders.hpp"
#include "support/errors.hpp"
#include "support/random.hpp"
#include "support/script.hpp"

namespace morphkv::testing::sequence_pool_test { namespace {

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
      ASSERT_EQ(pool_.append(layer, ids, batch.keys, batch.values, statuses), Status::ok);
      ASSERT_EQ(statuses, std::vector<Status>(ids.size()));
      ASSERT_EQ(pool_.attend(layer, ids, batch.queries, outputs, statuses, execute), Status::ok);
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
  std::vector<Eigen::half> memory = memory_for(2);
  Pool pool(shape, options, memory);
  const std::vector<Pool::Id> ids{*pool.create(), *pool.create()};
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

TEST(SequencePool, WhatAppendRefusesIsNotAttended) {
  std::vector<Eigen::half> memory = memory_for(2);
  Pool pool(shape, options, memory);
  const std::vector<Pool::Id> ids{*pool.create(), *pool.create()};
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
  std::vector<Eigen::half> memory = memory_for(2);
  Pool pool(shape, options, memory);
  const Pool::Id first = *pool.create();
  (void)Script().prefill(pool[first], 5);
  pool.release(first);
  EXPECT_FALSE(pool.is_taken(first));
  const std::string named = "sequence id = " + std::to_string(first);
  expect_refused([&] { pool.release(first); }, named);
  EXPECT_EQ(pool.free_slabs(), 2U) << "a slab that is released twice would be given twice";
  const Pool::Id second = *pool.create();  // in the same slab
  (void)Script().prefill(pool[second], 3);
  EXPECT_NE(first, second);
  EXPECT_FALSE(pool.is_taken(first));
  expect_refused([&] { pool.release(first); }, named);
  expect_refused([&] { (void)pool[first]; }, named);
  expect_refused([&] { (void)pool.fork(first); }, named);
  expect_refused([&] { (void)pool[~Pool::Id{0}]; }, "sequence id = 18446744073709551615");
  EXPECT_EQ(pool.free_slabs(), 1U);

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

TEST(SequencePool, NothingAllocatesBetweenPrompts) {
  std::vector<Eigen::half> memory = memory_for(3);
  MorphKV::Options with_history = options;
  with_history.history = 2;
  Pool pool(shape, with_history, memory);
  std::vector<Pool::Id> ids{*pool.create(), *pool.create()};
  for (const Pool::Id id : ids) (void)Script().prefill(pool[id], 30);
  const std::vector<float> keys(2 * 24, 0.5F);
  const std::vector<float> queries(2 * 48, 0.5F);
  std::vector<float> outputs(2 * 48);
  std::vector<Status> statuses(2);
  bool ok = true;
  const std::size_t before = allocations.count;
  for (int round = 0; round < 50; ++round) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      ok &= pool.append(layer, ids, keys, keys, statuses) == Status::ok;
      ok &= pool.attend(layer, ids, queries, outputs, statuses) == Status::ok;
    }
    if (round % 5 == 4) ok &= pool[ids[0]].rollback(2) == Status::ok;
    if (round % 5 == 4) ok &= pool[ids[1]].rollback(2) == Status::ok;
    pool.release(ids[1]);
    ids[1] = *pool.fork(ids[0]);
  }
  EXPECT_EQ(allocations.count, before);
  EXPECT_TRUE(ok);
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
