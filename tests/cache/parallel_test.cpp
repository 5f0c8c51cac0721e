// SPDX-License-Identifier: Apache-2.0
// Heads on threads: the same numbers, and no data race (this is what the thread sanitizer runs).
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <span>
#include <thread>
#include <vector>

#include "support/contenders.hpp"
#include "support/pool_duel.hpp"
#include "support/script.hpp"

namespace morphkv::testing::parallel_test { namespace {

/// Runs the bodies on as many threads as it is told, the last ones first.
struct Threads {
  std::size_t threads;

  template <class Body>
  void operator()(std::size_t count, Body&& body) const {
    std::atomic<std::size_t> left{count};
    const auto work = [&] {
      for (;;) {
        std::size_t index = left;
        while (index > 0 && !left.compare_exchange_weak(index, index - 1)) {
        }
        if (index == 0) return;
        body(index - 1);
      }
    };
    std::vector<std::thread> workers;
    for (std::size_t t = 0; t < threads; ++t) workers.emplace_back(work);
    for (std::thread& worker : workers) worker.join();
  }
};

template <class Contender>
class ParallelTest : public ::testing::Test {};
TYPED_TEST_SUITE(ParallelTest, AllContenders);

TYPED_TEST(ParallelTest, ThreadsChangeNothing) {
  const CacheShape shape{.layers = 2, .query_heads = 10, .kv_heads = 5, .head_dim = 8};
  const Setting setting{.capacity = 20, .window = 4, .max_tokens = 200};
  using Cache = KVCache<float, typename TypeParam::Policy>;
  for (const std::size_t threads : {1U, 2U, 5U, 8U}) {
    Cache serial(shape, TypeParam::options(setting));
    Cache parallel = serial;
    const Script script(threads);
    const Threads execute{threads};
    const std::size_t prompt = std::same_as<TypeParam, RandomContender> ? 10 : 30;
    ASSERT_EQ(script.prefill(parallel, prompt, execute), script.prefill(serial, prompt));
    ASSERT_EQ(script.decode(parallel, 25, execute), script.decode(serial, 25));
    if (!std::same_as<TypeParam, RandomContender>) {
      ASSERT_EQ(script.prefill(parallel, 6, execute), script.prefill(serial, 6));
    }
    ASSERT_EQ(script.decode(parallel, 10, execute), script.decode(serial, 10));
    ASSERT_EQ(state_of(parallel), state_of(serial));
  }
}

TEST(ParallelForks, CopiesShareNothing) {
  const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 8};
  KVCache<Eigen::half, MorphKV> origin(shape, {.capacity = 20, .window = 4, .history = 2});
  (void)Script().prefill(origin, 30);
  std::vector<std::vector<float>> outputs(4);
  std::vector<std::thread> workers;
  for (std::size_t w = 0; w < outputs.size(); ++w) {
    workers.emplace_back(
        [&, w, fork = origin]() mutable { outputs[w] = Script(w % 2).decode(fork, 40); });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(outputs[0], outputs[2]);
  EXPECT_EQ(outputs[1], outputs[3]);
  EXPECT_NE(outputs[0], outputs[1]);
  EXPECT_EQ(Script(0).decode(origin, 40), outputs[0]);
}

TEST(ParallelPool, ThreadsChangeNothing) {
  const CacheShape shape{.layers = 2, .query_heads = 6, .kv_heads = 3, .head_dim = 8};
  const MorphKV::Options options{.capacity = 20, .window = 4};
  for (const std::size_t threads : {2U, 5U}) {
    const Threads execute{threads};
    PoolDuel<Eigen::half, MorphKVSum> duel(shape, 60, 4, HeadOrder::hnd, 1);
    for (int i = 0; i < 3; ++i) duel.create(options, Budget::uniform());
    duel.prefill(duel.ids(), {5, 17, 33}, execute);
    duel.fork(duel.ids()[1]);
    for (std::size_t step = 0; step < 20; ++step) duel.step(duel.ids(), true, execute);
    duel.prefill(duel.ids(), {9, 0, 1, 25}, execute);
    duel.compare();
    if (HasFatalFailure()) return;
  }
}

TEST(ParallelPool, SequencesMayAttendAtTheSameTime) {
  const CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 8};
  using Pool = SequencePool<float, MorphKV>;
  std::vector<float> memory(40 * Pool::page_elements(shape, 4));
  Pool pool(shape, memory, 4);
  std::vector<Pool::Id> ids{pool.create({.capacity = 20, .window = 4})};
  (void)Script().prefill(pool[ids[0]], 30);
  while (ids.size() < 3) ids.push_back(pool.fork(ids[0]));
  KVCache<float, MorphKV> alone(shape, {.capacity = 20, .window = 4});
  (void)Script().prefill(alone, 30);
  for (int step = 0; step < 20; ++step) {
    const Tokens token = Script().at(shape, 0, alone.next_position(0));
    for (const Pool::Id id : ids) Script().append(pool[id]);
    std::vector<std::vector<float>> outputs(3, std::vector<float>(shape.output_width()));
    std::vector<std::thread> workers;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      workers.emplace_back([&, i] {
        EXPECT_EQ(pool[ids[i]].attend(0, token.queries, std::span<float>(outputs[i])), Status::ok);
      });
    }
    for (std::thread& worker : workers) worker.join();
    const std::vector<float> expected = Script().decode(alone, 1);
    for (const std::vector<float>& output : outputs) ASSERT_EQ(output, expected);
  }
}

}  // namespace
}  // namespace morphkv::testing::parallel_test
