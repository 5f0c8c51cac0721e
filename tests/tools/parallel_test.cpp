// SPDX-License-Identifier: Apache-2.0
#include "comparison/parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <vector>

// It uses std::jthread, so the thread sanitizer sees it.

namespace morphkv::testing::parallel_test { namespace {

TEST(RunInParallel, DoesEveryJobOnce) {
  for (const std::size_t threads : {1U, 2U, 5U}) {
    std::vector<int> done(100);
    comparison::run_in_parallel(done.size(), threads, [&](std::size_t job) { ++done[job]; });
    EXPECT_EQ(done, std::vector<int>(100, 1));
  }
}

TEST(RunInParallel, PassesAnExceptionOn) {
  std::atomic<int> begun = 0;
  const auto job = [&](std::size_t index) {
    ++begun;
    if (index == 3) throw std::runtime_error("job 3");
  };
  EXPECT_THROW(comparison::run_in_parallel(10000, 2, job), std::runtime_error);
  EXPECT_LT(begun, 10000);
}

}  // namespace
}  // namespace morphkv::testing::parallel_test
