// SPDX-License-Identifier: Apache-2.0
/// \file
/// A prompt: its last queries score it, the best tokens stay, and the cache takes them in.
#ifndef MORPHKV_CUDA_PROMPT_CUH
#define MORPHKV_CUDA_PROMPT_CUH

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/types.hpp"
#include "morphkv/cuda/block_team.cuh"
#include "morphkv/cuda/bookkeeping.cuh"
#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/gather.cuh"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/cuda/prompt_rows.cuh"
#include "morphkv/cuda/top_k.cuh"
#include "morphkv/eviction/block.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/pins.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

/// The first prompts of a batch, whose attention the engine has computed, and the caches that take
/// them in. All pointers are of the device; nothing is owned.
template <Element T, Score S = AnyScore>
struct AdmitArguments {
  Prompts<T> prompts{};
  const Position* first_positions = nullptr;  ///< [sequences], or null: 0
  EvictionPlan<S> policy{};
  void* state = nullptr;  ///< state_bytes(); its old content does not matter
  CacheRows<T> cache_keys{};
  CacheRows<T> cache_values{};
  std::uint32_t* kept = nullptr;    ///< [sequences][kv_heads][slots of the policy]: tokens by slot
  std::uint32_t* counts = nullptr;  ///< [sequences][kv_heads]: how many
  Status* statuses = nullptr;       ///< [sequences][kv_heads], or null
  /// Whether the prompt already lies in the caches, token t in slot t: it is then moved up in place
  /// (max_tokens slots are needed), and prompts.keys and prompts.values are the caches.
  bool in_place = false;
};

namespace detail {

/// Last queries of a prompt whose rows are needed.
template <Score S>
[[nodiscard]] __host__ __device__ std::uint32_t row_queries(const EvictionPlan<S>& plan,
                                                            std::uint32_t tokens) {
  const std::uint32_t scoring = scoring_queries(plan.score, tokens);
  const std::uint32_t pinning = plan.rules.pins == 0 ? 0 : pin_queries;
  const std::uint32_t queries = scoring < pinning ? pinning : scoring;
  return queries < tokens ? queries : tokens;
}

/// What the small kernels of a prompt share, and the parts of the workspace.
template <Score S>
struct PromptScores {
  EvictionPlan<S> plan{};
  const std::uint32_t* tokens = nullptr;
  std::uint32_t max_tokens = 0;
  std::uint32_t kv_heads = 0;
  const Position* first_positions = nullptr;
  std::uint32_t rows = 0;           ///< attention rows that are held at once
  std::uint32_t stride = 0;         ///< columns of a row of the scores
  std::uint32_t sums_per_cell = 0;  ///< query heads whose log-sum-exp is to be found
  std::size_t cell_bytes = 0;       ///< of the numbers of one cell's columns
  std::byte* scores = nullptr;      ///< [cells][cell_bytes]
  std::uint64_t* values = nullptr;  ///< [cells][max_tokens]
  std::uint64_t* pooled = nullptr;  ///< likewise; null where the policy does not pool
  Position* positions = nullptr;    ///< [cells][max_tokens]
  float* weights = nullptr;         ///< [cells][rows][max_tokens]
  std::uint32_t* bad = nullptr;     ///< [cells]
  /// [cells][group][max_tokens], where the prompts have none and the matrix units want one.
  float* log_sum_exp = nullptr;
  // Where tokens pin; else null.
  double* attention = nullptr;         ///< [cells][max_tokens], of the last queries
  float* norms = nullptr;              ///< [cells][max_tokens], of the values
  std::uint64_t* pin_keys = nullptr;   ///< [cells][max_tokens]
  std::uint32_t* pin_ranks = nullptr;  ///< [cells][max_tokens]
  std::uint32_t* pinned = nullptr;     ///< [cells][pins]: tokens
  std::uint32_t* pins = nullptr;       ///< [cells]: how many

  /// Lays the parts out in `memory`, each on 128 bytes. \return the bytes of all of them
  std::size_t lay_out(std::byte* memory, std::size_t cells) {
    // Rows enough to fill a device, which its second-level cache still holds.
    const auto max_rows =
        static_cast<std::uint32_t>(std::clamp<std::size_t>(1024 / cells, 32, 128));
    rows = (std::min)(row_queries(plan, max_tokens), max_rows);
    stride = score_stride(max_tokens);
    cell_bytes = plan.score.memory().bytes(stride);
    std::size_t bytes = 0;
    const auto place = [&]<class T>(T*& part, std::size_t count) {
      part = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + bytes);
      bytes = (bytes + sizeof(T) * count + 127) / 128 * 128;
    };
    place(scores, cell_bytes * cells);
    place(values, cells * max_tokens);
    if (plan.rules.pooling_kernel > 1) place(pooled, cells * max_tokens);
    place(positions, cells * max_tokens);
    place(weights, cells * rows * max_tokens);
    place(bad, cells);
    place(log_sum_exp, cells * sums_per_cell * max_tokens);
    if (plan.rules.pins == 0) return bytes;
    place(attention, cells * max_tokens);
    place(norms, cells * max_tokens);
    place(pin_keys, cells * max_tokens);
    place(pin_ranks, cells * max_tokens);
    place(pinned, cells * plan.rules.pins);
    place(pins, cells);
    return bytes;
  }
  [[nodiscard]] __device__ Position first(std::size_t sequence) const {
    return first_positions == nullptr ? 0 : first_positions[sequence];
  }
  [[nodiscard]] __device__ ScoreView columns(std::size_t cell) const {
    return {scores + cell * cell_bytes, plan.score.memory(), stride, positions + cell * max_tokens};
  }
};

template <Element T, Score S>
[[nodiscard]] PromptScores<S> scores_of(const EvictionPlan<S>& policy, const Prompts<T>& prompts) {
  return {.plan = policy,
          .tokens = prompts.tokens,
          .max_tokens = prompts.max_tokens,
          .kv_heads = prompts.kv_heads,
          .sums_per_cell = sizeof(T) == 2 && prompts.log_sum_exp == nullptr ? prompts.group : 0};
}

inline constexpr int score_threads = 256;

/// Pushes a block of rows, from the scoring query `first` on. Grid: (tiles of tokens, cells). A
/// thread serves one token, so that it sees its rows in their order.
template <Score S>
__global__ void __launch_bounds__(score_threads)
    push_rows_kernel(const __grid_constant__ PromptScores<S> a, std::uint32_t first) {
  const std::size_t cell = blockIdx.y;
  const std::uint32_t tokens = a.tokens[cell / a.kv_heads];
  const std::uint32_t token = blockIdx.x * blockDim.x + threadIdx.x;
  if (token >= tokens) return;
  const std::uint32_t queries = row_queries(a.plan, tokens);
  const std::uint32_t scoring = scoring_queries(a.plan.score, tokens);
  const std::uint32_t rows = first < queries ? min(a.rows, queries - first) : 0;
  const std::uint32_t distance = distance_of(a.plan.score);
  const ScoreView columns = a.columns(cell);
  const auto push = [&](const auto& score) {
    constexpr std::uint32_t at_once = 8;  // rows that are on their way
    for (std::uint32_t begin = 0; begin < rows; begin += at_once) {
      float weights[at_once];
#pragma unroll
      for (std::uint32_t i = 0; i < at_once; ++i) {
        const std::size_t row = cell * a.rows + min(begin + i, rows - 1);
        weights[i] = __ldcg(a.weights + row * a.max_tokens + token);
      }
#pragma unroll
      for (std::uint32_t i = 0; i < at_once; ++i) {
        if (begin + i >= rows) break;
        const std::uint32_t query = tokens - queries + first + begin + i;
        if (a.attention != nullptr && tokens - query <= pin_queries) {
          a.attention[cell * a.max_tokens + token] += static_cast<double>(weights[i]);
        }
        if (tokens - query > scoring) continue;
        const std::uint32_t scored = query - (tokens - scoring);  // rows before this one
        if (token + distance == query) score.start(columns, token, scored);
        (void)with_block_row(score, columns, scored, [&](const auto& row) {
          (void)row.push(token, weights[i], row.fetch(token));
          return no_slot;
        });
      }
    }
  };
  if constexpr (requires { a.plan.score.with_score(push); }) {
    a.plan.score.with_score(push);  // once, and not once per row
  } else {
    push(a.plan.score);
  }
}

/// The value of every token, and what it is pinned by. Grid: (tiles of tokens, cells).
template <Score S>
__global__ void __launch_bounds__(score_threads)
    values_kernel(const __grid_constant__ PromptScores<S> a) {
  const std::size_t cell = blockIdx.y;
  const std::uint32_t tokens = a.tokens[cell / a.kv_heads];
  const std::uint32_t token = blockIdx.x * blockDim.x + threadIdx.x;
  if (token >= tokens) return;
  const std::uint32_t scoring = scoring_queries(a.plan.score, tokens);
  a.positions[cell * a.max_tokens + token] =
      a.first(cell / a.kv_heads) + static_cast<Position>(token);
  std::uint64_t value = 0;
  (void)a.plan.score.with_row(a.columns(cell), scoring == 0 ? 0 : scoring - 1,
                              [&](const auto& row) {
                                value = row.value(token);
                                return no_slot;
                              });
  a.values[cell * a.max_tokens + token] = value;
  if (a.pin_keys == nullptr) return;
  const auto of_others = [&](const auto* numbers) {
    return [&a, numbers, cell](std::uint32_t rank) {
      return is_permanent_arrival(a.plan.rules, rank)
                 ? 0.0
                 : static_cast<double>(numbers[cell * a.max_tokens + rank]);
    };
  };
  const std::size_t index = cell * a.max_tokens + token;
  a.pin_keys[index] =
      double_key(pin_value(tokens, token, of_others(a.norms), of_others(a.attention)));
  a.pin_ranks[index] = BlockOutcome::no_pin;
}

/// Pools the values of the tokens that compete. Grid: (tiles of tokens, cells).
template <Score S>
__global__ void __launch_bounds__(score_threads)
    pool_kernel(const __grid_constant__ PromptScores<S> a) {
  const std::size_t cell = blockIdx.y;
  const std::uint32_t tokens = a.tokens[cell / a.kv_heads];
  const std::uint32_t competing = tokens - min(tokens, a.plan.rules.recent);
  const std::uint32_t token = blockIdx.x * blockDim.x + threadIdx.x;
  if (token >= competing) return;
  const std::uint64_t* values = a.values + cell * a.max_tokens;
  a.pooled[cell * a.max_tokens + token] =
      double_key(pooled(a.plan.rules, competing, token, [&](std::uint32_t rank) {
        return a.plan.score.number(static_cast<typename S::Value>(values[rank]));
      }));
}

/// The norm of every token's value. Grid: (tiles of tokens, cells).
template <Element T, int head_dim>
__global__ void __launch_bounds__(score_threads)
    norms_kernel(const __grid_constant__ Prompts<T> prompts, float* norms) {
  const std::size_t cell = blockIdx.y;
  const std::uint32_t token = blockIdx.x * blockDim.x + threadIdx.x;
  if (token >= prompts.tokens[cell / prompts.kv_heads]) return;
  const KvView<T> values = prompts.values.head(cell / prompts.kv_heads, cell % prompts.kv_heads);
  norms[cell * prompts.max_tokens + token] = pin_norm(row_of(values, token), head_dim);
}

/// Finds the pinned tokens. Those that compete get the highest value. A block serves one cell.
template <Score S>
__global__ void __launch_bounds__(top_k_threads)
    pin_kernel(const __grid_constant__ PromptScores<S> a) {
  __shared__ TopKStorage<std::uint64_t> shared;
  const std::size_t cell = blockIdx.x;
  const EvictionRules& rules = a.plan.rules;
  const std::uint32_t tokens = a.tokens[cell / a.kv_heads];
  const std::uint32_t permanent = rules.protect_prompt ? tokens : min(rules.sinks, tokens);
  const std::uint32_t competing = tokens - min(tokens, rules.recent);
  const std::uint32_t stays = tokens - competing + min(permanent, competing);
  const std::uint32_t room = rules.capacity - min(rules.capacity, stays);
  const BlockColumns block{.held = 0, .tokens = tokens, .arrived = 0, .first = 0};
  const std::uint32_t pins = count_pins(rules, block, HeadState{}, tokens - permanent, room);
  const std::uint64_t* keys = a.pin_keys + cell * a.max_tokens;
  std::uint32_t* pinned = a.pinned + cell * rules.pins;
  block_top_k<std::uint64_t>(
      tokens - permanent, pins, [&](std::uint32_t i) { return keys[permanent + i]; },
      [&](std::uint32_t rank, std::uint32_t i) { pinned[rank] = permanent + i; }, shared);
  __syncthreads();
  std::uint64_t* values = (a.pooled != nullptr ? a.pooled : a.values) + cell * a.max_tokens;
  for (std::uint32_t i = threadIdx.x; i < pins; i += blockDim.x) {
    const std::uint32_t token = pinned[i];
    std::uint32_t rank = 0;  // of equal ones the newest is first
    for (std::uint32_t j = 0; j < pins; ++j) {
      const std::uint64_t other = keys[pinned[j]];
      if (other > keys[token] || (other == keys[token] && j > i)) ++rank;
    }
    a.pin_ranks[cell * a.max_tokens + token] = rank;
    if (token < competing) values[token] = ~std::uint64_t{0};
  }
  if (threadIdx.x == 0) a.pins[cell] = pins;
}

/// Writes the tokens that stay, ascending. A block serves one cell.
template <Score S>
__global__ void __launch_bounds__(top_k_threads)
    select_kernel(const __grid_constant__ PromptScores<S> a, std::uint32_t* kept,
                  std::uint32_t* counts, Status* statuses) {
  __shared__ TopKStorage<std::uint64_t> shared;
  const std::size_t cell = blockIdx.x;
  const EvictionRules& rules = a.plan.rules;
  const std::uint32_t tokens = a.tokens[cell / a.kv_heads];
  const bool cuts = cuts_block(rules, HeadState{}) && tokens > rules.capacity;
  const std::uint32_t recent = cuts ? rules.recent : 0;
  const std::uint32_t permanent = !cuts ? tokens : rules.protect_prompt ? tokens : rules.sinks;
  Status status = Status::ok;
  if (a.bad[cell] != 0) status = Status::bad_row;
  if (tokens > rules.slots && !cuts) status = Status::full;
  if (cuts && permanent + recent > rules.capacity) status = Status::nothing_to_evict;
  const std::uint32_t stays = status != Status::ok ? 0 : cuts ? rules.capacity : tokens;
  if (threadIdx.x == 0) {
    counts[cell] = stays;
    if (statuses != nullptr) statuses[cell] = status;
  }
  if (status != Status::ok) return;
  std::uint32_t* out = kept + cell * rules.slots;
  for (std::uint32_t i = threadIdx.x; i < permanent; i += blockDim.x) out[i] = i;
  for (std::uint32_t i = threadIdx.x; i < recent; i += blockDim.x) {
    out[stays - recent + i] = tokens - recent + i;
  }
  if (!cuts) return;
  const std::uint64_t* values =
      (a.pooled != nullptr ? a.pooled : a.values) + cell * a.max_tokens + permanent;
  block_top_k<std::uint64_t>(
      tokens - recent - permanent, stays - recent - permanent,
      [&](std::uint32_t i) { return values[i]; },
      [&](std::uint32_t rank, std::uint32_t i) { out[permanent + rank] = permanent + i; }, shared);
}

/// The state of a head. A block serves one cell.
template <Score S>
__global__ void __launch_bounds__(score_threads)
    commit_kernel(const __grid_constant__ PromptScores<S> a,
                  const __grid_constant__ HeadLayout layout, void* state_memory,
                  const std::uint32_t* kept, const std::uint32_t* counts) {
  __shared__ TeamStorage storage;
  const std::size_t cell = blockIdx.x;
  const std::size_t sequence = cell / a.kv_heads;
  const std::uint32_t tokens = a.tokens[sequence];
  const std::uint32_t stays = counts[cell];
  if (stays == 0) return;  // no prompt, or one that cannot be held: the state is empty
  const Cluster alone(1);
  const BlockTeam team(storage, alone, a.plan.rules.slots);
  const HeadView view(state_memory, layout, cell);
  HeadState state = *view.head;
  const BlockOutcome outcome{
      .columns = {.held = 0, .tokens = tokens, .arrived = 0, .first = a.first(sequence)},
      .sources = kept + cell * a.plan.rules.slots,
      .size = stays,
      .scores = a.columns(cell),
      .rows = a.plan.rules.carries_scores ? scoring_queries(a.plan.score, tokens) : 0,
      .pins = a.pins == nullptr ? 0 : a.pins[cell],
      .pin_ranks = a.pins == nullptr ? nullptr : a.pin_ranks + cell * a.max_tokens};
  commit_block(
      team, a.plan.rules, outcome, view,
      [&](std::uint32_t token) { return stays - (tokens - token); }, view, state);
  __syncthreads();
  if (threadIdx.x == 0) *view.head = state;
}

template <Element T, Score S>
[[nodiscard]] cudaError_t move_tokens(const AdmitArguments<T, S>& a, const CacheRows<T>& from,
                                      const CacheRows<T>& to, std::uint32_t head_dim,
                                      cudaStream_t stream) {
  const GatherArguments<T> rows{.from = from,
                                .to = to,
                                .sequences = a.prompts.sequences,
                                .kv_heads = a.prompts.kv_heads,
                                .head_dim = head_dim,
                                .rows = a.kept,
                                .counts = a.counts,
                                .rows_stride = a.policy.rules.slots};
  return a.in_place ? compact(rows, stream) : gather(rows, stream);
}

}  // namespace detail

/// Bytes of device memory that admit_prompts works in, for these prompts; they begin on 128 bytes.
/// Of the prompts, no memory is read.
template <Element T, Score S>
[[nodiscard]] std::size_t admit_workspace(const EvictionPlan<S>& policy,
                                          const Prompts<T>& prompts) {
  auto parts = detail::scores_of(policy, prompts);
  return parts.lay_out(nullptr, std::size_t{prompts.sequences} * prompts.kv_heads);
}

/// Takes the first prompts of a batch in: KVCache::prefill of the portable library, but for the
/// prompt's own attention, which the engine has computed.
///
/// The prompt's last queries score it (see scoring_queries), and a prompt longer than the capacity
/// is cut to it: the first and the most recent tokens stay with the best of the others; of equal
/// ones the newest. Slot i receives the i-th token that stays. A head whose prompt cannot be held,
/// or one of whose queries has no finite weights, says so in its status and is empty.
///
/// On the stream; it neither allocates nor synchronises; kernels are launched by max_tokens, so
/// that a CUDA graph may capture it. A policy whose scores come from all queries costs max_tokens /
/// 128 launches of 2 kernels and the square of the prompt's length. At most 65,535 heads in all.
/// \param workspace admit_workspace() bytes, used until the stream has passed
template <Element T, int head_dim, Score S = AnyScore>
[[nodiscard]] cudaError_t admit_prompts(const AdmitArguments<T, S>& a, void* workspace,
                                        cudaStream_t stream) {
  const Prompts<T>& p = a.prompts;
  if (p.sequences == 0 || p.kv_heads == 0 || p.max_tokens == 0) return cudaSuccess;
  if (a.policy.rules.slots == 0 || p.group == 0 || a.state == nullptr || a.kept == nullptr ||
      a.counts == nullptr || p.tokens == nullptr || workspace == nullptr) {
    return cudaErrorInvalidValue;
  }
  if (!lies_on_16_bytes(p.queries, p.query_sequence_stride | p.query_stride) ||
      !p.keys.is_aligned() || !p.values.is_aligned() || !a.cache_keys.is_aligned() ||
      !a.cache_values.is_aligned()) {
    return cudaErrorMisalignedAddress;
  }
  const std::uint32_t cells = p.sequences * p.kv_heads;
  detail::PromptScores<S> scores = detail::scores_of(a.policy, p);
  scores.first_positions = a.first_positions;
  scores.lay_out(static_cast<std::byte*>(workspace), cells);

  cudaError_t error = cudaMemsetAsync(scores.bad, 0, sizeof(*scores.bad) * cells, stream);
  const auto after = [&](auto&& step) {
    if (error == cudaSuccess) error = step();
  };
  const auto launch = [&](auto* kernel, const dim3& grid, int threads, const auto&... arguments) {
    after([&] {
      kernel<<<grid, threads, 0, stream>>>(arguments...);
      return cudaGetLastError();
    });
  };
  after([&] { return cudaMemsetAsync(scores.scores, 0, scores.cell_bytes * cells, stream); });
  constexpr int threads = detail::score_threads;
  const dim3 tiles((p.max_tokens + threads - 1) / threads, cells);
  const bool pins = a.policy.rules.pins > 0;
  if (pins) {
    after([&] {
      const std::size_t bytes = sizeof(*scores.attention) * cells * p.max_tokens;
      return cudaMemsetAsync(scores.attention, 0, bytes, stream);
    });
    launch(detail::norms_kernel<T, head_dim>, tiles, threads, p, scores.norms);
  }
  const std::uint32_t queries = detail::row_queries(a.policy, ~std::uint32_t{0});
  const std::uint32_t max_queries = detail::row_queries(a.policy, p.max_tokens);
  Prompts<T> with_sums = p;
  if constexpr (sizeof(T) == 2) {
    if (p.log_sum_exp == nullptr && max_queries > 0) {
      after([&] {
        return detail::prompt_sums<T, head_dim>(p, max_queries, scores.log_sum_exp, stream);
      });
      with_sums.log_sum_exp = scores.log_sum_exp;
    }
  }
  for (std::uint32_t first = 0; first < max_queries; first += scores.rows) {
    after([&] {
      return detail::prompt_rows<T, head_dim>(with_sums,
                                              {.scoring = queries,
                                               .first = first,
                                               .rows = scores.rows,
                                               .fusion = a.policy.rules.group,
                                               .out = scores.weights,
                                               .bad = scores.bad},
                                              stream);
    });
    launch(detail::push_rows_kernel<S>, tiles, threads, scores, first);
  }
  launch(detail::values_kernel<S>, tiles, threads, scores);
  if (scores.pooled != nullptr) launch(detail::pool_kernel<S>, tiles, threads, scores);
  if (pins) launch(detail::pin_kernel<S>, cells, detail::top_k_threads, scores);
  launch(detail::select_kernel<S>, cells, detail::top_k_threads, scores, a.kept, a.counts,
         a.statuses);
  after([&] { return reset_state(a.policy, a.state, 0, p.sequences, p.kv_heads, stream); });
  launch(detail::commit_kernel<S>, cells, threads, scores, layout_of(a.policy), a.state, a.kept,
         a.counts);
  after([&] { return detail::move_tokens(a, p.keys, a.cache_keys, head_dim, stream); });
  after([&] { return detail::move_tokens(a, p.values, a.cache_values, head_dim, stream); });
  return error;
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_PROMPT_CUH
