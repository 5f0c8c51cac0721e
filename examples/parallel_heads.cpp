// SPDX-License-Identifier: Apache-2.0
/// \file
/// Heads on threads of your own: an executor is any callable (count, body).
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "support/compare_executors.hpp"

namespace {

/// Runs body(0) ... body(count - 1) on a few threads, and waits for them. It starts the threads at
/// every call, which costs more than a small head: an engine keeps its threads, as
/// thread_pool_heads.cpp does.
struct Threads {
  std::size_t threads;

  template <class Body>
  void operator()(std::size_t count, const Body& body) const {
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t index = next++; index < count; index = next++) body(index);
    };
    std::vector<std::jthread> others;
    for (std::size_t thread = 1; thread < threads; ++thread) others.emplace_back(work);
    work();
  }
};

}  // namespace

int main() {
  const Threads four{4};
  return morphkv::examples::compare_with_serial("four threads", four);
}
