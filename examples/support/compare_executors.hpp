// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the examples of executors share: a cache that decodes with heads in parallel.
#ifndef MORPHKV_EXAMPLES_SUPPORT_COMPARE_EXECUTORS_HPP
#define MORPHKV_EXAMPLES_SUPPORT_COMPARE_EXECUTORS_HPP

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "morphkv/morphkv.hpp"
#include "support/made_up_tokens.hpp"

namespace morphkv::examples {

/// The outputs of a prompt and of many tokens after it, with the heads on an executor; empty if a
/// step fails.
template <class Execute>
[[nodiscard]] std::vector<float> decode_with(Execute& execute) {
  const CacheShape shape{.layers = 1, .query_heads = 16, .kv_heads = 8, .head_dim = 64};
  KVCache<Eigen::half, MorphKV> cache(shape, {.capacity = 64, .window = 8});
  Tokens prompt(shape, 100, 1);
  Status status = cache.prefill(0, prompt.queries, prompt.keys, prompt.values,
                                std::span(prompt.outputs), execute);
  std::vector<float> outputs = prompt.outputs;
  for (Position position = 100; position < 300 && status == Status::ok; ++position) {
    Tokens token(shape, 1, static_cast<std::uint32_t>(position));
    status = cache.append(0, token.keys, token.values, position);
    if (status == Status::ok) status = cache.attend(0, token.queries, token.outputs, execute);
    outputs.insert(outputs.end(), token.outputs.begin(), token.outputs.end());
  }
  return status == Status::ok ? outputs : std::vector<float>();
}

/// \return the exit code: 0 if not a bit differs from one head after the other
template <class Execute>
[[nodiscard]] int compare_with_serial(const char* name, Execute& execute) {
  SerialExecutor serial;
  const std::vector<float> expected = decode_with(serial);
  const bool same = !expected.empty() && decode_with(execute) == expected;
  std::printf("heads on %s and one after the other give %s outputs\n", name,
              same ? "the same" : "different");
  return same ? 0 : 1;
}

}  // namespace morphkv::examples

#endif  // MORPHKV_EXAMPLES_SUPPORT_COMPARE_EXECUTORS_HPP
