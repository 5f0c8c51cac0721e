// SPDX-License-Identifier: Apache-2.0
/// \file
/// Continuous batching: requests of any length share a fixed number of pages. A sequence takes
/// pages while it grows, the prompts of several requests are read in one call, and a second
/// response to a prompt shares the pages of the first one until it writes to them. Where pages run
/// short, the newest request is put back into the queue.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <vector>

#include "morphkv/morphkv.hpp"
#include "support/made_up_tokens.hpp"

namespace {

using morphkv::Status, morphkv::examples::Tokens;
using Pool = morphkv::SequencePool<Eigen::half, morphkv::MorphKV>;

constexpr morphkv::CacheShape shape{.layers = 2, .query_heads = 8, .kv_heads = 2, .head_dim = 64};
constexpr std::size_t capacity = 128;  // tokens that a long sequence keeps
constexpr std::size_t page_size = 16;

struct Request {
  std::size_t prompt;     ///< tokens to read
  std::size_t remaining;  ///< tokens to write
};

struct Running {
  Pool::Id id;
  Request request;
};

std::vector<Pool::Id> ids_of(const std::vector<Running>& batch) {
  std::vector<Pool::Id> ids;
  ids.reserve(batch.size());
  for (const Running& one : batch) ids.push_back(one.id);
  return ids;
}

/// Reads the prompts of new sequences, layer by layer: one call for all of them.
bool read_prompts(Pool& pool, const std::vector<Running>& arrived) {
  const std::vector<Pool::Id> ids = ids_of(arrived);
  std::vector<std::int32_t> indptr{0};
  indptr.reserve(arrived.size() + 1);
  for (const Running& one : arrived) {
    indptr.push_back(indptr.back() + static_cast<std::int32_t>(one.request.prompt));
  }
  std::vector<Status> statuses(ids.size());
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    Tokens tokens(shape, static_cast<std::size_t>(indptr.back()), 1);
    if (pool.prefill(layer, ids, indptr, tokens.queries, tokens.keys, tokens.values, tokens.outputs,
                     statuses) != Status::ok) {
      return false;
    }
  }
  return true;
}

/// One token of every running sequence, layer by layer: one call for the whole batch.
bool step(Pool& pool, const std::vector<Running>& batch, std::uint32_t seed) {
  const std::vector<Pool::Id> ids = ids_of(batch);
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

/// Pages that a step of so many sequences needs at most: every head may write to a page that is
/// new, or shared. (Where a step finds no page, it reports Status::no_memory and changes nothing.)
std::size_t pages_of_step(std::size_t sequences) {
  return sequences * shape.layers * shape.kv_heads;
}
std::size_t pages_of_prompt(const Request& request) {
  return shape.layers * morphkv::pages_for(std::min(request.prompt, capacity), page_size);
}

}  // namespace

int main() {
  std::vector<Eigen::half> memory(64 * Pool::page_elements(shape, page_size));
  Pool pool(shape, memory, page_size);

  std::deque<Request> queue{{400, 300}, {30, 50}, {20, 80},   {60, 40},
                            {10, 90},   {25, 70}, {200, 500}, {300, 40}};
  std::vector<Running> batch;
  std::size_t steps = 0, written = 0, most = 0, put_back = 0;
  for (; !queue.empty() || !batch.empty(); ++steps) {
    std::vector<Running> arrived;
    std::size_t pages = pages_of_step(batch.size());
    while (!queue.empty()) {  // admit what fits now: pages are taken later, while sequences grow
      const Request& next = queue.front();
      pages += pages_of_prompt(next) + pages_of_step(1);
      if (pages > pool.free_pages()) break;
      const std::size_t tokens = next.prompt + next.remaining;
      arrived.push_back(
          {pool.create({.capacity = std::min(tokens, capacity), .window = 16}), next});
      queue.pop_front();
    }
    if (!arrived.empty() && !read_prompts(pool, arrived)) return 1;
    batch.insert(batch.end(), arrived.begin(), arrived.end());
    if (steps == 100) {  // a second response to the first prompt: it continues that sequence
      batch.push_back({pool.fork(batch[0].id), batch[0].request});
    }
    while (pool.free_pages() < pages_of_step(batch.size())) {  // the newest one waits again
      pool.release(batch.back().id);
      queue.push_front(batch.back().request);
      batch.pop_back();
      ++put_back;
    }
    if (batch.empty() || !step(pool, batch, static_cast<std::uint32_t>(steps))) return 1;
    written += batch.size();
    most = std::max(most, batch.size());
    std::erase_if(batch, [&](Running& one) {
      ++one.request.prompt;  // what it reads if it is put back
      if (--one.request.remaining > 0) return false;
      pool.release(one.id);
      return true;
    });
  }
  const std::size_t whole = shape.layers * morphkv::pages_for(capacity, page_size);
  std::printf("9 responses, %zu tokens in %zu steps, up to %zu at a time, %zu put back\n", written,
              steps, most, put_back);
  std::printf("%zu pages of %zu bytes; a sequence of %zu tokens takes %zu of them\n", pool.pages(),
              pool.layout().elements() * sizeof(Eigen::half), capacity, whole);
  return written == 1370 && most > pool.pages() / whole && pool.free_pages() == pool.pages() ? 0
                                                                                             : 1;
}
