// SPDX-License-Identifier: Apache-2.0
//
// A batch of full caches, as many layers of them as no cache of the device holds.
#ifndef MORPHKV_BENCH_CUDA_DECODING_CUH
#define MORPHKV_BENCH_CUDA_DECODING_CUH

#include <cuda_bf16.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/device.cuh"
#include "morphkv/cuda/bookkeeping.cuh"
#include "morphkv/cuda/decode.cuh"

namespace morphkv::bench {

/// 32 query heads, 8 KV heads of 128 dimensions, bfloat16.
class Decoding {
 public:
  using T = __nv_bfloat16;
  static constexpr std::uint32_t kv_heads = 8;
  static constexpr std::uint32_t group = 4;
  static constexpr std::uint32_t head_dim = 128;

  Decoding(std::uint32_t sequences, std::uint32_t slots, std::size_t l2_bytes, cudaStream_t stream)
      : sequences_(sequences),
        slots_(slots),
        stream_(stream),
        queries_(std::size_t{sequences} * kv_heads * group * head_dim),
        tokens_(std::size_t{sequences} * kv_heads * head_dim * tokens_in_turn),
        outputs_(queries_.size()) {
    const std::size_t elements = cells() * slots * head_dim;
    const std::size_t layers = 1 + 4 * l2_bytes / (2 * sizeof(T) * elements);
    for (std::size_t l = 0; l < layers; ++l) {
      keys_.emplace_back(elements);
      values_.emplace_back(elements);
      draw(keys_.back(), 1.0F, static_cast<std::uint32_t>(2 * l));
      draw(values_.back(), 1.0F, static_cast<std::uint32_t>(2 * l + 1));
    }
    draw(queries_, 1.5F, 77);
    draw(tokens_, 1.0F, 78);
    check(cudaDeviceSynchronize(), "draw");
  }

  [[nodiscard]] std::size_t cells() const { return std::size_t{sequences_} * kv_heads; }
  [[nodiscard]] std::size_t layers() const { return keys_.size(); }
  /// Bytes of keys and values that a step of one layer reads.
  [[nodiscard]] double cache_bytes() const {
    return 2.0 * sizeof(T) * static_cast<double>(cells()) * slots_ * head_dim;
  }

  /// States of all layers in which every slot is taken: that of the first, copied.
  std::vector<Buffer<std::byte>> fill(const cuda::Policy& policy) const {
    std::vector<Buffer<std::byte>> states;
    for (std::size_t l = 0; l < layers(); ++l) {
      states.emplace_back(cuda::state_bytes(policy, sequences_, kv_heads));
      if (l > 0) {
        check(cudaMemcpyAsync(states[l].data(), states[0].data(), states[0].size(),
                              cudaMemcpyDeviceToDevice, stream_),
              "copy");
        continue;
      }
      check(cuda::reset_state(policy, states[0].data(), 0, sequences_, kv_heads, stream_), "reset");
      for (std::uint32_t t = 0; t < slots_ + policy.rules.recent; ++t) {
        step(policy, states[0].data(), 0, t, true);
      }
    }
    check(cudaStreamSynchronize(stream_), "fill");
    return states;
  }

  /// One step of a layer. \param appends or a plain attention
  void step(const cuda::Policy& policy, void* state, std::size_t layer, std::size_t turn,
            bool appends) const {
    const T* token = tokens_.data() + turn % tokens_in_turn * cells() * head_dim;
    const auto rows = [&](T* data) {
      const std::size_t head = std::size_t{slots_} * head_dim;
      return cuda::CacheRows<T>{.data = data,
                                .sequence_stride = head * kv_heads,
                                .head_stride = head,
                                .stride = head_dim};
    };
    check(cuda::decode<T, head_dim>({.queries = queries_.data(),
                                     .keys = appends ? token : nullptr,
                                     .values = appends ? token : nullptr,
                                     .outputs = outputs_.data(),
                                     .cache_keys = rows(keys_[layer].data()),
                                     .cache_values = rows(values_[layer].data()),
                                     .sequences = sequences_,
                                     .kv_heads = kv_heads,
                                     .group = group,
                                     .scale = 1 / std::sqrt(static_cast<float>(head_dim)),
                                     .policy = policy,
                                     .state = state},
                                    stream_),
          "decode");
  }

 private:
  static constexpr std::size_t tokens_in_turn = 16;

  std::uint32_t sequences_;
  std::uint32_t slots_;
  cudaStream_t stream_;
  Buffer<T> queries_;
  Buffer<T> tokens_;
  Buffer<T> outputs_;
  std::vector<Buffer<T>> keys_;
  std::vector<Buffer<T>> values_;
};

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_CUDA_DECODING_CUH
