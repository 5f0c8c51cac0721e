// SPDX-License-Identifier: Apache-2.0
/// \file
/// Dot products of a group's queries with rows of keys, by one warp.
#ifndef MORPHKV_CUDA_WARP_DOTS_CUH
#define MORPHKV_CUDA_WARP_DOTS_CUH

#include <cstddef>
#include <cstdint>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/elements.cuh"

namespace morphkv { inline namespace v0 { namespace cuda {

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

/// The logits of the tokens from `begin` to `end`, by all warps of a block, in turn.
/// `store(token, head, logit)` is called once for each of them, by one lane.
template <Element T, int head_dim, int heads, class Store>
__device__ void block_logits(const QueryPart<heads, RowLanes<T, head_dim>::elements>& query,
                             const KvView<T>& keys, std::uint32_t begin, std::uint32_t end,
                             const Store& store) {
  using Lanes = RowLanes<T, head_dim>;
  constexpr int loads = rows_in_flight<heads>;
  using Sum = SpreadSum<Lanes::lanes, loads * heads>;
  constexpr std::uint32_t tile = loads * Lanes::rows;
  const unsigned lane = threadIdx.x % 32;
  const std::uint32_t row_in_load = lane / Lanes::lanes;
  const std::uint32_t column = lane % Lanes::lanes * Lanes::elements;
  const std::uint32_t step = blockDim.x / 32 * tile;
  for (std::uint32_t first = begin + threadIdx.x / 32 * tile; first < end; first += step) {
    Elements<T, Lanes::elements> key[loads];
#pragma unroll
    for (int i = 0; i < loads; ++i) {
      const std::uint32_t token = first + static_cast<unsigned>(i) * Lanes::rows + row_in_load;
      key[i].load(row_of(keys, min(token, end - 1)) + column);
    }
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
    if (Sum::stores(lane)) {
#pragma unroll
      for (int i = 0; i < Sum::held; ++i) {
        const int index = Sum::first(lane) + i;
        const std::uint32_t token =
            first + static_cast<unsigned>(index / heads) * Lanes::rows + row_in_load;
        if (token < end) store(token, index % heads, dots[i]);
      }
    }
  }
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_WARP_DOTS_CUH
