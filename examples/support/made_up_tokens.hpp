// SPDX-License-Identifier: Apache-2.0
/// \file
/// Stands for a model in the small examples.
#ifndef MORPHKV_EXAMPLES_SUPPORT_MADE_UP_TOKENS_HPP
#define MORPHKV_EXAMPLES_SUPPORT_MADE_UP_TOKENS_HPP

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "morphkv/core/shape.hpp"

namespace morphkv::examples {

/// What a layer's projections compute for some tokens, and memory for the attention's outputs:
/// tokens outermost, heads side by side. An engine has these already; here they are drawn at
/// random.
struct Tokens {
  Tokens(const CacheShape& shape, std::size_t count, std::uint32_t seed)
      : queries(count * shape.query_heads * shape.head_dim),
        keys(count * shape.kv_heads * shape.head_dim),
        values(keys.size()),
        outputs(queries.size()) {
    std::minstd_rand random(seed + 1);
    std::normal_distribution<float> normal;
    for (auto* numbers : {&queries, &keys, &values}) {
      for (float& x : *numbers) x = normal(random);
    }
  }

  std::vector<float> queries;  ///< [count][query_heads][head_dim], rotated by position (RoPE)
  std::vector<float> keys;     ///< [count][kv_heads][head_dim], rotated too
  std::vector<float> values;   ///< [count][kv_heads][head_dim]
  std::vector<float> outputs;  ///< [count][query_heads][head_dim]
};

}  // namespace morphkv::examples

#endif  // MORPHKV_EXAMPLES_SUPPORT_MADE_UP_TOKENS_HPP
