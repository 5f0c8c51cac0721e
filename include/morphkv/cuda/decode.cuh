// SPDX-License-Identifier: Apache-2.0
/// \file
/// A decode step of a batch: the new token is written over its victim, the group attends, the
/// window moves and the next victim is found, in one kernel.
#ifndef MORPHKV_CUDA_DECODE_CUH
#define MORPHKV_CUDA_DECODE_CUH

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/types.hpp"
#include "morphkv/cuda/block_attention.cuh"
#include "morphkv/cuda/block_team.cuh"
#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/matrix_attention.cuh"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/eviction/step.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

/// One layer of a batch. All pointers are of the device; nothing is owned. Queries, keys, values
/// and outputs of a sequence are [heads][head_dim], each on 16 bytes; query head h reads KV head
/// h / group.
template <Element T, Score S = AnyScore>
struct DecodeArguments {
  const T* queries = nullptr;  ///< [sequences][kv_heads * group][head_dim]
  /// [sequences][kv_heads][head_dim], rotated. Null: no token comes; the queries attend to the
  /// slots in use (H2O: the one evicted last among them), and nothing changes.
  const T* keys = nullptr;
  const T* values = nullptr;  ///< [sequences][kv_heads][head_dim]
  T* outputs = nullptr;       ///< as the queries
  CacheRows<T> cache_keys{};
  CacheRows<T> cache_values{};
  /// [sequences]: where the tokens stand; below 0 for a sequence that has none, of which nothing is
  /// read or written. Null: each stands one after its last.
  const Position* positions = nullptr;
  std::uint32_t sequences = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t group = 1;
  float scale = 1;  ///< of the logits; usually 1 / sqrt(head_dim)
  EvictionPlan<S> policy{};
  void* state = nullptr;         ///< state_bytes(), after reset_state()
  Status* statuses = nullptr;    ///< [sequences][kv_heads], or null
  Slot* slots = nullptr;         ///< [sequences][kv_heads]: where the token was written, or null
  float* rows = nullptr;         ///< [sequences][kv_heads][policy.slots]: fused rows, or null
  float* log_sum_exp = nullptr;  ///< [sequences][kv_heads * group], or null
};

namespace detail {

inline constexpr unsigned decode_threads = 256;

/// The shared memory of a decode block, in bytes: the fused row, and the weights, over which the
/// warps' outputs are written when these are done with.
struct DecodeMemory {
  std::uint32_t slots_per_block = 0;
  std::size_t row = 0;  ///< where the fused row begins
  std::size_t bytes = 0;
};

[[nodiscard]] inline DecodeMemory decode_memory(std::uint32_t slots, std::uint32_t blocks,
                                                std::size_t heads, std::size_t head_dim) {
  DecodeMemory memory;
  memory.slots_per_block = ((slots + blocks - 1) / blocks + 31) / 32 * 32;
  const std::size_t weights = sizeof(float) * heads * memory.slots_per_block;
  const std::size_t outputs = sizeof(float) * heads * head_dim * (decode_threads / warp_lanes);
  memory.row = (std::max)(weights, outputs);
  memory.bytes = memory.row + sizeof(float) * memory.slots_per_block;
  return memory;
}

/// Records the token that place_in() gave `slot`. One thread.
template <Score S>
__device__ void record_token(const EvictionPlan<S>& plan, const HeadView& view, Slot slot,
                             Position position) {
  HeadState state = *view.head;
  (void)place_in(plan, view, true, slot, position, state);
}

/// What the warps of all blocks found. A warp; between two barriers of the cluster.
template <unsigned warps>
__device__ Lowest lowest_of_all(const Cluster& cluster, Lowest (&of_warp)[warps]) {
  namespace cg = cooperative_groups;
  Lowest lowest;
  for (unsigned i = threadIdx.x; i < warps * cluster.blocks(); i += warp_lanes) {
    const Lowest other = *cluster.peer(&of_warp[i % warps], i / warps);
    if (other.goes_before(lowest)) lowest = other;
  }
  const auto lanes = cg::tiled_partition<warp_lanes>(cg::this_thread_block());
  const std::uint64_t value = cg::reduce(lanes, lowest.value, cg::less<std::uint64_t>());
  const std::uint64_t age = lowest.value == value ? lowest.age : Lowest{}.age;
  return {value, cg::reduce(lanes, age, cg::less<std::uint64_t>())};
}

/// A cell is a KV head of a sequence: one block, or a cluster of `blocks`. `heads` query heads of
/// its group are served at once.
template <Element T, int head_dim, int heads, Score S>
__global__ void __launch_bounds__(decode_threads, 2)
    decode_kernel(const __grid_constant__ DecodeArguments<T, S> a,
                  const __grid_constant__ HeadLayout layout, const DecodeMemory memory,
                  const std::uint32_t blocks) {
  constexpr unsigned warps = decode_threads / warp_lanes;
  extern __shared__ __align__(16) unsigned char dynamic[];
  __shared__ TeamStorage team_storage;
  __shared__ SoftmaxStorage<heads> softmax;
  __shared__ Lowest lowest[warps];
  __shared__ HeadState after;  // of the leader, where it does not fill registers
  __shared__ std::uint32_t next_tile;
  auto* weights = reinterpret_cast<PerHead<heads>*>(dynamic);
  auto* fused = reinterpret_cast<float*>(dynamic + memory.row);

  const std::size_t cell = blockIdx.x / blocks;
  const std::size_t sequence = cell / a.kv_heads;
  const std::size_t head = cell % a.kv_heads;
  const HeadView view(a.state, layout, cell);
  HeadState state = *view.head;
  const Position position = a.positions == nullptr ? state.newest + 1 : a.positions[sequence];
  if (position < 0) return;  // so do all threads of the cluster

  if (threadIdx.x == 0) next_tile = warps;
  __syncthreads();
  const Cluster cluster(blocks);
  const BlockTeam team(team_storage, cluster, memory.slots_per_block);
  const bool appends = a.keys != nullptr;
  // The first warp keeps the books: where the slot is known it records the token while the others
  // begin with the keys.
  const unsigned warp = threadIdx.x / warp_lanes;
  const bool keeps_books = warp == 0;
  Placement placement{Status::ok};
  bool records = false;
  if (appends) {
    placement.status = can_place(a.policy.rules, view, position, state);
    records = placement.status == Status::ok && knows_slot(state);
    if (records) {
      placement.slot = known_slot(state);
      (void)place_in(a.policy, view, false, placement.slot, position, state);
    } else {
      placement = morphkv::place(team, a.policy, view, position, state);
    }
  }
  Status status = placement.status;
  if (team.is_leader()) after = state;
  if (status == Status::ok) {
    RowsToRead<T> keys{.rows = a.cache_keys.head(sequence, head)};
    RowsToRead<T> values{.rows = a.cache_values.head(sequence, head)};
    const std::uint32_t begin = team.first_slot();
    const std::uint32_t end = max(begin, team.end(state.size));
    const std::uint32_t tokens = end - begin;
    if (appends) {
      keys.newest = a.keys + cell * head_dim;
      values.newest = a.values + cell * head_dim;
      keys.slot = values.slot = placement.slot;
    }
    if (appends && keeps_books) {
      if (records && team.is_leader()) {
        record_token(a.policy, view, placement.slot, position);
      }
      if (placement.slot >= begin && placement.slot < end) {
        copy_row(keys.newest, row_of(keys.rows, placement.slot), head_dim);
        copy_row(values.newest, row_of(values.rows, placement.slot), head_dim);
      }
      __syncwarp();
    }

    for (std::uint32_t first = 0; first < a.group; first += heads) {
      const std::uint32_t count = min(a.group - first, static_cast<std::uint32_t>(heads));
      const std::size_t query_head = cell * a.group + first;
      {
        const T* queries = a.queries + query_head * head_dim;
        const float scale = a.scale * log2_e;
        if constexpr (sizeof(T) == 2) {
          MatrixQueries<T, head_dim> query;
          query.load(queries, count);
          query.template multiply<heads>(keys, begin, end, next_tile,
                                         [&](std::uint32_t token, int h, float x) {
                                           weights[token - begin].x[h] = x * scale;
                                         });
        } else {
          using Lanes = RowLanes<T, head_dim>;
          const std::uint32_t column = threadIdx.x % 32 % Lanes::lanes * Lanes::elements;
          QueryPart<heads, Lanes::elements> query;
          query.load(queries, count, head_dim, column, scale);
          block_logits<T, head_dim, heads>(query, keys, begin, end,
                                           [&](std::uint32_t token, int h, float logit) {
                                             weights[token - begin].x[h] = logit;
                                           });
        }
      }
      block_softmax<heads>(cluster, weights, tokens, softmax);
      fuse_heads<heads>(weights, tokens, softmax, first, a.group, a.policy.rules.group, fused);
      if (threadIdx.x < count && cluster.rank() == 0 && a.log_sum_exp != nullptr) {
        a.log_sum_exp[query_head + threadIdx.x] = softmax.log_sum_exp[threadIdx.x];
      }
      for (std::uint32_t h = 0; h < count; ++h) {
        if (!is_finite(softmax.log_sum_exp[h])) status = Status::bad_row;
      }
      const bool observes =
          first + count == a.group && appends && status == Status::ok && a.policy.rules.evicts();
      if (observes) {
        __syncthreads();  // the fused row is complete
        const std::uint32_t share = memory.slots_per_block / warps;
        const Lowest found = push_weights(WarpTeam(begin + warp * share, share), a.policy, view,
                                          HeadState{.size = state.size, .rows = state.rows},
                                          [&](Slot slot) { return fused[slot - begin]; });
        if (threadIdx.x % warp_lanes == 0) lowest[warp] = found;
      }
      auto* sums = reinterpret_cast<float*>(dynamic);
      float* sums_of_warp = sums + warp * (heads * head_dim);
      const auto weights_are_read = [] { __syncthreads(); };
      if constexpr (sizeof(T) == 2) {
        MatrixOutputs<T, head_dim, heads>::sum(weights, values, begin, end, sums_of_warp,
                                               weights_are_read);
      } else {
        OutputPart<T, head_dim, heads> output;
        output.accumulate(weights, values, begin, end);
        weights_are_read();
        output.store(sums_of_warp);
      }
      if (threadIdx.x == 0) next_tile = warps;
      store_output<T, head_dim, heads>(
          cluster, sums, softmax, count, a.outputs + query_head * head_dim, [&] {
            if (!observes || !keeps_books || cluster.rank() != 0) return;
            const Lowest found = lowest_of_all(cluster, lowest);
            if (threadIdx.x == 0) finish_row(true, a.policy.rules, view, found.slot(), after);
          });
    }
    if (a.rows != nullptr) {
      for (std::uint32_t t = threadIdx.x; t < tokens; t += blockDim.x) {
        a.rows[cell * a.policy.rules.slots + begin + t] = fused[t];
      }
    }
  } else {
    cluster.sync();  // no block reads a peer's memory any more; store_output ended with it
  }
  if (!team.is_leader()) return;
  if (appends && placement.status == Status::ok) {
    after.status = status;
    *view.head = after;
    if (a.slots != nullptr) a.slots[cell] = placement.slot;
  } else {
    view.head->status = status;
  }
  if (a.statuses != nullptr) a.statuses[cell] = status;
}

/// Blocks of a cluster: one, if the cells fill the device and two blocks' memory fits a
/// multiprocessor, so that one reads while the other computes; else as many as help.
struct DecodePlan {
  std::uint32_t blocks = 1;
  DecodeMemory memory;
};

[[nodiscard]] inline cudaError_t plan_decode(std::uint32_t slots, std::size_t cells,
                                             std::size_t heads, std::size_t head_dim,
                                             DecodePlan& plan) {
  int device = 0;
  int multiprocessors = 0;
  int most_bytes = 0;
  int shared_bytes = 0;  // of a multiprocessor
  int major = 0;
  cudaError_t error = cudaGetDevice(&device);
  const auto ask = [&](int& value, cudaDeviceAttr attribute) {
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&value, attribute, device);
  };
  ask(multiprocessors, cudaDevAttrMultiProcessorCount);
  ask(most_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  ask(shared_bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  ask(major, cudaDevAttrComputeCapabilityMajor);
  if (error != cudaSuccess) return error;
  constexpr std::uint32_t most_blocks = 8;       // of a cluster on every device that has them
  constexpr std::uint32_t fewest_slots = 128;    // that are worth a block
  constexpr std::size_t static_bytes = 4 << 10;  // of the kernel's own shared memory, at most
  const std::uint32_t limit = major >= 9 ? most_blocks : 1;
  plan.memory = decode_memory(slots, plan.blocks, heads, head_dim);
  while (plan.blocks < limit && plan.memory.slots_per_block > fewest_slots) {
    const bool fills = cells * plan.blocks >= static_cast<std::size_t>(multiprocessors);
    const std::size_t two = 2 * (plan.memory.bytes + static_bytes);
    if (fills && two <= static_cast<std::size_t>(shared_bytes)) break;
    plan.blocks *= 2;
    plan.memory = decode_memory(slots, plan.blocks, heads, head_dim);
  }
  const bool fits = plan.memory.bytes + static_bytes <= static_cast<std::size_t>(most_bytes);
  return fits ? cudaSuccess : cudaErrorInvalidConfiguration;
}

template <Element T, int head_dim, int heads, Score S>
[[nodiscard]] cudaError_t launch_decode(const DecodeArguments<T, S>& a, cudaStream_t stream) {
  const std::size_t cells = std::size_t{a.sequences} * a.kv_heads;
  DecodePlan plan;
  cudaError_t error = plan_decode(a.policy.rules.slots, cells, heads, head_dim, plan);
  if (error != cudaSuccess) return error;
  auto* kernel = decode_kernel<T, head_dim, heads, S>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(plan.memory.bytes));
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = plan.blocks;
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(cells * plan.blocks));
  config.blockDim = dim3(decode_threads);
  config.dynamicSmemBytes = plan.memory.bytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = plan.blocks > 1 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, a, layout_of(a.policy), plan.memory, plan.blocks);
}

}  // namespace detail

/// Appends a token to every sequence, attends, and lets the policy learn: KVCache::append and
/// KVCache::attend of the portable library for one layer of a batch.
///
/// The outputs' rounding aside, a head keeps the tokens that the portable library keeps for the
/// same rows. A head whose token cannot be placed is left as it was, its output too; one whose
/// attention has no finite weights reports Status::bad_row, its output means nothing, and the token
/// scores no token.
///
/// On the stream; it neither allocates nor synchronises, all that changes from step to step lies on
/// the device, and a CUDA graph may capture it. Groups of more than 8 query heads read keys and
/// values once for every 8.
/// \return cudaErrorInvalidValue for numbers that do not fit each other,
///         cudaErrorMisalignedAddress for rows that do not lie on 16 bytes,
///         cudaErrorInvalidConfiguration if the slots are too many for shared memory (with a group
///         of 4 about 8,000 of them on sm_80, and 90,000 on sm_90), or what the launch says
template <Element T, int head_dim, Score S = AnyScore>
[[nodiscard]] cudaError_t decode(const DecodeArguments<T, S>& a, cudaStream_t stream) {
  if (a.sequences == 0 || a.kv_heads == 0) return cudaSuccess;
  if (a.policy.rules.slots == 0 || a.group == 0 || a.state == nullptr ||
      (a.keys == nullptr) != (a.values == nullptr)) {
    return cudaErrorInvalidValue;
  }
  if (!a.cache_keys.is_aligned() || !a.cache_values.is_aligned() || !lies_on_16_bytes(a.keys) ||
      !lies_on_16_bytes(a.values) || !lies_on_16_bytes(a.queries)) {
    return cudaErrorMisalignedAddress;
  }
  if (a.group == 1) return detail::launch_decode<T, head_dim, 1>(a, stream);
  if (a.group == 2) return detail::launch_decode<T, head_dim, 2>(a, stream);
  if (a.group <= 4) return detail::launch_decode<T, head_dim, 4>(a, stream);
  return detail::launch_decode<T, head_dim, 8>(a, stream);
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_DECODE_CUH
