// SPDX-License-Identifier: Apache-2.0
/// \file
/// The beginning of a sequence.
#ifndef MORPHKV_CUDA_RESET_CUH
#define MORPHKV_CUDA_RESET_CUH

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "morphkv/cuda/policy.hpp"
#include "morphkv/eviction/head_state.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

namespace detail {

/// A block clears one cell. \pre layout.bytes is a multiple of 16
static __global__ void reset_kernel(void* state, const __grid_constant__ HeadLayout layout,
                                    std::uint32_t quota, std::size_t first_cell) {
  const std::size_t cell = first_cell + blockIdx.x;
  auto* words = reinterpret_cast<uint4*>(static_cast<std::byte*>(state) + cell * layout.bytes);
  for (std::size_t w = threadIdx.x; w < layout.bytes / sizeof(uint4); w += blockDim.x) {
    words[w] = uint4{};
  }
  __syncthreads();
  if (threadIdx.x == 0) *HeadView(state, layout, cell).head = HeadState{.quota = quota};
}

}  // namespace detail

/// Resets the sequences from `first` on, `count` of them; keys and values stay where they are.
/// Every sequence begins with it. On the stream; no allocation, no synchronisation.
template <Score S>
[[nodiscard]] cudaError_t reset_state(const EvictionPlan<S>& policy, void* state, std::size_t first,
                                      std::size_t count, std::size_t kv_heads,
                                      cudaStream_t stream) {
  if (policy.rules.slots == 0 || state == nullptr) return cudaErrorInvalidValue;
  if (count == 0 || kv_heads == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(count * kv_heads);
  detail::reset_kernel<<<blocks, 256, 0, stream>>>(state, layout_of(policy), policy.rules.quota(),
                                                   first * kv_heads);
  return cudaGetLastError();
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_RESET_CUH
