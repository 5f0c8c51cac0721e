// SPDX-License-Identifier: Apache-2.0
//
// A prompt whose attention an engine has computed, and the cache that takes it in.
#ifndef MORPHKV_BENCH_CUDA_PROMPT_CUH
#define MORPHKV_BENCH_CUDA_PROMPT_CUH

#include <cuda_bf16.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/device.cuh"
#include "morphkv/cuda/prompt.cuh"

namespace morphkv::bench {

/// 32 query heads, 8 KV heads of 128 dimensions, bfloat16; [token][head][dim].
class Prompt {
 public:
  using T = __nv_bfloat16;
  static constexpr std::uint32_t kv_heads = 8;
  static constexpr std::uint32_t group = 4;
  static constexpr std::uint32_t head_dim = 128;

  /// \param kept tokens that stay of it
  Prompt(std::uint32_t tokens, std::uint32_t kept, cudaStream_t stream)
      : tokens_(tokens),
        stream_(stream),
        queries_(std::size_t{tokens} * kv_heads * group * head_dim),
        keys_(std::size_t{tokens} * kv_heads * head_dim),
        values_(keys_.size()),
        log_sum_exp_(std::size_t{tokens} * kv_heads * group),
        cache_keys_(std::size_t{kept} * kv_heads * head_dim),
        cache_values_(cache_keys_.size()),
        length_(1),
        kept_(std::size_t{kept} * kv_heads),
        counts_(kv_heads) {
    draw(queries_, 1.0F, 1);
    draw(keys_, 1.0F, 2);
    draw(values_, 1.0F, 3);
    // Logits are about normal with a deviation of 1, so that the logarithm of the sum of t of their
    // exponentials is about log(t) + 1/2. A little more, since a weight above 1 would be refused;
    // the time does not depend on it.
    std::vector<float> logs(log_sum_exp_.size());
    for (std::size_t i = 0; i < logs.size(); ++i) {
      logs[i] = std::log(static_cast<float>(i % tokens + 1)) + 1.0F;
    }
    check(cudaMemcpy(log_sum_exp_.data(), logs.data(), sizeof(float) * logs.size(),
                     cudaMemcpyHostToDevice),
          "copy");
    check(cudaMemcpy(length_.data(), &tokens, sizeof tokens, cudaMemcpyHostToDevice), "copy");
    check(cudaDeviceSynchronize(), "draw");
  }

  [[nodiscard]] Buffer<std::byte> workspace(const cuda::Policy& policy) const {
    return Buffer<std::byte>(cuda::admit_workspace(policy, prompts()));
  }

  void admit(const cuda::Policy& policy, void* state, void* workspace) const {
    check(cuda::admit_prompts<T, head_dim>({.prompts = prompts(),
                                            .policy = policy,
                                            .state = state,
                                            .cache_keys = rows(cache_keys_.data()),
                                            .cache_values = rows(cache_values_.data()),
                                            .kept = kept_.data(),
                                            .counts = counts_.data()},
                                           workspace, stream_),
          "admit_prompts");
  }

 private:
  [[nodiscard]] static cuda::CacheRows<T> rows(T* data) {
    return {.data = data, .head_stride = head_dim, .stride = std::size_t{kv_heads} * head_dim};
  }
  [[nodiscard]] cuda::Prompts<T> prompts() const {
    return {.queries = queries_.data(),
            .query_stride = std::size_t{kv_heads} * group * head_dim,
            .keys = rows(keys_.data()),
            .values = rows(values_.data()),
            .tokens = length_.data(),
            .max_tokens = tokens_,
            .sequences = 1,
            .kv_heads = kv_heads,
            .group = group,
            .scale = 1 / std::sqrt(static_cast<float>(head_dim)),
            .log_sum_exp = log_sum_exp_.data()};
  }

  std::uint32_t tokens_;
  cudaStream_t stream_;
  Buffer<T> queries_;
  Buffer<T> keys_;
  Buffer<T> values_;
  Buffer<float> log_sum_exp_;
  Buffer<T> cache_keys_;
  Buffer<T> cache_values_;
  Buffer<std::uint32_t> length_;
  Buffer<std::uint32_t> kept_;
  Buffer<std::uint32_t> counts_;
};

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_CUDA_PROMPT_CUH
