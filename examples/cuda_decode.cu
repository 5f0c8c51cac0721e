// SPDX-License-Identifier: Apache-2.0
/// \file
/// One layer of an engine on a GPU: the prompts of a batch are cut to a constant size, and one
/// captured graph decodes the whole response. Made-up numbers stand for the model's projections.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "morphkv/cuda/decode.cuh"
#include "morphkv/cuda/prompt.cuh"
#include "morphkv/policy/morphkv.hpp"

namespace {

namespace device = morphkv::cuda;
using T = __nv_bfloat16;

constexpr std::uint32_t sequences = 2;
constexpr std::uint32_t kv_heads = 4;
constexpr std::uint32_t group = 2;
constexpr std::uint32_t head_dim = 64;
constexpr std::uint32_t longest = 1000;
constexpr std::uint32_t response = 500;
const device::Policy policy = device::policy_of<morphkv::MorphKV>(
    {.capacity = 256, .window = 32, .fusion = morphkv::Fusion::sum});

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "cuda_decode: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

/// Memory of the device. It goes with the process.
template <class E>
E* allocate(std::size_t count) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, count * sizeof(E)));
  return static_cast<E*>(memory);
}

/// The projections of `tokens` tokens of every sequence: [sequences][tokens][heads][head_dim].
void project(T* to, std::size_t tokens, std::size_t heads, cudaStream_t stream) {
  static std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<T> numbers(sequences * tokens * heads * head_dim);
  for (T& number : numbers) number = __float2bfloat16(normal(random));
  check(cudaMemcpyAsync(to, numbers.data(), numbers.size() * sizeof(T), cudaMemcpyHostToDevice,
                        stream));
  check(cudaStreamSynchronize(stream));  // the host's numbers go away
}

/// Rows [sequences][kv_heads][slots], as a cache has them.
device::CacheRows<T> cache_rows(T* data) {
  const std::size_t head = std::size_t{policy.rules.slots} * head_dim;
  return {
      .data = data, .sequence_stride = head * kv_heads, .head_stride = head, .stride = head_dim};
}

/// Rows [sequences][tokens][kv_heads], as a prompt's projections lie.
device::CacheRows<T> prompt_rows(T* data) {
  constexpr std::size_t token = std::size_t{kv_heads} * head_dim;
  return {
      .data = data, .sequence_stride = longest * token, .head_stride = head_dim, .stride = token};
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("cuda_decode: no CUDA device is present.");
    return 0;
  }
  cudaStream_t stream = nullptr;
  check(cudaStreamCreate(&stream));

  // The cache of a layer: all of its memory, for as long as the batch runs.
  const std::size_t rows = std::size_t{sequences} * kv_heads * policy.rules.slots;
  T* cache_keys = allocate<T>(rows * head_dim);
  T* cache_values = allocate<T>(rows * head_dim);
  auto* state = allocate<std::byte>(device::state_bytes(policy, sequences, kv_heads));
  const float scale = 1 / std::sqrt(static_cast<float>(head_dim));

  // The prompts: their attention is the engine's own; what stays of them is the policy's choice.
  const std::vector<std::uint32_t> lengths{longest, 700};
  auto* tokens = allocate<std::uint32_t>(sequences);
  check(cudaMemcpy(tokens, lengths.data(), sizeof(lengths[0]) * sequences, cudaMemcpyHostToDevice));
  T* prompt_queries = allocate<T>(std::size_t{sequences} * longest * kv_heads * group * head_dim);
  T* prompt_keys = allocate<T>(std::size_t{sequences} * longest * kv_heads * head_dim);
  T* prompt_values = allocate<T>(std::size_t{sequences} * longest * kv_heads * head_dim);
  project(prompt_queries, longest, kv_heads * group, stream);
  project(prompt_keys, longest, kv_heads, stream);
  project(prompt_values, longest, kv_heads, stream);
  auto* kept = allocate<std::uint32_t>(rows);
  auto* counts = allocate<std::uint32_t>(sequences * kv_heads);
  constexpr std::size_t query = std::size_t{kv_heads} * group * head_dim;
  const device::Prompts<T> prompts{.queries = prompt_queries,
                                   .query_sequence_stride = longest * query,
                                   .query_stride = query,
                                   .keys = prompt_rows(prompt_keys),
                                   .values = prompt_rows(prompt_values),
                                   .tokens = tokens,
                                   .max_tokens = longest,
                                   .sequences = sequences,
                                   .kv_heads = kv_heads,
                                   .group = group,
                                   .scale = scale};
  void* workspace = allocate<std::byte>(device::admit_workspace(policy, prompts));
  check(device::admit_prompts<T, head_dim>({.prompts = prompts,
                                            .policy = policy,
                                            .state = state,
                                            .cache_keys = cache_rows(cache_keys),
                                            .cache_values = cache_rows(cache_values),
                                            .kept = kept,
                                            .counts = counts},
                                           workspace, stream));

  // The response: shapes never change, so one graph serves all of it.
  T* queries = allocate<T>(sequences * query);
  T* keys = allocate<T>(std::size_t{sequences} * kv_heads * head_dim);
  T* values = allocate<T>(std::size_t{sequences} * kv_heads * head_dim);
  T* outputs = allocate<T>(sequences * query);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t step = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  check(device::decode<T, head_dim>({.queries = queries,
                                     .keys = keys,
                                     .values = values,
                                     .outputs = outputs,
                                     .cache_keys = cache_rows(cache_keys),
                                     .cache_values = cache_rows(cache_values),
                                     .sequences = sequences,
                                     .kv_heads = kv_heads,
                                     .group = group,
                                     .scale = scale,
                                     .policy = policy,
                                     .state = state},
                                    stream));
  check(cudaStreamEndCapture(stream, &graph));
  check(cudaGraphInstantiate(&step, graph, 0));
  for (std::uint32_t t = 0; t < response; ++t) {
    project(queries, 1, kv_heads * group, stream);
    project(keys, 1, kv_heads, stream);
    project(values, 1, kv_heads, stream);
    check(cudaGraphLaunch(step, stream));
  }
  check(cudaStreamSynchronize(stream));

  // What a head holds now.
  std::vector<std::byte> states(device::state_bytes(policy, sequences, kv_heads));
  check(cudaMemcpy(states.data(), state, states.size(), cudaMemcpyDeviceToHost));
  for (std::size_t cell = 0; cell < sequences * kv_heads; ++cell) {
    const morphkv::HeadView head(states.data(), morphkv::layout_of(policy), cell);
    std::uint32_t of_prompt = 0;
    for (std::uint32_t slot = 0; slot < head.head->size; ++slot) {
      const auto length = static_cast<morphkv::Position>(lengths[cell / kv_heads]);
      if (head.positions[slot] < length) ++of_prompt;
    }
    std::printf("sequence %zu, head %zu: token %d is the newest, %u are held, %u of the prompt\n",
                cell / kv_heads, cell % kv_heads, head.head->newest, head.head->size, of_prompt);
  }
  return 0;
}
