// SPDX-License-Identifier: Apache-2.0
//
// Whole prompts of a cache, one KV head, under one policy: attention, scores and selection.
#ifndef MORPHKV_BENCH_KERNELS_PROMPTS_HPP
#define MORPHKV_BENCH_KERNELS_PROMPTS_HPP

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>

#include "kernels/decoding.hpp"
#include "kernels/machine.hpp"
#include "morphkv/cache/kv_cache.hpp"

namespace morphkv::bench {

/// What a model gives of a prompt, and the place of its outputs.
template <Scalar T>
struct PromptInputs {
  explicit PromptInputs(std::size_t tokens)
      : queries(tokens * group * head_dim),
        keys(tokens * head_dim),
        values(keys.size()),
        outputs(queries.size()) {
    const Numbers numbers;
    for (std::size_t i = 0; i < queries.size(); ++i) queries[i] = static_cast<T>(numbers[3 * i]);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      keys[i] = static_cast<T>(numbers[7 * i]);
      values[i] = static_cast<T>(numbers[13 * i + 5]);
    }
  }

  HugeBuffer<T> queries, keys, values, outputs;
};

/// A function that reads the prompt, which lives longer, in an empty cache.
template <class Policy, Scalar T>
std::function<void()> read_prompt(const PromptInputs<T>& prompt,
                                  const typename Policy::Options& options) {
  const auto span = [](const HugeBuffer<T>& buffer) {
    return std::span<T>(buffer.data(), buffer.size());
  };
  const CacheShape shape{.layers = 1, .query_heads = group, .kv_heads = 1, .head_dim = head_dim};
  return [&prompt, span, cache = std::make_shared<KVCache<T, Policy>>(shape, options)] {
    cache->reset();
    const Status status = cache->prefill(0, span(prompt.queries), span(prompt.keys),
                                         span(prompt.values), span(prompt.outputs));
    if (status != Status::ok) std::abort();
  };
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_PROMPTS_HPP
