// SPDX-License-Identifier: Apache-2.0
/// \file
/// Heads on a thread pool: the executor posts one task per head and waits for all of them. This is
/// Asio's pool; any other works in the same way.
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <cstddef>
#include <latch>

#include "support/compare_executors.hpp"

namespace {

class PoolExecutor {
 public:
  explicit PoolExecutor(asio::thread_pool& pool) : pool_(pool) {}

  template <class Body>
  void operator()(std::size_t count, const Body& body) {
    std::latch ended(static_cast<std::ptrdiff_t>(count));
    for (std::size_t index = 0; index < count; ++index) {
      asio::post(pool_, [&body, &ended, index] {
        body(index);
        ended.count_down();
      });
    }
    ended.wait();
  }

 private:
  asio::thread_pool& pool_;
};

}  // namespace

int main() {
  asio::thread_pool pool(4);
  PoolExecutor executor(pool);
  return morphkv::examples::compare_with_serial("a pool of four threads", executor);
}
