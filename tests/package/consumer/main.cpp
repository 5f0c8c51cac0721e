// SPDX-License-Identifier: Apache-2.0
//
// A user's program: it got the version that it asked for, and a cache that does not grow.
#include <cstdio>
#include <cstring>
#include <morphkv/morphkv.hpp>
#include <vector>

int main() {
  const morphkv::CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 8};
  morphkv::KVCache<float, morphkv::MorphKV> cache(shape, {.capacity = 16, .window = 4});
  const std::vector<float> token(shape.kv_heads * shape.head_dim, 1.0F);
  const std::vector<float> query(shape.query_heads * shape.head_dim, 1.0F);
  std::vector<float> output(query.size());
  for (morphkv::Position position = 0; position < 100; ++position) {
    if (cache.append(0, token, token, position) != morphkv::Status::ok) return 1;
    if (cache.attend(0, query, output) != morphkv::Status::ok) return 1;
  }
  std::printf("morphkv %s: 100 tokens in %zu slots\n", MORPHKV_VERSION_STRING, cache.size(0, 0));
  const bool version = std::strcmp(MORPHKV_VERSION_STRING, EXPECTED_VERSION) == 0;
  return version && cache.size(0, 0) == 16 ? 0 : 1;
}
