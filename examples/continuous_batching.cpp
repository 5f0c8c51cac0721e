// SPDX-License-Identifier: Apache-2.0
/// \file
/// Continuous batching: requests of any length share a fixed number of slabs. They are created,
/// forked and released; a request is admitted when a slab is free, and the memory never changes.
#include <algorithm>
#include <cstdio>
#include <deque>
#include <optional>
#include <vector>

#include "morphkv/morphkv.hpp"
#include "support/made_up_tokens.hpp"

namespace {

using morphkv::Status, morphkv::examples::Tokens;
using Pool = morphkv::SequencePool<Eigen::half, morphkv::MorphKV>;
using Full = morphkv::KVCache<Eigen::half, morphkv::Full>;

constexpr morphkv::CacheShape shape{.layers = 2, .query_heads = 8, .kv_heads = 2, .head_dim = 64};
constexpr morphkv::MorphKV::Options options{.capacity = 128, .window = 16};

struct Request {
  std::size_t prompt;     ///< tokens to read
  std::size_t remaining;  ///< tokens to write
};

struct Running {
  Pool::Id id;
  std::size_t remaining;
};

/// Reads a request's prompt in every layer.
bool read_prompt(Pool::Sequence& sequence, const Request& request) {
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    Tokens prompt(shape, request.prompt, static_cast<std::uint32_t>(layer));
    if (sequence.prefill(layer, prompt.queries, prompt.keys, prompt.values) != Status::ok) {
      return false;
    }
  }
  return true;
}

/// One token of every running sequence, layer by layer: one call for the whole batch.
bool step(Pool& pool, const std::vector<Running>& batch, std::uint32_t seed) {
  std::vector<Pool::Id> ids;
  ids.reserve(batch.size());
  for (const Running& one : batch) ids.push_back(one.id);
  std::vector<Status> statuses(ids.size());
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    Tokens tokens(shape, ids.size(), seed);
    // A sequence whose token was refused is left out of the attention; `statuses` says which.
    const Status appended = pool.append(layer, ids, tokens.keys, tokens.values, statuses);
    const Status attended = pool.attend(layer, ids, tokens.queries, tokens.outputs, statuses);
    if (appended != Status::ok || attended != Status::ok) return false;
  }
  return true;
}

}  // namespace

int main() {
  std::vector<Eigen::half> memory(4 * Pool::elements(shape, options));  // four sequences at a time
  Pool pool(shape, options, memory);
  const std::size_t bytes = pool.memory().total();

  std::deque<Request> queue{{400, 300}, {30, 150}, {900, 80}, {200, 500}, {60, 700}, {300, 40}};
  std::vector<Running> batch;
  std::size_t steps = 0, written = 0, most_tokens = 0;
  for (; !queue.empty() || !batch.empty(); ++steps) {
    while (!queue.empty()) {
      const std::optional<Pool::Id> id = pool.create();
      if (!id) break;  // every slab is in use: the request waits
      if (!read_prompt(pool[*id], queue.front())) return 1;
      batch.push_back({*id, queue.front().remaining});
      queue.pop_front();
    }
    if (steps == 200) {  // a second response to the first prompt: it continues that sequence
      if (const auto fork = pool.fork(batch[0].id)) batch.push_back({*fork, batch[0].remaining});
    }
    if (!step(pool, batch, static_cast<std::uint32_t>(steps))) return 1;
    written += batch.size();
    std::size_t tokens = 0;
    for (const Running& one : batch) {
      tokens += static_cast<std::size_t>(pool[one.id].next_position(0));
    }
    most_tokens = std::max(most_tokens, tokens);
    std::erase_if(batch, [&](Running& one) {
      if (--one.remaining > 0) return false;
      pool.release(one.id);
      return true;
    });
  }
  std::printf("7 responses, %zu tokens in %zu steps, at most 4 at a time\n", written, steps);
  std::printf("%zu bytes from beginning to end: 4 slabs of %zu, and the policies\n", bytes,
              pool.slab_bytes());
  std::printf("full caches of the same batch would have grown to %zu bytes\n",
              Full(shape, {.max_tokens = most_tokens}).memory().total());
  return written == 1870 && pool.free_slabs() == 4 && pool.memory().total() == bytes ? 0 : 1;
}
