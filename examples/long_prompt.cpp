// SPDX-License-Identifier: Apache-2.0
/// \file
/// A long prompt in chunks, and a second turn: the cache never holds more than its capacity.
#include <algorithm>
#include <cstdio>
#include <morphkv/morphkv.hpp>

#include "support/made_up_tokens.hpp"

int main() {
  const morphkv::CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 16};
  morphkv::KVCache<float, morphkv::MorphKV> cache(shape, {.capacity = 128, .window = 16});
  const std::size_t bytes = cache.memory().total();
  const auto read = [&](std::size_t count, std::uint32_t seed) {
    morphkv::examples::Tokens block(shape, count, seed);
    return cache.prefill(0, block.queries, block.keys, block.values, block.outputs);
  };
  for (std::uint32_t chunk = 0; chunk < 16; ++chunk) {  // a prompt of 1024 tokens
    if (read(64, chunk) != morphkv::Status::ok) return 1;
  }
  if (read(40, 99) != morphkv::Status::ok) return 1;  // a later turn

  const auto positions = cache.positions(0, 0);
  std::printf("%d tokens read, %zu held, from position %d to %d; %zu bytes, as at the start\n",
              cache.next_position(0), cache.size(0, 0),
              *std::min_element(positions.begin(), positions.end()),
              *std::max_element(positions.begin(), positions.end()), cache.memory().total());
  return cache.size(0, 0) == 128 && cache.memory().total() == bytes ? 0 : 1;
}
