// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest scores of each segment, with deterministic ties.
#ifndef MORPHKV_CUDA_TOP_K_CUH
#define MORPHKV_CUDA_TOP_K_CUH

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cub/block/block_scan.cuh>

#include "morphkv/core/types.hpp"
#include "morphkv/cuda/ranked_key.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

namespace detail {

inline constexpr int top_k_threads = 1024;
/// Neighbouring keys that a thread holds.
inline constexpr std::uint32_t top_k_items = 8;
inline constexpr std::uint32_t top_k_tile = top_k_threads * top_k_items;

/// Shared memory of block_top_k.
template <class Key>
struct TopKStorage {
  using Scan = cub::BlockScan<std::uint64_t, top_k_threads, cub::BLOCK_SCAN_WARP_SCANS>;
  typename Scan::TempStorage scan;
  std::uint32_t bins[256];
  DigitSearch<Key> search;
  std::uint32_t equals;
};

/// The keys of a thread. One tile of keys is read once and stays in registers; more are read again
/// at every pass.
template <class Key, class KeyAt>
class ThreadKeys {
 public:
  __device__ ThreadKeys(std::uint32_t count, const KeyAt& key_at) : count_(count), key_at_(key_at) {
    if (count_ <= top_k_tile) load(0);
  }

  /// Calls use(first, keys) for every tile: the keys from index `first` on, top_k_items of them,
  /// some of which may lie past the count. All threads.
  template <class Use>
  __device__ void for_each_tile(const Use& use) {
    for (std::uint32_t base = 0; base < count_; base += top_k_tile) {
      if (count_ > top_k_tile) load(base);
      use(base + threadIdx.x * top_k_items, keys_);
    }
  }

 private:
  __device__ void load(std::uint32_t base) {
    const std::uint32_t first = base + threadIdx.x * top_k_items;
#pragma unroll
    for (std::uint32_t i = 0; i < top_k_items; ++i) {
      keys_[i] = first + i < count_ ? key_at_(first + i) : Key{0};
    }
  }

  std::uint32_t count_;
  const KeyAt& key_at_;
  Key keys_[top_k_items];
};

/// How often each digit occurs among the keys that agree with the search. All threads.
template <class Key, class Keys>
__device__ void count_digits(std::uint32_t count, const DigitSearch<Key>& search, Keys& keys,
                             std::uint32_t (&bins)[256]) {
  for (std::uint32_t i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
  __syncthreads();
  keys.for_each_tile([&](std::uint32_t first, const Key(&key)[top_k_items]) {
#pragma unroll
    for (std::uint32_t i = 0; i < top_k_items; ++i) {
      if (first + i < count && search.agrees(key[i])) atomicAdd(&bins[search.digit(key[i])], 1U);
    }
  });
  __syncthreads();
}

/// Finds the digit of the least key that stays, from how often each occurs. By the first warp:
/// lane l looks at digits 255 - 8 l and the seven below, so that it counts from the highest.
template <class Key>
__device__ void find_digit(const DigitSearch<Key>& search, TopKStorage<Key>& shared) {
  const unsigned lane = threadIdx.x;
  if (lane >= 32) return;
  std::uint32_t here[8];
  std::uint32_t sum = 0;
#pragma unroll
  for (unsigned i = 0; i < 8; ++i) sum += here[i] = shared.bins[255 - (8 * lane + i)];
  std::uint32_t above = sum;  // with those of this lane
#pragma unroll
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const std::uint32_t other = __shfl_up_sync(0xffffffffU, above, distance);
    if (lane >= distance) above += other;
  }
  above -= sum;
#pragma unroll
  for (unsigned i = 0; i < 8; ++i) {
    if (above < search.k && search.k <= above + here[i]) {  // of one lane
      shared.search = search;
      shared.search.found(255 - (8 * lane + i), above);
      shared.equals = here[i];
    }
    above += here[i];
  }
}

/// Calls emit(rank, index) for each of the `k` indices with the highest keys, rank ascending
/// with the index. Of equal keys the higher index stays. All threads of a block of top_k_threads.
/// \pre k <= count
template <class Key, class KeyAt, class Emit>
__device__ void block_top_k(std::uint32_t count, std::uint32_t k, const KeyAt& key_at,
                            const Emit& emit, TopKStorage<Key>& shared) {
  if (k == 0) return;
  ThreadKeys<Key, KeyAt> keys(count, key_at);
  auto search = DigitSearch<Key>::of(k);
  while (!search.is_done()) {
    search.next_digit();
    count_digits(count, search, keys, shared.bins);
    find_digit(search, shared);
    __syncthreads();
    search = shared.search;
  }
  const std::uint32_t equals = shared.equals;
  std::uint64_t before = 0;  // keys equal to the least that stays, and in the low half those above
  keys.for_each_tile([&](std::uint32_t first, const Key(&key)[top_k_items]) {
    const auto seen = [&](std::uint32_t i) {
      const bool exists = first + i < count;
      return std::uint64_t{exists && key[i] == search.prefix} << 32U |
             std::uint64_t{exists && key[i] > search.prefix};
    };
    std::uint64_t own = 0;
#pragma unroll
    for (std::uint32_t i = 0; i < top_k_items; ++i) own += seen(i);
    std::uint64_t rank = 0;
    std::uint64_t total = 0;
    typename TopKStorage<Key>::Scan(shared.scan).ExclusiveSum(own, rank, total);
    __syncthreads();  // the scan's memory is used again
    rank += before;
    before += total;
#pragma unroll
    for (std::uint32_t i = 0; i < top_k_items; ++i) {
      const std::uint64_t one = seen(i);
      const auto high = static_cast<std::uint32_t>(rank >> 32U);
      const auto low = static_cast<std::uint32_t>(rank);
      const bool equal = one >> 32U != 0;
      const bool stays = (one & 1U) != 0 || (equal && high >= equals - search.k);
      if (stays) emit(kept_before(low, high, equals, search.k), first + i);
      rank += one;
    }
  });
}

}  // namespace detail

/// The segments of a selection. All pointers are of the device; nothing is owned.
template <class Score>
struct TopKArguments {
  const Score* scores = nullptr;  ///< [segments][score_stride]; float (no NaN), uint32 or uint64
  std::size_t score_stride = 0;
  std::uint32_t segments = 0;
  std::uint32_t count = 0;                ///< scores of each segment
  const std::uint32_t* counts = nullptr;  ///< [segments], if they differ; else null
  std::uint32_t k = 0;
  std::uint32_t* indices = nullptr;  ///< [segments][k], ascending; no_slot past the scores
};

namespace detail {

/// A block serves one segment.
template <class Score>
__global__ void __launch_bounds__(top_k_threads)
    top_k_kernel(const __grid_constant__ TopKArguments<Score> a) {
  using Key = decltype(ranked_key(Score{}));
  __shared__ TopKStorage<Key> shared;
  const std::size_t segment = blockIdx.x;
  const Score* scores = a.scores + segment * a.score_stride;
  std::uint32_t* indices = a.indices + segment * a.k;
  const std::uint32_t count = a.counts == nullptr ? a.count : a.counts[segment];
  if (count <= a.k) {
    for (std::uint32_t i = threadIdx.x; i < a.k; i += blockDim.x) {
      indices[i] = i < count ? i : no_slot;
    }
    return;
  }
  block_top_k<Key>(
      count, a.k, [&](std::uint32_t i) { return ranked_key(scores[i]); },
      [&](std::uint32_t rank, std::uint32_t i) { indices[rank] = i; }, shared);
}

}  // namespace detail

/// Writes the indices of the highest scores of every segment, ascending: kernels::top_k of the
/// portable library, with the same ties (the higher index stays). One block per segment; up to
/// 8,192 scores are read once, more of them five times (uint64: nine). On the stream; no
/// allocation, no synchronisation.
template <class Score>
[[nodiscard]] cudaError_t top_k(const TopKArguments<Score>& a, cudaStream_t stream) {
  if (a.segments == 0 || a.k == 0) return cudaSuccess;
  if (a.scores == nullptr || a.indices == nullptr || a.score_stride < a.count) {
    return cudaErrorInvalidValue;
  }
  detail::top_k_kernel<Score><<<a.segments, detail::top_k_threads, 0, stream>>>(a);
  return cudaGetLastError();
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_TOP_K_CUH
