// SPDX-License-Identifier: Apache-2.0
// Executors and bodies that throw.
#include "morphkv/core/executor.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "support/script.hpp"

namespace morphkv::testing::executor_test { namespace {

const CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 4, .head_dim = 4};

/// Runs some of the bodies, and fails.
struct FailingExecutor {
  std::size_t bodies;

  template <class Body>
  void operator()(std::size_t count, const Body& body) const {
    for (std::size_t i = 0; i < std::min(count, bodies); ++i) body(i);
    throw std::runtime_error("no thread");
  }
};

struct OneThreadPerBody {
  template <class Body>
  void operator()(std::size_t count, const Body& body) const {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  }
};

TEST(Executor, ThatThrowsInPrefillChangesNothing) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  const Script script;
  (void)script.prefill(cache, 20);
  const auto before = cache;
  const Tokens block = script.at(shape, 0, 20, 9);
  std::vector<float> outputs(block.queries.size());
  for (const std::size_t bodies : {0U, 1U, 3U, 4U}) {
    EXPECT_THROW((void)cache.prefill(0, block.queries, block.keys, block.values, outputs,
                                     FailingExecutor{bodies}),
                 std::runtime_error);
    EXPECT_EQ(state_of(cache), state_of(before));
  }
  auto expected = before;
  EXPECT_EQ(script.prefill(cache, 9), script.prefill(expected, 9));
  EXPECT_EQ(script.decode(cache, 20), script.decode(expected, 20));
}

TEST(ExecutorDeathTest, ThatThrowsInAttendEndsTheProgram) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  Script().append(cache);
  const std::vector<float> query(16, 0.5F);
  std::vector<float> output(16);
  EXPECT_DEATH((void)cache.attend(0, query, output, FailingExecutor{1}), "");
}

TEST(RunBodies, ThrowsOnTheCallingThreadOnceAllHaveEnded) {
  for (int attempt = 0; attempt < 20; ++attempt) {
    std::vector<int> ran(8);
    OneThreadPerBody threads;
    try {
      run_bodies(threads, ran.size(), [&](std::size_t i) {
        ran[i] = 1;
        if (i % 3 == 1) throw std::runtime_error(std::to_string(i));
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "1") << "that of the first body";
    }
    EXPECT_EQ(ran, std::vector<int>(8, 1));
  }
}

}  // namespace
}  // namespace morphkv::testing::executor_test
