// SPDX-License-Identifier: Apache-2.0
/// \file
/// A prompt: its last queries vote, the best tokens stay, and the cache takes them in.
#ifndef MORPHKV_CUDA_PROMPT_CUH
#define MORPHKV_CUDA_PROMPT_CUH

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/types.hpp"
#include "morphkv/cuda/admit.hpp"
#include "morphkv/cuda/block_team.cuh"
#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/elements.cuh"
#include "morphkv/cuda/gather.cuh"
#include "morphkv/cuda/head_state.hpp"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/cuda/prompt_rows.cuh"
#include "morphkv/cuda/prompt_scores.hpp"
#include "morphkv/cuda/reset.cuh"
#include "morphkv/cuda/top_k.cuh"

namespace morphkv { inline namespace v0 { namespace cuda {

/// The first prompts of a batch, whose attention the engine has computed, and the caches that take
/// them in. All pointers are of the device; nothing is owned.
template <Element T>
struct AdmitArguments {
  Prompts<T> prompts{};
  const Position* first_positions = nullptr;  ///< [sequences], or null: 0
  Policy policy{};
  void* state = nullptr;  ///< state_bytes(); its old content does not matter
  CacheRows<T> cache_keys{};
  CacheRows<T> cache_values{};
  std::uint32_t* kept = nullptr;    ///< [sequences][kv_heads][policy.slots]: tokens by slot
  std::uint32_t* counts = nullptr;  ///< [sequences][kv_heads]: how many
  Status* statuses = nullptr;       ///< [sequences][kv_heads], or null
  /// Whether the prompt already lies in the caches, token t in slot t: it is then moved up in place
  /// (max_tokens slots are needed), and prompts.keys and prompts.values are the caches.
  bool in_place = false;
};

namespace detail {

/// The parts of the workspace of admit_prompts, in bytes from its beginning.
struct PromptWorkspace {
  std::uint32_t rows = 0;   ///< voters whose rows are held at once
  std::size_t keys = 0;     ///< uint64 [cells][max_tokens]
  std::size_t pooled = 0;   ///< likewise, for SnapKV
  std::size_t weights = 0;  ///< float [cells][rows][max_tokens]
  std::size_t bad = 0;      ///< uint32 [cells]
  std::size_t bytes = 0;
};

[[nodiscard]] inline PromptWorkspace prompt_workspace(const Policy& policy, std::size_t cells,
                                                      std::uint32_t max_tokens) {
  constexpr std::uint32_t rows_at_once = 32;  // of a policy for which all queries vote
  const auto after = [](std::size_t begin, std::size_t bytes) {
    return (begin + bytes + 127) / 128 * 128;
  };
  PromptWorkspace w;
  w.rows = policy.score == ScoreKind::running_sum ? rows_at_once : voters_of(policy);
  w.rows = (std::min)(w.rows, max_tokens);
  const bool pools = policy.schedule == Schedule::after_prompt;
  w.pooled = after(0, sizeof(std::uint64_t) * cells * max_tokens);
  w.weights = after(w.pooled, pools ? sizeof(std::uint64_t) * cells * max_tokens : 0);
  w.bad = after(w.weights, sizeof(float) * cells * w.rows * max_tokens);
  w.bytes = after(w.bad, sizeof(std::uint32_t) * cells);
  return w;
}

/// What the small kernels of a prompt share.
struct PromptVotes {
  Policy policy{};
  const std::uint32_t* tokens = nullptr;
  std::uint32_t max_tokens = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t rows = 0;    ///< in the block of rows
  std::uint32_t voters = 0;  ///< of the policy
  const float* weights = nullptr;
  std::uint64_t* keys = nullptr;
  std::uint64_t* pooled = nullptr;
};

inline constexpr unsigned vote_threads = 256;

/// Adds the votes of a block of rows, from voter `first` on. Grid: (tiles of tokens, cells).
static __global__ void __launch_bounds__(vote_threads)
    add_votes_kernel(const __grid_constant__ PromptVotes a, std::uint32_t first) {
  const std::size_t cell = blockIdx.y;
  const std::uint32_t tokens = a.tokens[cell / a.kv_heads];
  const std::uint32_t token = blockIdx.x * blockDim.x + threadIdx.x;
  if (token >= tokens) return;
  const std::uint32_t voters = min(a.voters, tokens);
  const std::uint32_t rows = first < voters ? min(a.rows, voters - first) : 0;
  std::uint64_t& slot = a.keys[cell * a.max_tokens + token];
  std::uint64_t key = first == 0 ? 0 : slot;
  if (a.voters == 0) key = token;  // ranked by age
  for (std::uint32_t r = 0; r < rows; ++r) {
    key = add_vote(a.policy, key, a.weights[(cell * a.rows + r) * a.max_tokens + token]);
  }
  slot = key;
}

/// Smooths the keys of the tokens that are judged. Grid: (tiles of tokens, cells).
static __global__ void __launch_bounds__(vote_threads)
    pool_votes_kernel(const __grid_constant__ PromptVotes a) {
  const std::size_t cell = blockIdx.y;
  const std::uint32_t tokens = a.tokens[cell / a.kv_heads];
  const std::uint32_t judged = tokens - min(tokens, a.policy.recent);
  const std::uint32_t token = blockIdx.x * blockDim.x + threadIdx.x;
  if (token >= judged) return;
  const std::size_t begin = cell * a.max_tokens;
  a.pooled[begin + token] = pooled_key(a.policy, a.keys + begin, judged, token);
}

/// Writes the tokens that stay, ascending. A block serves one cell.
static __global__ void __launch_bounds__(top_k_threads)
    select_kernel(const __grid_constant__ PromptVotes a, const std::uint32_t* bad,
                  std::uint32_t* kept, std::uint32_t* counts, Status* statuses) {
  __shared__ TopKStorage<std::uint64_t> shared;
  const std::size_t cell = blockIdx.x;
  const std::uint32_t tokens = a.tokens[cell / a.kv_heads];
  PromptCut cut = cut_prompt(a.policy, tokens);
  if (bad[cell] != 0) cut.status = Status::bad_row;
  if (cut.status != Status::ok) cut.stays = 0;
  if (threadIdx.x == 0) {
    counts[cell] = cut.stays;
    if (statuses != nullptr) statuses[cell] = cut.status;
  }
  std::uint32_t* out = kept + cell * a.policy.slots;
  if (cut.status != Status::ok) return;
  if (cut.stays == tokens) {
    for (std::uint32_t i = threadIdx.x; i < tokens; i += blockDim.x) out[i] = i;
    return;
  }
  for (std::uint32_t i = threadIdx.x; i < cut.certain; i += blockDim.x) out[i] = i;
  for (std::uint32_t i = threadIdx.x; i < cut.recent; i += blockDim.x) {
    out[cut.stays - cut.recent + i] = tokens - cut.recent + i;
  }
  const std::uint64_t* keys =
      (a.pooled != nullptr ? a.pooled : a.keys) + cell * a.max_tokens + cut.certain;
  block_top_k<std::uint64_t>(
      tokens - cut.recent - cut.certain, cut.wanted, [&](std::uint32_t i) { return keys[i]; },
      [&](std::uint32_t rank, std::uint32_t i) { out[cut.certain + rank] = cut.certain + i; },
      shared);
}

/// The state of a head. A block serves one cell.
static __global__ void __launch_bounds__(vote_threads)
    admit_kernel(const __grid_constant__ PromptVotes a, const __grid_constant__ StateLayout layout,
                 void* state_memory, const Position* first_positions, const std::uint32_t* kept,
                 const std::uint32_t* counts) {
  __shared__ TeamStorage storage;
  const std::size_t cell = blockIdx.x;
  const std::size_t sequence = cell / a.kv_heads;
  const std::uint32_t tokens = a.tokens[sequence];
  if (counts[cell] == 0) return;  // no prompt, or one that cannot be held: the state is empty
  const PromptOutcome prompt{.tokens = tokens,
                             .first = first_positions == nullptr ? 0 : first_positions[sequence],
                             .kept = kept + cell * a.policy.slots,
                             .stays = counts[cell],
                             .rows = a.weights + cell * a.rows * a.max_tokens,
                             .row_stride = a.max_tokens,
                             .keys = a.keys + cell * a.max_tokens};
  const Cluster alone(1);
  const BlockTeam team(storage, alone, a.policy.slots);
  const HeadView view(state_memory, layout, cell);
  HeadState state;
  admit(team, a.policy, view, prompt, state);
  if (threadIdx.x == 0) *view.head = state;
}

template <Element T>
[[nodiscard]] cudaError_t move_tokens(const AdmitArguments<T>& a, const CacheRows<T>& from,
                                      const CacheRows<T>& to, std::uint32_t head_dim,
                                      cudaStream_t stream) {
  const GatherArguments<T> rows{.from = from,
                                .to = to,
                                .sequences = a.prompts.sequences,
                                .kv_heads = a.prompts.kv_heads,
                                .head_dim = head_dim,
                                .rows = a.kept,
                                .counts = a.counts,
                                .rows_stride = a.policy.slots};
  return a.in_place ? compact(rows, stream) : gather(rows, stream);
}

}  // namespace detail

/// Bytes of device memory that admit_prompts works in; they begin on 128 bytes.
[[nodiscard]] inline std::size_t admit_workspace(const Policy& policy, std::size_t sequences,
                                                 std::size_t kv_heads, std::uint32_t max_tokens) {
  return detail::prompt_workspace(policy, sequences * kv_heads, max_tokens).bytes;
}

/// Takes the first prompts of a batch in: KVCache::prefill of the portable library, but for the
/// prompt's own attention, which the engine has computed.
///
/// The prompt's last queries vote (see voters_of), and a prompt longer than the capacity is cut to
/// it: the first and the most recent tokens stay with the best of the others; of equal ones the
/// newest. Slot i receives the i-th token that stays. A head whose prompt cannot be held, or one of
/// whose queries has no finite weights, says so in its status and is empty.
///
/// On the stream; it neither allocates nor synchronises; kernels are launched by max_tokens, so
/// that a CUDA graph may capture it. A policy for which all queries vote (H2O) costs max_tokens /
/// 32 launches of 2 kernels and the square of the prompt's length. At most 65,535 heads in all.
/// \param workspace admit_workspace() bytes, used until the stream has passed
template <Element T, int head_dim>
[[nodiscard]] cudaError_t admit_prompts(const AdmitArguments<T>& a, void* workspace,
                                        cudaStream_t stream) {
  const Prompts<T>& p = a.prompts;
  if (p.sequences == 0 || p.kv_heads == 0 || p.max_tokens == 0) return cudaSuccess;
  if (!a.policy.is_valid() || p.group == 0 || a.state == nullptr || a.kept == nullptr ||
      a.counts == nullptr || p.tokens == nullptr || workspace == nullptr) {
    return cudaErrorInvalidValue;
  }
  const std::size_t query_strides = p.query_sequence_stride | p.query_stride;
  if (reinterpret_cast<std::uintptr_t>(p.queries) % 16 != 0 ||
      query_strides * sizeof(T) % 16 != 0 || !p.keys.is_aligned() || !p.values.is_aligned() ||
      !a.cache_keys.is_aligned() || !a.cache_values.is_aligned()) {
    return cudaErrorMisalignedAddress;
  }
  const std::uint32_t cells = p.sequences * p.kv_heads;
  const detail::PromptWorkspace w = detail::prompt_workspace(a.policy, cells, p.max_tokens);
  auto* memory = static_cast<std::byte*>(workspace);
  auto* weights = reinterpret_cast<float*>(memory + w.weights);
  auto* bad = reinterpret_cast<std::uint32_t*>(memory + w.bad);
  const bool pools = a.policy.schedule == Schedule::after_prompt;
  const detail::PromptVotes votes{
      .policy = a.policy,
      .tokens = p.tokens,
      .max_tokens = p.max_tokens,
      .kv_heads = p.kv_heads,
      .rows = w.rows,
      .voters = voters_of(a.policy),
      .weights = weights,
      .keys = reinterpret_cast<std::uint64_t*>(memory + w.keys),
      .pooled = pools ? reinterpret_cast<std::uint64_t*>(memory + w.pooled) : nullptr};

  cudaError_t error = cudaMemsetAsync(bad, 0, sizeof(*bad) * cells, stream);
  const auto after = [&](auto&& launch) {
    if (error == cudaSuccess) error = launch();
  };
  const dim3 tiles((p.max_tokens + detail::vote_threads - 1) / detail::vote_threads, cells);
  const std::uint32_t voters = (std::min)(votes.voters, p.max_tokens);
  for (std::uint32_t first = 0; first == 0 || first < voters; first += w.rows) {
    if (voters > 0) {
      after([&] {
        return detail::prompt_rows<T, head_dim>(p,
                                                {.voters = votes.voters,
                                                 .first = first,
                                                 .rows = w.rows,
                                                 .fusion = a.policy.group,
                                                 .out = weights,
                                                 .bad = bad},
                                                stream);
      });
    }
    after([&] {
      detail::add_votes_kernel<<<tiles, detail::vote_threads, 0, stream>>>(votes, first);
      return cudaGetLastError();
    });
    if (voters == 0) break;
  }
  if (pools) {
    after([&] {
      detail::pool_votes_kernel<<<tiles, detail::vote_threads, 0, stream>>>(votes);
      return cudaGetLastError();
    });
  }
  after([&] {
    detail::select_kernel<<<cells, detail::top_k_threads, 0, stream>>>(votes, bad, a.kept, a.counts,
                                                                       a.statuses);
    return cudaGetLastError();
  });
  after([&] { return reset_state(a.policy, a.state, 0, p.sequences, p.kv_heads, stream); });
  after([&] {
    detail::admit_kernel<<<cells, detail::vote_threads, 0, stream>>>(
        votes, layout_of(a.policy), a.state, a.first_positions, a.kept, a.counts);
    return cudaGetLastError();
  });
  after([&] { return detail::move_tokens(a, p.keys, a.cache_keys, head_dim, stream); });
  after([&] { return detail::move_tokens(a, p.values, a.cache_values, head_dim, stream); });
  return error;
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_PROMPT_CUH
