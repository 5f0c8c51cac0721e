// SPDX-License-Identifier: Apache-2.0
//
// The speed of the kernels for GPUs, against the device's own limits: a table, and
// build/reports/cuda.json. Without a device it says so and ends with 0.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cuda/decoding.cuh"
#include "cuda/device.cuh"
#include "cuda/prompt.cuh"
#include "kernels/report.hpp"
#include "morphkv/cuda/top_k.cuh"
#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/recommended.hpp"

namespace morphkv::bench { namespace {

constexpr int runs = 31;

struct Device {
  cudaDeviceProp properties{};
  int driver = 0;
  cudaStream_t stream = nullptr;
  double copy_bandwidth = 0;  ///< bytes read and written a second
};

__global__ void copy_kernel(const uint4* from, uint4* to, std::size_t count) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    const uint4 words[4] = {from[i], from[i + stride], from[i + 2 * stride], from[i + 3 * stride]};
    for (int w = 0; w < 4; ++w) to[i + w * stride] = words[w];
  }
  for (; i < count; i += stride) to[i] = from[i];
}

/// A copy within the device, of more than its caches hold: the faster of the driver's and a kernel.
double copy_bandwidth(const cudaDeviceProp& properties, cudaStream_t stream) {
  constexpr std::size_t bytes = std::size_t{1} << 32U;
  const Buffer<std::byte> from(bytes);
  const Buffer<std::byte> to(bytes);
  check(cudaMemsetAsync(from.data(), 1, bytes, stream), "memset");
  const Graph copy(stream, [&] {
    check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream), "copy");
  });
  const Graph kernel(stream, [&] {
    copy_kernel<<<static_cast<unsigned>(properties.multiProcessorCount) * 8, 256, 0, stream>>>(
        reinterpret_cast<const uint4*>(from.data()), reinterpret_cast<uint4*>(to.data()),
        bytes / sizeof(uint4));
    check(cudaGetLastError(), "copy_kernel");
  });
  const auto times = medians({&copy, &kernel}, runs);
  std::printf("copies: driver %.0f, kernel %.0f GB/s\n",
              2e-9 * static_cast<double>(bytes) / times[0],
              2e-9 * static_cast<double>(bytes) / times[1]);
  return 2.0 * static_cast<double>(bytes) / std::min(times[0], times[1]);
}

/// A policy, the bytes of its score that pass through memory per slot and step, and what a step of
/// it may cost over plain attention.
struct Timed {
  const char* name;
  cuda::Policy policy;
  double bytes_per_slot;
  double most_percent;
};

std::vector<Timed> timed_policies(std::uint32_t slots) {
  const auto morphkv = [&](Fusion fusion) {
    return cuda::policy_of<MorphKV>({.capacity = slots, .window = 32, .fusion = fusion});
  };
  return {{"sum", morphkv(Fusion::sum), 12, 3},
          {"max", morphkv(Fusion::max), 16, 4},
          {"recommended", cuda::policy_of<DecayedMax>(recommended(slots)), 8, 4}};
}

/// Seconds of a step of plain attention, and of each policy.
struct StepTimes {
  double plain = 0;
  std::vector<double> policies;
};

StepTimes time_steps(const Decoding& decoding, const std::vector<Timed>& policies,
                     cudaStream_t stream) {
  const std::size_t steps = std::max<std::size_t>(decoding.layers(), 8);
  std::vector<std::vector<Buffer<std::byte>>> states;
  std::vector<std::unique_ptr<Graph>> graphs;
  const auto capture = [&](const Timed& timed, bool appends) {
    graphs.push_back(std::make_unique<Graph>(stream, [&] {
      for (std::size_t s = 0; s < steps; ++s) {
        const std::size_t layer = s % decoding.layers();
        decoding.step(timed.policy, states.back()[layer].data(), layer, s, appends);
      }
    }));
  };
  for (const Timed& timed : policies) {
    states.push_back(decoding.fill(timed.policy));
    if (graphs.empty()) capture(timed, false);  // plain attention, which is that of any policy
    capture(timed, true);
  }
  std::vector<const Graph*> all;
  for (const auto& graph : graphs) all.push_back(graph.get());
  std::vector<double> times = medians(all, runs);
  for (double& time : times) time /= static_cast<double>(steps);
  return {times[0], {times.begin() + 1, times.end()}};
}

void measure_batch(const Device& device, std::uint32_t slots) {
  const std::string shape = "batch 64, N = " + std::to_string(slots);
  const Decoding decoding(64, slots, static_cast<std::size_t>(device.properties.l2CacheSize),
                          device.stream);
  const auto policies = timed_policies(slots);
  const StepTimes times = time_steps(decoding, policies, device.stream);
  inform("plain attention, " + shape, 1e6 * times.plain, "us",
         in_words(1e6 * decoding.cache_bytes() / device.copy_bandwidth, "us at copy bandwidth"));
  for (std::size_t p = 0; p < policies.size(); ++p) {
    const Timed& timed = policies[p];
    const double bytes = decoding.cache_bytes() +
                         timed.bytes_per_slot * static_cast<double>(decoding.cells()) * slots;
    const std::string name = std::string(timed.name) + ", " + shape;
    inform("step with " + name, 1e6 * times.policies[p], "us");
    at_least("share of the copy bandwidth, " + name,
             100 * bytes / times.policies[p] / device.copy_bandwidth, 85, "%",
             in_words(1e-9 * device.copy_bandwidth, "GB/s") + "; then 90");
    at_most("eviction over plain attention, " + name, 100 * (times.policies[p] / times.plain - 1),
            timed.most_percent, "%", in_words(100 * timed.bytes_per_slot / 512, "% of the bytes"));
  }
}

void measure_alone(const Device& device, std::uint32_t slots) {
  const std::string shape = "batch 1, N = " + std::to_string(slots);
  const Decoding decoding(1, slots, static_cast<std::size_t>(device.properties.l2CacheSize),
                          device.stream);
  const auto policies = timed_policies(slots);
  const StepTimes times = time_steps(decoding, policies, device.stream);
  for (std::size_t p = 0; p < policies.size(); ++p) {
    at_most("eviction over plain attention, " + std::string(policies[p].name) + ", " + shape,
            1e6 * (times.policies[p] - times.plain), 2, "us",
            in_words(1e6 * times.plain, "us plain"));
  }
}

/// Prompts of 8,192 tokens whose attention the engine has computed, log-sum-exp included.
/// compare_torch.py sets these rows against scaled_dot_product_attention.
void measure_prompts(const Device& device) {
  constexpr std::uint32_t tokens = 8192;
  constexpr std::uint32_t kept = 2048;
  const Prompt prompt(tokens, kept, device.stream);
  for (const Timed& timed : timed_policies(kept)) {
    const auto workspace = prompt.workspace(timed.policy);
    const Buffer<std::byte> state(cuda::state_bytes(timed.policy, 1, Prompt::kv_heads));
    const Graph graph(device.stream,
                      [&] { prompt.admit(timed.policy, state.data(), workspace.data()); });
    inform("prompt of 8192 admitted, " + std::string(timed.name), 1e6 * medians({&graph}, 9)[0],
           "us");
  }
}

/// compare_torch.py sets this row against torch.topk.
void measure_top_k(const Device& device) {
  constexpr std::uint32_t segments = 64;
  constexpr std::uint32_t count = 8192;
  constexpr std::uint32_t k = 512;
  const std::size_t sets = 1 + 4 * static_cast<std::size_t>(device.properties.l2CacheSize) /
                                   (sizeof(float) * segments * count);
  const Buffer<float> scores(sets * segments * count);
  const Buffer<std::uint32_t> indices(segments * k);
  draw(scores, 1.0F, 5);
  const Graph graph(device.stream, [&] {
    for (std::size_t s = 0; s < sets; ++s) {
      check(cuda::top_k<float>({.scores = scores.data() + s * segments * count,
                                .score_stride = count,
                                .segments = segments,
                                .count = count,
                                .k = k,
                                .indices = indices.data()},
                               device.stream),
            "top_k");
    }
  });
  inform("segmented top-k, 64 x 8192, k = 512",
         1e6 * medians({&graph}, runs)[0] / static_cast<double>(sets), "us");
}

void measure() {
  Device device;
  check(cudaGetDeviceProperties(&device.properties, 0), "properties");
  check(cudaDriverGetVersion(&device.driver), "driver");
  check(cudaStreamCreate(&device.stream), "stream");
  device.copy_bandwidth = copy_bandwidth(device.properties, device.stream);
  std::printf("%s, driver's CUDA %d.%d, copy %.0f GB/s\n", device.properties.name,
              device.driver / 1000, device.driver % 1000 / 10, 1e-9 * device.copy_bandwidth);
  inform("copy within the device, bytes read and written", 1e-9 * device.copy_bandwidth, "GB/s");
  measure_batch(device, 2048);
  measure_batch(device, 8192);
  measure_alone(device, 2048);
  measure_alone(device, 8192);
  measure_prompts(device);
  measure_top_k(device);
  print_table();
  write_json("build/reports/cuda.json", {{"device", device.properties.name},
                                         {"driver_cuda", device.driver},
                                         {"multiprocessors", device.properties.multiProcessorCount},
                                         {"l2_bytes", device.properties.l2CacheSize},
                                         {"copy_bytes_per_second", device.copy_bandwidth}});
}

}  // namespace
}  // namespace morphkv::bench

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("cuda_bench: no CUDA device is present; nothing was measured.");
    return 0;
  }
  morphkv::bench::measure();
  return 0;
}
