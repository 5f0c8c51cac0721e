// SPDX-License-Identifier: Apache-2.0
/// \file
/// What single queries of a prompt paid to its tokens: their attention rows, fused over the group.
#ifndef MORPHKV_CUDA_PROMPT_ROWS_CUH
#define MORPHKV_CUDA_PROMPT_ROWS_CUH

#include <cooperative_groups/reduce.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/cuda/block_attention.cuh"
#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/matrix_logits.cuh"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

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
        query, {.rows = keys}, begin, tile_end,
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

/// For elements of 32 bits. A block serves one query of one cell.
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

/// The queries of a block, for MatrixLogits::load_queries: those from `first_token` to
/// `last_token`, of the heads from `first_head` on. Null: no such query.
template <Element T, int head_dim, int heads>
struct PromptQueries {
  const Prompts<T>& prompts;
  std::size_t sequence;
  std::size_t head;
  std::uint32_t first_head;
  std::uint32_t first_token;
  std::uint32_t last_token;

  __device__ const T* operator()(std::uint32_t query, std::uint32_t head_of_block) const {
    const std::uint32_t token = first_token + query;
    const std::uint32_t of_group = first_head + head_of_block;
    if (token > last_token || of_group >= prompts.group) return nullptr;
    return prompts.queries + sequence * prompts.query_sequence_stride +
           token * prompts.query_stride + (head * prompts.group + of_group) * head_dim;
  }
};

/// Natural log-sum-exp of the scoring queries, in the layout of Prompts::log_sum_exp. Grid: (tiles
/// of queries, cells).
template <Element T, int head_dim, int heads>
__global__ void __launch_bounds__(prompt_threads, 2)
    prompt_sums_kernel(const __grid_constant__ Prompts<T> a, std::uint32_t max_scoring,
                       std::uint32_t first_head, float* log_sum_exp) {
  using Logits = MatrixLogits<T, head_dim, heads>;
  constexpr float infinity = __builtin_huge_valf();
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ float other[2][Logits::queries * heads];
  const std::size_t cell = blockIdx.y;
  const std::size_t sequence = cell / a.kv_heads;
  const std::size_t head = cell % a.kv_heads;
  const std::uint32_t tokens = a.tokens[sequence];
  const std::uint32_t scoring = min(max_scoring, tokens);
  const std::uint32_t rank = blockIdx.x * Logits::queries;
  if (rank >= scoring) return;
  const std::uint32_t first_token = tokens - scoring + rank;
  const std::uint32_t last_token = min(first_token + Logits::queries, tokens) - 1;
  Logits logits(shared);
  const PromptQueries<T, head_dim, heads> queries{a,          sequence,    head,
                                                  first_head, first_token, last_token};
  logits.load_queries(queries);
  float greatest[Logits::slots];
  float sum[Logits::slots] = {};
#pragma unroll
  for (float& g : greatest) g = -infinity;
  logits.for_each_tile(a.keys.head(sequence, head), 0, last_token + 1,
                       [&](std::uint32_t begin, auto& products) {
#pragma unroll
                         for (int s = 0; s < Logits::slots; ++s) {
                           const std::uint32_t query = first_token + Logits::query_of(s);
                           float most = greatest[s];
#pragma unroll
                           for (int i = 0; i < 2 * Logits::tiles; ++i) {
                             const std::uint32_t token = begin + Logits::column_of(i / 2) + i % 2;
                             float& x = products[s][i / 2][i % 2];
                             x = token <= query ? x * a.scale * log2_e : -infinity;
                             most = fmaxf(most, x);
                           }
                           const float base = most == -infinity ? 0.0F : most;
                           float part = 0;
#pragma unroll
                           for (int i = 0; i < 2 * Logits::tiles; ++i)
                             part += exp2f(products[s][i / 2][i % 2] - base);
                           sum[s] = sum[s] * exp2f(greatest[s] - base) + part;
                           greatest[s] = most;
                         }
                       });
  const auto join = [&](int s, float their_greatest, float their_sum) {
    const float most = fmaxf(greatest[s], their_greatest);
    const float base = most == -infinity ? 0.0F : most;
    sum[s] = sum[s] * exp2f(greatest[s] - base) + their_sum * exp2f(their_greatest - base);
    greatest[s] = most;
  };
#pragma unroll
  for (int s = 0; s < Logits::slots; ++s) {
#pragma unroll
    for (int distance = 1; distance < 4; distance *= 2) {  // the lanes that share a query
      join(s, __shfl_xor_sync(0xffffffffU, greatest[s], distance),
           __shfl_xor_sync(0xffffffffU, sum[s], distance));
    }
    const std::uint32_t at = Logits::query_of(s) * heads + Logits::head_of(s);
    if (threadIdx.x >= prompt_threads / 2 && threadIdx.x % 4 == 0) {  // the other warp of the pair
      other[0][at] = greatest[s];
      other[1][at] = sum[s];
    }
  }
  __syncthreads();
  if (threadIdx.x >= prompt_threads / 2 || threadIdx.x % 4 != 0) return;
#pragma unroll
  for (int s = 0; s < Logits::slots; ++s) {
    const std::uint32_t at = Logits::query_of(s) * heads + Logits::head_of(s);
    join(s, other[0][at], other[1][at]);
    if (queries(Logits::query_of(s), Logits::head_of(s)) == nullptr) continue;
    const std::size_t query_head =
        cell * a.group + first_head + static_cast<std::size_t>(Logits::head_of(s));
    log_sum_exp[query_head * a.max_tokens + first_token + Logits::query_of(s)] =
        ln_2 * (greatest[s] + log2f(sum[s]));
  }
}

/// Keys that a block of prompt_weights_kernel serves.
inline constexpr std::uint32_t prompt_chunk = 1024;

/// The same rows by the matrix units, for elements of 16 bits, where the log-sum-exp is known.
/// Grid: (tiles of queries, chunks of keys, cells).
template <Element T, int head_dim, int heads>
__global__ void __launch_bounds__(prompt_threads, 2)
    prompt_weights_kernel(const __grid_constant__ Prompts<T> a, const __grid_constant__ RowBlock b,
                          std::uint32_t first_head) {
  using Logits = MatrixLogits<T, head_dim, heads>;
  constexpr float infinity = __builtin_huge_valf();
  extern __shared__ __align__(128) unsigned char shared[];
  const std::size_t cell = blockIdx.z;
  const std::size_t sequence = cell / a.kv_heads;
  const std::size_t head = cell % a.kv_heads;
  const std::uint32_t tokens = a.tokens[sequence];
  const std::uint32_t scoring = min(b.scoring, tokens);
  const std::uint32_t row = blockIdx.x * Logits::queries;
  const std::uint32_t chunk = blockIdx.y * prompt_chunk;
  if (b.first + row >= scoring || chunk >= tokens) return;
  const std::uint32_t first_token = tokens - scoring + b.first + row;
  const std::uint32_t rows = min(min(Logits::queries, b.rows - row), tokens - first_token);
  const std::uint32_t last_token = first_token + rows - 1;
  float* out = b.out + (cell * b.rows + row) * a.max_tokens;

  const std::uint32_t chunk_end = min(chunk + prompt_chunk, tokens);
  const std::uint32_t visible = min(chunk_end, last_token + 1);
  if (first_head == 0) {  // tokens after all queries
    const std::uint32_t tile_end =
        visible <= chunk ? chunk
                         : min(chunk_end, chunk + (visible - chunk + Logits::keys - 1) /
                                                      Logits::keys * Logits::keys);
    for (std::uint32_t r = threadIdx.x / 32; r < rows; r += prompt_threads / 32) {
      for (std::uint32_t t = tile_end + threadIdx.x % 32; t < chunk_end; t += 32) {
        out[std::size_t{r} * a.max_tokens + t] = 0;
      }
    }
  }
  if (visible <= chunk) return;

  Logits logits(shared);
  const PromptQueries<T, head_dim, heads> queries{a,          sequence,    head,
                                                  first_head, first_token, last_token};
  logits.load_queries(queries);
  const std::uint32_t count = min(a.group - first_head, static_cast<std::uint32_t>(heads));
  const bool last = first_head + count == a.group;
  const bool takes_max = b.fusion == GroupFusion::max;
  const float factor = takes_max || !last ? 1.0F : 1.0F / static_cast<float>(a.group);
  const float scale = a.scale * log2_e;
  float logarithm[Logits::slots];
#pragma unroll
  for (int s = 0; s < Logits::slots; ++s) {
    const std::size_t query_head =
        cell * a.group + first_head + static_cast<std::size_t>(Logits::head_of(s));
    const std::size_t query = first_token + Logits::query_of(s);
    logarithm[s] = queries(Logits::query_of(s), Logits::head_of(s)) == nullptr
                       ? 0.0F
                       : log2_e * a.log_sum_exp[query_head * a.max_tokens + query];
  }
  bool bad = false;
  const bool pairs = a.max_tokens % 2 == 0;  // two weights lie on 8 bytes
  const auto use = [&]<bool whole>(std::uint32_t begin, const auto& products) {
#pragma unroll
    for (int first = 0; first < Logits::slots; first += heads) {
      const std::uint32_t r = Logits::query_of(first);
      if (r >= rows) continue;
      float* to = out + std::size_t{r} * a.max_tokens;
#pragma unroll
      for (int tile = 0; tile < Logits::tiles; ++tile) {
        const std::uint32_t token = begin + Logits::column_of(tile);
        if (!whole && token >= tokens) continue;
        float weights[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const bool seen = whole || token + i <= first_token + r;
          float fused = first_head == 0 || !seen ? 0.0F : to[token + i];
          float greatest = -infinity;
#pragma unroll
          for (int h = 0; h < heads; ++h) {
            if (h >= static_cast<int>(count)) continue;
            const float x = products[first + h][tile][i] * scale - logarithm[first + h];
            constexpr float limit = 0.001408F;  // log2 of max_weight
            bad = bad || (seen && !(x <= limit));
            if (takes_max) {
              greatest = fmaxf(greatest, x);
            } else {
              fused += exp2f(x);
            }
          }
          if (takes_max) fused = fmaxf(fused, exp2f(greatest));
          weights[i] = seen ? factor * fused : 0.0F;
        }
        if (pairs) {
          *reinterpret_cast<float2*>(to + token) = float2{weights[0], weights[1]};
        } else {
          to[token] = weights[0];
          if (token + 1 < tokens) to[token + 1] = weights[1];
        }
      }
    }
  };
  logits.for_each_tile(a.keys.head(sequence, head), chunk, visible,
                       [&](std::uint32_t begin, const auto& products) {
                         if (begin + Logits::keys <= first_token + 1) {
                           use.template operator()<true>(begin, products);
                         } else {
                           use.template operator()<false>(begin, products);
                         }
                       });
  if (bad) b.bad[cell] = 1;
}

/// Calls use.operator()<heads>() with the query heads that a block serves at once.
template <Element T, class Use>
[[nodiscard]] cudaError_t with_heads(const Prompts<T>& a, const Use& use) {
  if (a.group == 1) return use.template operator()<1>();
  if (a.group == 2) return use.template operator()<2>();
  return use.template operator()<4>();
}

/// Calls launch(first_head) for the heads of a group, as many at once as a block serves.
template <class Launch>
[[nodiscard]] cudaError_t for_each_heads(std::uint32_t group, std::uint32_t heads,
                                         const Launch& launch) {
  for (std::uint32_t first = 0; first < group; first += heads) {
    launch(first);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

/// The log-sum-exp of the last `scoring` queries of every prompt, for elements of 16 bits.
template <Element T, int head_dim>
[[nodiscard]] cudaError_t prompt_sums(const Prompts<T>& a, std::uint32_t scoring,
                                      float* log_sum_exp, cudaStream_t stream) {
  return with_heads(a, [&]<int heads>() {
    using Logits = MatrixLogits<T, head_dim, heads>;
    auto* kernel = prompt_sums_kernel<T, head_dim, heads>;
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(Logits::shared_bytes));
    if (error != cudaSuccess) return error;
    const std::uint32_t queries = (std::min)(scoring, a.max_tokens);
    const dim3 grid((queries + Logits::queries - 1) / Logits::queries, a.sequences * a.kv_heads);
    return for_each_heads(a.group, heads, [&](std::uint32_t first) {
      kernel<<<grid, prompt_threads, Logits::shared_bytes, stream>>>(a, scoring, first,
                                                                     log_sum_exp);
    });
  });
}

/// The rows of a block of queries. For elements of 16 bits the log-sum-exp must be known.
template <Element T, int head_dim>
[[nodiscard]] cudaError_t prompt_rows(const Prompts<T>& a, const RowBlock& b, cudaStream_t stream) {
  const std::uint32_t cells = a.sequences * a.kv_heads;
  if constexpr (sizeof(T) == 2) {
    return with_heads(a, [&]<int heads>() {
      using Logits = MatrixLogits<T, head_dim, heads>;
      auto* kernel = prompt_weights_kernel<T, head_dim, heads>;
      const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(Logits::shared_bytes));
      if (error != cudaSuccess) return error;
      const dim3 grid((b.rows + Logits::queries - 1) / Logits::queries,
                      (a.max_tokens + prompt_chunk - 1) / prompt_chunk, cells);
      return for_each_heads(a.group, heads, [&](std::uint32_t first) {
        kernel<<<grid, prompt_threads, Logits::shared_bytes, stream>>>(a, b, first);
      });
    });
  } else {
    return with_heads(a, [&]<int heads>() {
      prompt_rows_kernel<T, head_dim, heads>
          <<<dim3(b.rows, cells), prompt_threads, 0, stream>>>(a, b);
      return cudaGetLastError();
    });
  }
}

}  // namespace detail

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_PROMPT_ROWS_CUH
