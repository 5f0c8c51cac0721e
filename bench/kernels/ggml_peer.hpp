// SPDX-License-Identifier: Apache-2.0
//
// Attention of a layer by ggml, the library below llama.cpp, over keys and values that lie where
// the benchmark puts them.
#ifndef MORPHKV_BENCH_KERNELS_GGML_PEER_HPP
#define MORPHKV_BENCH_KERNELS_GGML_PEER_HPP

#include <cstddef>
#include <functional>
#include <string>

namespace morphkv::bench {

/// Of keys and values.
enum class GgmlType { half, bfloat16, q8_0 };

/// Some queries of all heads of a layer. Keys and values have the same strides, in numbers.
struct GgmlProblem {
  GgmlType type = GgmlType::half;
  const float* queries = nullptr;  ///< [rows][heads][head_dim]
  const void* keys = nullptr;
  const void* values = nullptr;
  std::size_t rows = 1;  ///< queries; more than one are those of the last tokens, and causal
  std::size_t tokens = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t token_stride = 0;
  std::size_t head_stride = 0;
  float* outputs = nullptr;  ///< as the queries
};

/// With its version; empty where the benchmark was built without it.
std::string ggml_name();

/// A function that computes the outputs on one thread. Only where ggml_name() is not empty.
std::function<void()> ggml_attention(const GgmlProblem& problem);

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_GGML_PEER_HPP
