// SPDX-License-Identifier: Apache-2.0
/// \file
/// A rejected draft: the model verifies four drafted tokens as one block, and the wrong ones are
/// taken back as if they had never come, though they had already replaced others.
#include <cstdio>
#include <morphkv/morphkv.hpp>
#include <vector>

namespace {

constexpr morphkv::CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 16};
using Cache = morphkv::KVCache<float, morphkv::MorphKV>;

/// Stands for a model that reads `tokens` tokens as a block. \return the last output
float read_tokens(Cache& cache, std::size_t tokens, float seed) {
  std::vector<float> queries(tokens * shape.query_width(), seed);
  std::vector<float> keys(tokens * shape.key_width(), 1 - seed);
  std::vector<float> values(keys.size(), seed * seed);
  std::vector<float> outputs(queries.size());
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    queries[layer] += 1;
    if (cache.prefill(layer, queries, keys, values, outputs) != morphkv::Status::ok) return -1;
  }
  return outputs.back();
}

}  // namespace

int main() {
  Cache cache(shape, {.capacity = 24, .window = 8, .history = 4});  // drafts of up to 4 tokens
  for (int token = 0; token < 100; ++token)
    read_tokens(cache, 1, static_cast<float>(token % 7) / 7);

  Cache without_draft = cache;  // a copy is a fork: independent from here on
  read_tokens(cache, 4, 0.9F);
  if (cache.rollback(3) != morphkv::Status::ok) return 1;  // the first was right, three were not
  const float after_rollback = read_tokens(cache, 1, 0.3F);

  read_tokens(without_draft, 1, 0.9F);
  const float expected = read_tokens(without_draft, 1, 0.3F);
  std::printf("after the rollback %.7g, without the wrong tokens %.7g\n",
              static_cast<double>(after_rollback), static_cast<double>(expected));
  return after_rollback == expected ? 0 : 1;
}
