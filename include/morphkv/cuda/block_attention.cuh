// SPDX-License-Identifier: Apache-2.0
/// \file
/// The parts of attention over the slots of one block: logits, softmax, fused row, output.
///
/// Logits are in powers of two: the queries were scaled by log2(e), so that a weight is one
/// exponential instruction.
#ifndef MORPHKV_CUDA_BLOCK_ATTENTION_CUH
#define MORPHKV_CUDA_BLOCK_ATTENTION_CUH

#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>

#include <cstdint>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/cuda/block_team.cuh"
#include "morphkv/cuda/cache_rows.cuh"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

inline constexpr float log2_e = 1.44269504088896341F;
inline constexpr float ln_2 = 0.693147180559945309F;

/// Sums each of `count` values over the lanes that share a row, all of them at once: at every
/// exchange a lane hands half of its values over and keeps the sums of the other half, so that
/// count values cost count - 1 exchanges where one by one they would cost count * log2(lanes).
/// `values` ends with the sums that the lane is left with, in order, from index first() on.
template <int lanes, int count>
struct SpreadSum {
  /// Sums that a lane is left with.
  static constexpr int held = count > lanes ? count / lanes : 1;
  /// Lanes that are left with the same sum, where there are more lanes than values.
  static constexpr int copies = lanes > count ? lanes / count : 1;

  static __device__ void run(float (&values)[count], unsigned lane) {
    exchange<lanes / 2, count>(values, lane);
  }

  /// The index of the lane's first sum among the values.
  [[nodiscard]] static __device__ int first(unsigned lane) {
    return static_cast<int>(lane % lanes) / copies * held;
  }
  /// Of the lanes with the same sum, whether this is the one that stores it.
  [[nodiscard]] static __device__ bool stores(unsigned lane) { return lane % copies == 0; }

 private:
  /// Recursion, and no loop, so that every index is a constant and the values stay in registers.
  template <int distance, int left>
  static __device__ void exchange(float (&values)[count], unsigned lane) {
    if constexpr (distance > 0 && left > 1) {
      const bool keeps_high = (lane & distance) != 0;
#pragma unroll
      for (int i = 0; i < left / 2; ++i) {
        const float given = keeps_high ? values[i] : values[i + left / 2];
        const float kept = keeps_high ? values[i + left / 2] : values[i];
        values[i] = kept + __shfl_xor_sync(0xffffffffU, given, distance);
      }
      exchange<distance / 2, left / 2>(values, lane);
    } else if constexpr (distance > 0) {
      values[0] += __shfl_xor_sync(0xffffffffU, values[0], distance);
      exchange<distance / 2, left>(values, lane);
    }
  }
};

/// The part of a group's queries that belongs to a lane, scaled.
template <int heads, int elements>
struct QueryPart {
  float x[heads][elements];

  /// \param query [group][head_dim], on 16 bytes; heads past the group are zeros
  /// \param column the lane's first element of a row
  template <Element T>
  __device__ void load(const T* query, std::uint32_t group, std::uint32_t head_dim,
                       std::uint32_t column, float scale) {
#pragma unroll
    for (int h = 0; h < heads; ++h) {
      Elements<T, elements> part{};
      if (h < static_cast<int>(group)) {
        part.load(query + static_cast<std::uint32_t>(h) * head_dim + column);
      }
      part.widen(x[h]);
#pragma unroll
      for (int e = 0; e < elements; ++e) x[h][e] *= scale;
    }
  }
};

/// Rows that a warp reads before it uses the first: enough in flight to keep the memory busy, as
/// far as the registers go.
template <int heads>
inline constexpr int rows_in_flight = heads > 4 ? 2 : 4;

/// Reads the rows from `begin` to `end`, by all warps of a block, in turn.
/// Calls use(token, rows) with the lane's elements of the rows token, token + RowLanes::rows, ...;
/// those past the end are the last one, read once more.
template <int loads, Element T, int head_dim, class Use>
__device__ void for_each_tile(const RowsToRead<T>& rows, std::uint32_t begin, std::uint32_t end,
                              const Use& use) {
  using Lanes = RowLanes<T, head_dim>;
  constexpr std::uint32_t tile = loads * Lanes::rows;
  const unsigned lane = threadIdx.x % 32;
  const std::uint32_t row_in_load = lane / Lanes::lanes;
  const std::uint32_t column = lane % Lanes::lanes * Lanes::elements;
  const std::uint32_t step = blockDim.x / 32 * tile;
  for (std::uint32_t first = begin + threadIdx.x / 32 * tile; first < end; first += step) {
    Elements<T, Lanes::elements> some[loads];
#pragma unroll
    for (int i = 0; i < loads; ++i) {
      const std::uint32_t token = first + static_cast<unsigned>(i) * Lanes::rows + row_in_load;
      some[i].load(row_of(rows, min(token, end - 1)) + column);
    }
    use(first + row_in_load, some);
  }
}

/// The logits of the tokens from `begin` to `end`, by all warps of a block, in turn.
/// `store(token, head, logit)` is called once for each of them, by one lane.
template <Element T, int head_dim, int heads, class Store>
__device__ void block_logits(const QueryPart<heads, RowLanes<T, head_dim>::elements>& query,
                             const RowsToRead<T>& keys, std::uint32_t begin, std::uint32_t end,
                             const Store& store) {
  using Lanes = RowLanes<T, head_dim>;
  constexpr int loads = rows_in_flight<heads>;
  using Sum = SpreadSum<Lanes::lanes, loads * heads>;
  const unsigned lane = threadIdx.x % 32;
  for_each_tile<loads, T, head_dim>(keys, begin, end, [&](std::uint32_t own, const auto& key) {
    float dots[loads * heads];
#pragma unroll
    for (int i = 0; i < loads; ++i) {
      float x[Lanes::elements];
      key[i].widen(x);
#pragma unroll
      for (int h = 0; h < heads; ++h) {
        float dot = 0;
#pragma unroll
        for (int e = 0; e < Lanes::elements; ++e) dot += query.x[h][e] * x[e];
        dots[i * heads + h] = dot;
      }
    }
    Sum::run(dots, lane);
    if (!Sum::stores(lane)) return;
#pragma unroll
    for (int i = 0; i < Sum::held; ++i) {
      const int index = Sum::first(lane) + i;
      const std::uint32_t token = own + static_cast<unsigned>(index / heads) * Lanes::rows;
      if (token < end) store(token, index % heads, dots[i]);
    }
  });
}

/// One number for each head of a group, read from shared memory at once.
template <int heads>
struct alignas(heads >= 4 ? 16 : 4 * heads) PerHead {
  float x[heads];
};

/// Shared memory of block_softmax.
template <int heads>
struct SoftmaxStorage {
  float of_warp[warp_lanes][heads];
  float greatest[heads];     ///< logit of the block; minus infinity if it has no token
  float sum[heads];          ///< of the exponentials less the greatest
  float share[heads];        ///< what turns an exponential into a weight: 1 / the sum of all blocks
  float log_sum_exp[heads];  ///< natural; not finite if no weight can be given
};

[[nodiscard]] __device__ inline bool is_finite(float x) {
  return (__float_as_uint(x) & 0x7f800000U) != 0x7f800000U;
}

/// Reduces `x` over the block, head by head, into `out`. Two barriers.
template <int heads, class Op>
__device__ void reduce_heads(const float (&x)[heads], float start, const Op& op,
                             float (&of_warp)[warp_lanes][heads], float (&out)[heads]) {
  namespace cg = cooperative_groups;
  const auto warp = cg::tiled_partition<warp_lanes>(cg::this_thread_block());
#pragma unroll
  for (int h = 0; h < heads; ++h) {
    const float total = cg::reduce(warp, x[h], op);
    if (warp.thread_rank() == 0) of_warp[warp.meta_group_rank()][h] = total;
  }
  __syncthreads();
  if (threadIdx.x < heads) {
    float total = start;
    for (unsigned w = 0; w < blockDim.x / warp_lanes; ++w) {
      total = op(total, of_warp[w][threadIdx.x]);
    }
    out[threadIdx.x] = total;
  }
  __syncthreads();
}

/// Turns the block's logits into exponentials, and finds what turns these into weights, over all
/// blocks of the cluster. A logit of minus infinity is a weight of 0; NaN or plus infinity leave no
/// finite log_sum_exp. All threads; it begins and ends with a barrier.
/// \param logits [tokens] of the block
template <int heads>
__device__ void block_softmax(const Cluster& cluster, PerHead<heads>* logits, std::uint32_t tokens,
                              SoftmaxStorage<heads>& shared) {
  namespace cg = cooperative_groups;
  constexpr float infinity = __builtin_huge_valf();
  __syncthreads();
  float own[heads];
#pragma unroll
  for (int h = 0; h < heads; ++h) own[h] = -infinity;
  for (std::uint32_t t = threadIdx.x; t < tokens; t += blockDim.x) {
    const PerHead<heads> logit = logits[t];
#pragma unroll
    for (int h = 0; h < heads; ++h) own[h] = fmaxf(own[h], logit.x[h]);
  }
  reduce_heads<heads>(own, -infinity, cg::greater<float>(), shared.of_warp, shared.greatest);
  float base[heads];
#pragma unroll
  for (int h = 0; h < heads; ++h) {
    base[h] = shared.greatest[h] == -infinity ? 0.0F : shared.greatest[h];
    own[h] = 0;
  }
  for (std::uint32_t t = threadIdx.x; t < tokens; t += blockDim.x) {
    PerHead<heads> weight = logits[t];
#pragma unroll
    for (int h = 0; h < heads; ++h) {
      weight.x[h] = exp2f(weight.x[h] - base[h]);
      own[h] += weight.x[h];
    }
    logits[t] = weight;
  }
  reduce_heads<heads>(own, 0.0F, cg::plus<float>(), shared.of_warp, shared.sum);
  if (cluster.blocks() > 1) cluster.sync();
  if (threadIdx.x < heads) {
    const unsigned h = threadIdx.x;
    float greatest = -infinity;
    for (std::uint32_t r = 0; r < cluster.blocks(); ++r) {
      greatest = fmaxf(greatest, *cluster.peer(&shared.greatest[h], r));
    }
    float sum = 0;
    for (std::uint32_t r = 0; r < cluster.blocks(); ++r) {
      sum += *cluster.peer(&shared.sum[h], r) *
             exp2f(*cluster.peer(&shared.greatest[h], r) - greatest);
    }
    shared.share[h] = exp2f(shared.greatest[h] - greatest) / sum;
    shared.log_sum_exp[h] = ln_2 * (greatest + log2f(sum));
  }
  __syncthreads();
}

/// fused[t] = the group's weights of the block's token t, with what earlier heads of the group left
/// there: the maximum, or the sum. Each thread writes what it alone reads.
/// \param heads_before heads of the group that were fused already
/// \param group        heads of the group
template <int heads>
__device__ void fuse_heads(const PerHead<heads>* exponentials, std::uint32_t tokens,
                           const SoftmaxStorage<heads>& shared, std::uint32_t heads_before,
                           std::uint32_t group, GroupFusion fusion, float* fused) {
  const std::uint32_t count = min(group - heads_before, static_cast<std::uint32_t>(heads));
  const bool last = heads_before + count == group;
  const float factor =
      fusion == GroupFusion::max || !last ? 1.0F : 1.0F / static_cast<float>(group);
  for (std::uint32_t t = threadIdx.x; t < tokens; t += blockDim.x) {
    const PerHead<heads> weight = exponentials[t];
    float row = heads_before == 0 ? 0.0F : fused[t];
#pragma unroll
    for (int h = 0; h < heads; ++h) {
      if (h >= static_cast<int>(count)) continue;
      const float x = weight.x[h] * shared.share[h];
      row = fusion == GroupFusion::max ? fmaxf(row, x) : row + x;
    }
    fused[t] = factor * row;
  }
}

/// Sums of exponentials times values, of the tokens that a warp serves, in its lanes.
template <Element T, int head_dim, int heads>
struct OutputPart {
  using Lanes = RowLanes<T, head_dim>;
  float x[heads][Lanes::elements];

  /// Over the tokens from `begin` to `end`, by all warps of a block, in turn.
  /// \param exponentials [end - begin]
  __device__ void accumulate(const PerHead<heads>* exponentials, const RowsToRead<T>& values,
                             std::uint32_t begin, std::uint32_t end) {
    constexpr int loads = rows_in_flight<heads>;
#pragma unroll
    for (int h = 0; h < heads; ++h) {
#pragma unroll
      for (int e = 0; e < Lanes::elements; ++e) x[h][e] = 0;
    }
    for_each_tile<loads, T, head_dim>(
        values, begin, end, [&](std::uint32_t own, const auto& value) {
#pragma unroll
          for (int i = 0; i < loads; ++i) {
            const std::uint32_t token = own + static_cast<unsigned>(i) * Lanes::rows;
            if (token >= end) continue;
            const PerHead<heads> weight = exponentials[token - begin];
            float y[Lanes::elements];
            value[i].widen(y);
#pragma unroll
            for (int h = 0; h < heads; ++h) {
#pragma unroll
              for (int e = 0; e < Lanes::elements; ++e) x[h][e] += weight.x[h] * y[e];
            }
          }
        });
    // Lanes with the same columns hold different rows.
#pragma unroll
    for (int h = 0; h < heads; ++h) {
#pragma unroll
      for (int e = 0; e < Lanes::elements; ++e) {
#pragma unroll
        for (int distance = Lanes::lanes; distance < 32; distance *= 2) {
          x[h][e] += __shfl_xor_sync(0xffffffffU, x[h][e], distance);
        }
      }
    }
  }

  /// The warp's sums, [heads][head_dim].
  __device__ void store(float* to) const {
    const unsigned lane = threadIdx.x % 32;
    if (lane >= Lanes::lanes) return;
#pragma unroll
    for (int h = 0; h < heads; ++h) {
#pragma unroll
      for (int e = 0; e < Lanes::elements; ++e) {
        to[h * head_dim + static_cast<int>(lane) * Lanes::elements + e] = x[h][e];
      }
    }
  }
};

/// output = the sum of all warps and blocks, as weights. All threads; it begins and ends with a
/// barrier of the cluster. Between them it calls use_peers(), which may read the peers' memory.
/// \param sums [warps][heads][head_dim] of shared memory, which the warps have stored
/// \param count heads to store
template <Element T, int head_dim, int heads, class Use>
__device__ void store_output(const Cluster& cluster, float* sums,
                             const SoftmaxStorage<heads>& shared, std::uint32_t count, T* output,
                             const Use& use_peers) {
  constexpr std::uint32_t size = heads * head_dim;
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < size; i += blockDim.x) {
    float total = 0;
    for (std::uint32_t w = 0; w < blockDim.x / warp_lanes; ++w) total += sums[w * size + i];
    sums[i] = total * shared.share[i / head_dim];
  }
  cluster.sync();
  const std::uint32_t threads = blockDim.x * cluster.blocks();
  for (std::uint32_t i = cluster.rank() * blockDim.x + threadIdx.x; i < count * head_dim;
       i += threads) {
    float total = 0;
    for (std::uint32_t r = 0; r < cluster.blocks(); ++r) total += *cluster.peer(&sums[i], r);
    assign(output[i], total);
  }
  use_peers();
  cluster.sync();
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_BLOCK_ATTENTION_CUH
