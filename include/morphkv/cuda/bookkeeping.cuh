// SPDX-License-Identifier: Apache-2.0
/// \file
/// The bookkeeping alone: the beginning of a sequence, and, for an engine with an attention kernel
/// of its own, which slot to overwrite before it, and what the policy learns after it.
#ifndef MORPHKV_CUDA_BOOKKEEPING_CUH
#define MORPHKV_CUDA_BOOKKEEPING_CUH

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "morphkv/core/types.hpp"
#include "morphkv/cuda/block_team.cuh"
#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/step.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

/// The heads of one layer of a batch. All pointers are of the device; nothing is owned.
template <Score S = AnyScore>
struct PlaceArguments {
  EvictionPlan<S> policy{};
  void* state = nullptr;  ///< state_bytes(), after reset_state()
  std::uint32_t sequences = 0;
  std::uint32_t kv_heads = 0;
  /// [sequences]: where the tokens stand; below 0 for a sequence that has none, of which nothing is
  /// read or written. Null: each stands one after its last.
  const Position* positions = nullptr;
  Slot* slots = nullptr;           ///< [sequences][kv_heads]: write key and value here; or no_slot
  Position* evicted = nullptr;     ///< [sequences][kv_heads]: the token that lay there, or null
  std::uint32_t* sizes = nullptr;  ///< [sequences][kv_heads]: slots to attend to, or null
  Status* statuses = nullptr;      ///< [sequences][kv_heads], or null
};

/// What the engine's attention kernel gives of its weights.
enum class WeightForm {
  probabilities,  ///< after softmax
  logits,         ///< scaled, before it; the log-sum-exp comes with them
};

/// The attention of every sequence's newest token. `Weight` is float, __half or __nv_bfloat16.
template <Element Weight, Score S = AnyScore>
struct ObserveArguments {
  EvictionPlan<S> policy{};
  void* state = nullptr;
  std::uint32_t sequences = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t group = 1;
  const Position* positions = nullptr;  ///< as place() had it: who takes part
  WeightForm form = WeightForm::probabilities;
  const Weight* weights = nullptr;     ///< [sequences][kv_heads * group][weight_stride], by slot
  std::size_t weight_stride = 0;       ///< at least the slots of a head
  const float* log_sum_exp = nullptr;  ///< [sequences][kv_heads * group], natural; with logits
  Status* statuses = nullptr;          ///< [sequences][kv_heads], or null
};

namespace detail {

inline constexpr unsigned bookkeeping_threads = 256;

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

/// A block serves one cell.
template <Score S>
__global__ void __launch_bounds__(bookkeeping_threads)
    place_kernel(const __grid_constant__ PlaceArguments<S> a,
                 const __grid_constant__ HeadLayout layout) {
  __shared__ TeamStorage storage;
  const std::size_t cell = blockIdx.x;
  const HeadView view(a.state, layout, cell);
  HeadState state = *view.head;
  const Position position =
      a.positions == nullptr ? state.newest + 1 : a.positions[cell / a.kv_heads];
  if (position < 0) return;
  const Cluster alone(1);
  const BlockTeam team(storage, alone, a.policy.rules.slots);
  const Placement placement = morphkv::place(team, a.policy, view, position, state);
  state.status = placement.status;
  __syncthreads();  // the state has been read by all
  if (threadIdx.x != 0) return;
  *view.head = state;  // only its status has changed where the token was not placed
  if (a.slots != nullptr) a.slots[cell] = placement.slot;
  if (a.evicted != nullptr) a.evicted[cell] = placement.evicted;
  if (a.sizes != nullptr) a.sizes[cell] = state.size;
  if (a.statuses != nullptr) a.statuses[cell] = placement.status;
}

/// The fused weight of a slot.
template <Element Weight, Score S>
__device__ float fused_weight(const ObserveArguments<Weight, S>& a, std::size_t cell, Slot slot) {
  float row = 0;
  for (std::uint32_t g = 0; g < a.group; ++g) {
    const std::size_t query_head = cell * a.group + g;
    float weight = to_float(a.weights[query_head * a.weight_stride + slot]);
    if (a.form == WeightForm::logits) weight = expf(weight - a.log_sum_exp[query_head]);
    if (!(weight >= 0.0F)) return weight;  // fmaxf would drop a NaN
    row = a.policy.rules.group == GroupFusion::max ? fmaxf(row, weight) : row + weight;
  }
  if (a.policy.rules.group == GroupFusion::max || a.group == 1) return row;
  return row * (1.0F / static_cast<float>(a.group));
}

/// A block serves one cell.
template <Element Weight, Score S>
__global__ void __launch_bounds__(bookkeeping_threads)
    observe_kernel(const __grid_constant__ ObserveArguments<Weight, S> a,
                   const __grid_constant__ HeadLayout layout) {
  __shared__ TeamStorage storage;
  const std::size_t cell = blockIdx.x;
  if (a.positions != nullptr && a.positions[cell / a.kv_heads] < 0) return;
  const HeadView view(a.state, layout, cell);
  HeadState state = *view.head;
  const Cluster alone(1);
  const BlockTeam team(storage, alone, a.policy.rules.slots);
  const auto weight_at = [&](Slot slot) { return fused_weight(a, cell, slot); };
  if (a.policy.rules.evicts() && state.awaits_row == 0) {
    state.status = Status::out_of_step;
  } else if (!is_valid_row(team, state.size, weight_at)) {
    state.status = Status::bad_row;
  } else {
    state.status = Status::ok;
    if (a.policy.rules.evicts()) morphkv::observe(team, a.policy, view, state, weight_at);
  }
  __syncthreads();  // the state has been read by all
  if (threadIdx.x != 0) return;
  *view.head = state;
  if (a.statuses != nullptr) a.statuses[cell] = state.status;
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

/// Gives the next token of every sequence a slot in each of its heads: `place` of a policy. The
/// engine writes key and value there, and attends to the slots from 0 to the size. A head whose
/// token cannot be placed is left as it was. On the stream; no allocation, no synchronisation; a
/// CUDA graph may capture it.
template <Score S = AnyScore>
[[nodiscard]] cudaError_t place(const PlaceArguments<S>& a, cudaStream_t stream) {
  if (a.sequences == 0 || a.kv_heads == 0) return cudaSuccess;
  if (a.policy.rules.slots == 0 || a.state == nullptr) return cudaErrorInvalidValue;
  detail::place_kernel<S><<<a.sequences * a.kv_heads, detail::bookkeeping_threads, 0, stream>>>(
      a, layout_of(a.policy));
  return cudaGetLastError();
}

/// Lets the policy learn from the attention of the tokens that place() took: `observe` of a
/// policy. The weights of a group are fused after softmax; a row with NaN, infinity or a weight
/// outside [0, 1] is refused, and the token scores no token. On the stream; no allocation, no
/// synchronisation; a CUDA graph may capture it. With the same probabilities in float a head keeps
/// the tokens that the portable library keeps.
template <Element Weight, Score S = AnyScore>
[[nodiscard]] cudaError_t observe(const ObserveArguments<Weight, S>& a, cudaStream_t stream) {
  if (a.sequences == 0 || a.kv_heads == 0) return cudaSuccess;
  if (a.policy.rules.slots == 0 || a.state == nullptr || a.weights == nullptr || a.group == 0 ||
      a.weight_stride < a.policy.rules.slots ||
      (a.form == WeightForm::logits && a.log_sum_exp == nullptr)) {
    return cudaErrorInvalidValue;
  }
  detail::observe_kernel<Weight, S>
      <<<a.sequences * a.kv_heads, detail::bookkeeping_threads, 0, stream>>>(a,
                                                                             layout_of(a.policy));
  return cudaGetLastError();
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_BOOKKEEPING_CUH
