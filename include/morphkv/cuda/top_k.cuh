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

namespace morphkv { inline namespace v0 { namespace cuda {

namespace detail {

inline constexpr int top_k_threads = 1024;

/// Shared memory of block_top_k.
template <class Key>
struct TopKStorage {
  using Scan = cub::BlockScan<std::uint64_t, top_k_threads, cub::BLOCK_SCAN_WARP_SCANS>;
  typename Scan::TempStorage scan;
  std::uint32_t bins[256];
  DigitSearch<Key> search;
  std::uint32_t equals;
};

/// How often each digit occurs among the keys that agree with the search. Lanes with the same
/// digit add once: scores share their highest digits.
template <class Key, class KeyAt>
__device__ void count_digits(std::uint32_t count, const DigitSearch<Key>& search,
                             const KeyAt& key_at, std::uint32_t (&bins)[256]) {
  for (std::uint32_t i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
  __syncthreads();
  for (std::uint32_t base = 0; base < count; base += blockDim.x) {
    const std::uint32_t i = base + threadIdx.x;
    const Key key = i < count ? key_at(i) : Key{0};
    const bool counts = i < count && search.agrees(key);
    const std::uint32_t digit = counts ? search.digit(key) : 256;
    const unsigned same = __match_any_sync(0xffffffffU, digit);
    const bool first = (same & ((1U << (threadIdx.x % 32)) - 1)) == 0;
    if (counts && first) atomicAdd(&bins[digit], static_cast<unsigned>(__popc(same)));
  }
  __syncthreads();
}

/// The least key that stays, and how many keys equal it. All threads of a block; it ends with a
/// barrier.
/// \pre 0 < k <= count
template <class Key, class KeyAt>
__device__ void find_least_kept(std::uint32_t count, std::uint32_t k, const KeyAt& key_at,
                                TopKStorage<Key>& shared) {
  auto search = DigitSearch<Key>::of(k);
  while (!search.is_done()) {
    search.next_digit();
    count_digits(count, search, key_at, shared.bins);
    // Thread i looks at digit 255 - i, so that the scan counts from the highest.
    const std::uint32_t digit = 255 - threadIdx.x;
    const std::uint64_t here = threadIdx.x < 256 ? shared.bins[digit] : 0;
    std::uint64_t above = 0;
    typename TopKStorage<Key>::Scan(shared.scan).ExclusiveSum(here, above);
    if (above < search.k && search.k <= above + here) {  // of one thread
      shared.search = search;
      shared.search.found(digit, static_cast<std::uint32_t>(above));
      shared.equals = static_cast<std::uint32_t>(here);
    }
    __syncthreads();
    search = shared.search;
  }
}

/// Calls emit(rank, index) for each of the `k` indices with the highest keys, rank ascending
/// with the index. Of equal keys the higher index stays. All threads of a block of top_k_threads.
/// \pre k <= count
template <class Key, class KeyAt, class Emit>
__device__ void block_top_k(std::uint32_t count, std::uint32_t k, const KeyAt& key_at,
                            const Emit& emit, TopKStorage<Key>& shared) {
  if (k == 0) return;
  find_least_kept(count, k, key_at, shared);
  const DigitSearch<Key> search = shared.search;
  const std::uint32_t equals = shared.equals;
  std::uint64_t before = 0;  // keys equal to the least that stays, and in the low half those above
  for (std::uint32_t base = 0; base < count; base += blockDim.x) {
    const std::uint32_t i = base + threadIdx.x;
    const Key key = i < count ? key_at(i) : Key{0};
    const bool above = i < count && key > search.prefix;
    const bool equal = i < count && key == search.prefix;
    const std::uint64_t own = std::uint64_t{equal} << 32U | std::uint64_t{above};
    std::uint64_t rank = 0;
    std::uint64_t total = 0;
    typename TopKStorage<Key>::Scan(shared.scan).ExclusiveSum(own, rank, total);
    __syncthreads();  // the scan's memory is used again
    rank += before;
    before += total;
    const auto high = static_cast<std::uint32_t>(rank >> 32U);
    const auto low = static_cast<std::uint32_t>(rank);
    const bool stays = above || (equal && high >= equals - search.k);
    if (stays) emit(kept_before(low, high, equals, search.k), i);
  }
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
/// portable library, with the same ties (the higher index stays). One block a segment; it reads the
/// scores five times (uint64: nine), mostly from the caches. On the stream; no allocation, no
/// synchronisation.
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
