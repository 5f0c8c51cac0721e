// SPDX-License-Identifier: Apache-2.0
/// \file
/// A rejected draft: tokens are taken back, and the tokens that they had overwritten are restored.
#include <cstdio>
#include <morphkv/morphkv.hpp>
#include <vector>

namespace {

constexpr morphkv::CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 16};
using Cache = morphkv::KVCache<float, morphkv::MorphKV>;

/// Stands for a model: writes one token into the cache. \return the first number of the last output
float write_token(Cache& cache, float seed) {
  std::vector<float> query(shape.query_heads * shape.head_dim, seed);
  std::vector<float> key(shape.kv_heads * shape.head_dim, 1 - seed);
  std::vector<float> value(key.size(), seed * seed);
  std::vector<float> output(query.size());
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    query[layer] += 1;
    const auto appended = cache.append(layer, key, value, cache.next_position(layer));
    const auto attended = cache.attend(layer, query, output);
    if (appended != morphkv::Status::ok || attended != morphkv::Status::ok) return -1;
  }
  return output[0];
}

}  // namespace

int main() {
  Cache cache(shape, {.capacity = 24, .window = 8, .history = 4});  // drafts of up to 4 tokens
  for (int token = 0; token < 100; ++token) write_token(cache, static_cast<float>(token % 7) / 7);

  const Cache untouched = cache;  // a copy is a fork: independent from here on
  for (int draft = 0; draft < 4; ++draft) write_token(cache, 0.9F);
  if (cache.rollback(3) != morphkv::Status::ok) return 1;  // the first was right, three were not
  const float after_rollback = write_token(cache, 0.3F);

  Cache expected = untouched;
  write_token(expected, 0.9F);
  const float without_draft = write_token(expected, 0.3F);
  std::printf("after the rollback %.7g, without the draft %.7g\n",
              static_cast<double>(after_rollback), static_cast<double>(without_draft));
  return after_rollback == without_draft ? 0 : 1;
}
