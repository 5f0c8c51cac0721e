// SPDX-License-Identifier: Apache-2.0
/// \file
/// Heads on the caller's threads. An engine passes its own pool in the same way.
#include <atomic>
#include <cstdio>
#include <morphkv/morphkv.hpp>
#include <thread>
#include <vector>

namespace {

/// Runs body(0) ... body(count - 1) on a few threads, and waits for them.
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

std::vector<float> last_output(std::size_t threads) {
  const morphkv::CacheShape shape{.layers = 1, .query_heads = 8, .kv_heads = 8, .head_dim = 32};
  morphkv::KVCache<Eigen::half, morphkv::MorphKV> cache(shape, {.capacity = 64, .window = 8});
  std::vector<float> query(256), key(256), value(256), output(256);
  for (morphkv::Position token = 0; token < 200; ++token) {
    for (std::size_t i = 0; i < key.size(); ++i) {
      key[i] = static_cast<float>((i * 37 + static_cast<std::size_t>(token) * 11) % 23) / 23;
      query[i] = 1 - key[i];
      value[i] = key[i] * key[i];
    }
    const auto appended = cache.append(0, key, value, token);
    const auto attended = cache.attend(0, query, output, Threads{threads});
    if (appended != morphkv::Status::ok || attended != morphkv::Status::ok) return {};
  }
  return output;
}

}  // namespace

int main() {
  const std::vector<float> one = last_output(1);
  const bool same = !one.empty() && one == last_output(4);
  std::printf("one thread and four give %s outputs\n", same ? "the same" : "different");
  return same ? 0 : 1;
}
