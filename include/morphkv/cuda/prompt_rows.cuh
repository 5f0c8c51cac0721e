// SPDX-License-Identifier: Apache-2.0
/// \file
/// What single queries of a prompt paid to its tokens: their fused attention rows.
#ifndef MORPHKV_CUDA_PROMPT_ROWS_CUH
#define MORPHKV_CUDA_PROMPT_ROWS_CUH

#include <cooperative_groups/reduce.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/cuda/block_attention.cuh"
#include "morphkv/cuda/cache_rows.cuh"

namespace morphkv { inline namespace v0 { namespace cuda {

/// Prompts of a batch. All pointers are of the device; nothing is owned. Query t of sequence i is
/// [kv_heads * group][head_dim] at queries + i * query_sequence_stride + t * query_stride, on 16
/// bytes.
template <Element T>
struct Prompts {
  const T* queries = nullptr;
  std::size_t query_sequence_stride = 0;
  std::size_t query_stride = 0;
  CacheRows<T> keys{};                    ///< slot t is token t; each row on 16 bytes
  CacheRows<T> values{};                  ///< likewise
  const std::uint32_t* tokens = nullptr;  ///< [sequences]
  std::uint32_t max_tokens = 0;           ///< at least every one of them
  std::uint32_t sequences = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t group = 1;
  float scale = 1;  ///< of the logits
  /// [sequences][kv_heads * group][max_tokens]: the natural log-sum-exp of each query, as attention
  /// kernels return it, or null; without it every logit is computed twice.
  const float* log_sum_exp = nullptr;
};

namespace detail {

inline constexpr unsigned prompt_threads = 256;
/// Tokens whose logits a block of prompt_rows_kernel holds at once.
inline constexpr std::uint32_t prompt_tile = 1024;

/// Calls `use(token, logits)` for the tokens below `end`, each by the same thread in every call.
/// All threads.
template <Element T, int head_dim, int heads, class Use>
__device__ void for_each_logit(const QueryPart<heads, RowLanes<T, head_dim>::elements>& query,
                               const KvView<T>& keys, std::uint32_t end, PerHead<heads>* tile,
                               const Use& use) {
  for (std::uint32_t begin = 0; begin < end; begin += prompt_tile) {
    const std::uint32_t tile_end = min(begin + prompt_tile, end);
    block_logits<T, head_dim, heads>(
        query, keys, begin, tile_end,
        [&](std::uint32_t token, int h, float logit) { tile[token - begin].x[h] = logit; });
    __syncthreads();
    for (std::uint32_t t = begin + threadIdx.x; t < tile_end; t += blockDim.x) {
      use(t, tile[t - begin]);
    }
    __syncthreads();
  }
}

/// Each head's log2 of the sum of its powers of two, in `out`; not finite if no weight can be
/// given. All threads; it ends with a barrier.
template <Element T, int head_dim, int heads>
__device__ void log_sums(const QueryPart<heads, RowLanes<T, head_dim>::elements>& query,
                         const KvView<T>& keys, std::uint32_t end, PerHead<heads>* tile,
                         SoftmaxStorage<heads>& shared, float (&out)[heads]) {
  namespace cg = cooperative_groups;
  constexpr float infinity = __builtin_huge_valf();
  float greatest[heads];
  float sum[heads];
#pragma unroll
  for (int h = 0; h < heads; ++h) {
    greatest[h] = -infinity;
    sum[h] = 0;
  }
  for_each_logit<T, head_dim, heads>(
      query, keys, end, tile, [&](std::uint32_t, const PerHead<heads>& logit) {
#pragma unroll
        for (int h = 0; h < heads; ++h) {
          if (logit.x[h] == -infinity) continue;  // a weight of 0
          const float higher = fmaxf(greatest[h], logit.x[h]);
          sum[h] = sum[h] * exp2f(greatest[h] - higher) + exp2f(logit.x[h] - higher);
          greatest[h] = higher;
        }
      });
  reduce_heads<heads>(greatest, -infinity, cg::greater<float>(), shared.of_warp, shared.greatest);
#pragma unroll
  for (int h = 0; h < heads; ++h) {
    if (greatest[h] != -infinity) sum[h] *= exp2f(greatest[h] - shared.greatest[h]);
  }
  reduce_heads<heads>(sum, 0.0F, cg::plus<float>(), shared.of_warp, shared.sum);
#pragma unroll
  for (int h = 0; h < heads; ++h) out[h] = shared.greatest[h] + log2f(shared.sum[h]);
  __syncthreads();
}

/// Fused rows of the scoring queries from `first` on, counted among the last `scoring` queries of
/// each prompt. Grid: (rows, cells).
struct RowBlock {
  std::uint32_t scoring = 0;
  std::uint32_t first = 0;
  std::uint32_t rows = 0;
  GroupFusion fusion = GroupFusion::mean;
  float* out = nullptr;          ///< [cells][rows][max_tokens]; 0 for tokens after the query
  std::uint32_t* bad = nullptr;  ///< [cells]: set where a weight is not from 0 to 1
};

/// A block serves one query of one cell.
template <Element T, int head_dim, int heads>
__global__ void __launch_bounds__(prompt_threads)
    prompt_rows_kernel(const __grid_constant__ Prompts<T> a, const __grid_constant__ RowBlock b) {
  __shared__ PerHead<heads> tile[prompt_tile];
  __shared__ SoftmaxStorage<heads> softmax;
  const std::size_t cell = blockIdx.y;
  const std::size_t sequence = cell / a.kv_heads;
  const std::size_t head = cell % a.kv_heads;
  const std::uint32_t tokens = a.tokens[sequence];
  const std::uint32_t scoring = min(b.scoring, tokens);
  const std::uint32_t rank = b.first + blockIdx.x;
  if (rank >= scoring) return;
  const std::uint32_t token = tokens - scoring + rank;
  const std::uint32_t visible = token + 1;
  const KvView<T> keys = a.keys.head(sequence, head);
  const std::uint32_t column =
      threadIdx.x % 32 % RowLanes<T, head_dim>::lanes * RowLanes<T, head_dim>::elements;
  float* row = b.out + (cell * b.rows + blockIdx.x) * a.max_tokens;
  for (std::uint32_t first = 0; first < a.group; first += heads) {
    const std::uint32_t count = min(a.group - first, static_cast<std::uint32_t>(heads));
    const std::size_t query_head = head * a.group + first;  // of the sequence
    constexpr float log2_e = 1.44269504088896341F;
    QueryPart<heads, RowLanes<T, head_dim>::elements> query;
    query.load(a.queries + sequence * a.query_sequence_stride + token * a.query_stride +
                   query_head * head_dim,
               count, head_dim, column, a.scale * log2_e);
    float logarithm[heads];
    if (a.log_sum_exp == nullptr) {
      log_sums<T, head_dim, heads>(query, keys, visible, tile, softmax, logarithm);
    } else {
      const std::size_t heads_of_sequence = std::size_t{a.kv_heads} * a.group;
      const float* given =
          a.log_sum_exp + (sequence * heads_of_sequence + query_head) * a.max_tokens + token;
#pragma unroll
      for (int h = 0; h < heads; ++h) {
        logarithm[h] =
            h < static_cast<int>(count) ? log2_e * given[h * std::size_t{a.max_tokens}] : 0.0F;
      }
    }
    const bool last = first + count == a.group;
    const float factor =
        b.fusion == GroupFusion::max || !last ? 1.0F : 1.0F / static_cast<float>(a.group);
    for_each_logit<T, head_dim, heads>(
        query, keys, visible, tile, [&](std::uint32_t t, const PerHead<heads>& logit) {
          float fused = first == 0 ? 0.0F : row[t];
#pragma unroll
          for (int h = 0; h < heads; ++h) {
            if (h >= static_cast<int>(count)) continue;
            const float weight = exp2f(logit.x[h] - logarithm[h]);
            if (!(weight >= 0.0F && weight <= max_weight)) b.bad[cell] = 1;
            fused = b.fusion == GroupFusion::max ? fmaxf(fused, weight) : fused + weight;
          }
          row[t] = factor * fused;
        });
  }
  for (std::uint32_t t = visible + threadIdx.x; t < tokens; t += blockDim.x) row[t] = 0;
}

template <Element T, int head_dim, int heads>
[[nodiscard]] cudaError_t launch_prompt_rows(const Prompts<T>& a, const RowBlock& b,
                                             cudaStream_t stream) {
  prompt_rows_kernel<T, head_dim, heads>
      <<<dim3(b.rows, a.sequences * a.kv_heads), prompt_threads, 0, stream>>>(a, b);
  return cudaGetLastError();
}

template <Element T, int head_dim>
[[nodiscard]] cudaError_t prompt_rows(const Prompts<T>& a, const RowBlock& b, cudaStream_t stream) {
  if (a.group == 1) return launch_prompt_rows<T, head_dim, 1>(a, b, stream);
  if (a.group == 2) return launch_prompt_rows<T, head_dim, 2>(a, b, stream);
  if (a.group <= 4) return launch_prompt_rows<T, head_dim, 4>(a, b, stream);
  return launch_prompt_rows<T, head_dim, 8>(a, b, stream);
}

}  // namespace detail

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_PROMPT_ROWS_CUH
