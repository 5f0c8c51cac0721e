// SPDX-License-Identifier: Apache-2.0
/// \file
/// Independent jobs on a few threads.
#ifndef MORPHKV_TOOLS_COMPARISON_PARALLEL_HPP
#define MORPHKV_TOOLS_COMPARISON_PARALLEL_HPP

#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace morphkv::comparison {

/// Runs `job(0) ... job(count - 1)`. If one throws, no more are started and its exception is
/// rethrown.
template <class Job>
void run_in_parallel(std::size_t count, std::size_t threads, const Job& job) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (std::size_t index = next++; index < count; index = next++) {
      try {
        job(index);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        next = count;
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t helper = 1; helper < threads; ++helper) helpers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_PARALLEL_HPP
