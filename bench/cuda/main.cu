// SPDX-License-Identifier: Apache-2.0
//
// The speed of the kernels for GPUs, against the device's own limits: a table, and
// build/reports/cuda.json. Without a device it says so and ends with 0.
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/decoding.cuh"
#include "cuda/device.cuh"
#include "kernels/report.hpp"
#include "morphkv/cuda/top_k.cuh"
#include "morphkv/policy/morphkv.hpp"

namespace morphkv::bench { namespace {

constexpr int runs = 31;

struct Device {
  cudaDeviceProp properties{};
  int driver = 0;
  cudaStream_t stream = nullptr;
  double copy_bandwidth = 0;  ///< bytes read and written a second
};

/// A copy within the device, of more than its caches hold.
double copy_bandwidth(cudaStream_t stream) {
  constexpr std::size_t bytes = std::size_t{1} << 30U;
  const Buffer<std::byte> from(bytes);
  const Buffer<std::byte> to(bytes);
  check(cudaMemsetAsync(from.data(), 1, bytes, stream), "memset");
  const Graph copy(stream, [&] {
    check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream), "copy");
  });
  return 2.0 * static_cast<double>(bytes) / medians({&copy}, runs)[0];
}

/// Bytes of its score that a policy passes through memory, per slot and step.
constexpr double sum_bytes = 12;
constexpr double max_bytes = 16;

/// Seconds a step of plain attention, and with a sum and with a maximum.
struct StepTimes {
  double plain = 0;
  double sum = 0;
  double max = 0;
};

StepTimes time_steps(const Decoding& decoding, std::uint32_t slots, cudaStream_t stream) {
  const cuda::Policy sum =
      cuda::policy_of<MorphKV>({.capacity = slots, .window = 32, .fusion = Fusion::sum});
  const cuda::Policy max =
      cuda::policy_of<MorphKV>({.capacity = slots, .window = 32, .fusion = Fusion::max});
  const auto sum_states = decoding.fill(sum);
  const auto max_states = decoding.fill(max);
  const std::size_t steps = std::max<std::size_t>(decoding.layers(), 8);
  const auto graph = [&](const cuda::Policy& policy, const auto& states, bool appends) {
    return Graph(stream, [&] {
      for (std::size_t s = 0; s < steps; ++s) {
        const std::size_t layer = s % decoding.layers();
        decoding.step(policy, states[layer].data(), layer, s, appends);
      }
    });
  };
  const Graph plain_graph = graph(sum, sum_states, false);
  const Graph sum_graph = graph(sum, sum_states, true);
  const Graph max_graph = graph(max, max_states, true);
  const auto times = medians({&plain_graph, &sum_graph, &max_graph}, runs);
  const auto n = static_cast<double>(steps);
  return {times[0] / n, times[1] / n, times[2] / n};
}

void measure_batch(const Device& device, std::uint32_t slots) {
  const std::string shape = "batch 64, N = " + std::to_string(slots);
  const Decoding decoding(64, slots, static_cast<std::size_t>(device.properties.l2CacheSize),
                          device.stream);
  const StepTimes t = time_steps(decoding, slots, device.stream);
  const cuda::Policy sum =
      cuda::policy_of<MorphKV>({.capacity = slots, .window = 32, .fusion = Fusion::sum});
  const double bytes =
      decoding.cache_bytes() + sum_bytes * static_cast<double>(decoding.cells()) * slots;
  at_least("decode with sum eviction, " + shape + ": of the copy bandwidth",
           100 * bytes / t.sum / device.copy_bandwidth, 85, "%",
           in_words(1e-9 * device.copy_bandwidth, "GB/s") + "; then 90");
  at_most("eviction over plain attention, " + shape + ": sum", 100 * (t.sum / t.plain - 1), 3, "%",
          in_words(100 * 12.0 / 512, "% of the bytes"));
  at_most("eviction over plain attention, " + shape + ": max", 100 * (t.max / t.plain - 1), 4, "%",
          in_words(100 * 16.0 / 512, "% of the bytes"));
  inform("plain attention, " + shape, 1e6 * t.plain, "us",
         in_words(1e6 * decoding.cache_bytes() / device.copy_bandwidth, "us at copy bandwidth"));
  inform("step with sum, " + shape, 1e6 * t.sum, "us");
  inform("step with max, " + shape, 1e6 * t.max, "us");
}

void measure_alone(const Device& device, std::uint32_t slots) {
  const std::string shape = "batch 1, N = " + std::to_string(slots);
  const Decoding decoding(1, slots, static_cast<std::size_t>(device.properties.l2CacheSize),
                          device.stream);
  const StepTimes t = time_steps(decoding, slots, device.stream);
  const std::string plain = "plain " + in_words(1e6 * t.plain, "us");
  at_most("eviction over plain attention, " + shape + ": sum", 1e6 * (t.sum - t.plain), 2, "us",
          plain);
  at_most("eviction over plain attention, " + shape + ": max", 1e6 * (t.max - t.plain), 2, "us",
          plain);
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
  device.copy_bandwidth = copy_bandwidth(device.stream);
  std::printf("%s, driver's CUDA %d.%d, copy %.0f GB/s\n", device.properties.name,
              device.driver / 1000, device.driver % 1000 / 10, 1e-9 * device.copy_bandwidth);
  inform("copy within the device, bytes read and written", 1e-9 * device.copy_bandwidth, "GB/s");
  measure_batch(device, 2048);
  measure_batch(device, 8192);
  measure_alone(device, 2048);
  measure_alone(device, 8192);
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
