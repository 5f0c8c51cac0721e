// SPDX-License-Identifier: Apache-2.0
//
// Memory of the device, checked calls, and times by events.
#ifndef MORPHKV_BENCH_CUDA_DEVICE_CUH
#define MORPHKV_BENCH_CUDA_DEVICE_CUH

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace morphkv::bench {

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "cuda_bench: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

/// Memory of the device that lives as long as the object.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t size) : size_(size) {
    check(cudaMalloc(&data_, size * sizeof(T)), "cudaMalloc");
  }
  Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() { (void)cudaFree(data_); }
  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

/// Roughly normal numbers from a hash of their index.
template <class T>
__global__ void draw_kernel(T* out, std::size_t count, float scale, std::uint32_t seed) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float sum = 0;
  auto bits = static_cast<std::uint32_t>(i) * 2654435761U + seed * 40503U;
  for (int k = 0; k < 4; ++k) {
    bits ^= bits << 13U;
    bits ^= bits >> 17U;
    bits ^= bits << 5U;
    sum += static_cast<float>(bits >> 8U) * 0x1p-24F - 0.5F;
  }
  out[i] = static_cast<T>(scale * 1.7F * sum);
}

template <class T>
void draw(const Buffer<T>& out, float scale, std::uint32_t seed) {
  const auto blocks = static_cast<unsigned>((out.size() + 255) / 256);
  draw_kernel<<<blocks, 256>>>(out.data(), out.size(), scale, seed);
  check(cudaGetLastError(), "draw");
}

/// A captured piece of work.
class Graph {
 public:
  Graph(cudaStream_t stream, const std::function<void()>& work) : stream_(stream) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    work();
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&replay_, graph, 0), "instantiate");
    check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    check(cudaEventCreate(&begin_), "event");
    check(cudaEventCreate(&end_), "event");
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    (void)cudaGraphExecDestroy(replay_);
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
  }

  /// Seconds of one run, by events.
  [[nodiscard]] double run() const {
    check(cudaEventRecord(begin_, stream_), "event");
    check(cudaGraphLaunch(replay_, stream_), "launch");
    check(cudaEventRecord(end_, stream_), "event");
    check(cudaEventSynchronize(end_), "run");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_, end_), "event");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t replay_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

/// The median time of each graph, run in turn, so that a clock that moves moves all of them.
inline std::vector<double> medians(const std::vector<const Graph*>& graphs, int runs) {
  std::vector<std::vector<double>> times(graphs.size());
  for (int run = -3; run < runs; ++run) {
    for (std::size_t g = 0; g < graphs.size(); ++g) {
      const double time = graphs[g]->run();
      if (run >= 0) times[g].push_back(time);
    }
  }
  std::vector<double> result;
  for (auto& t : times) {
    std::sort(t.begin(), t.end());
    result.push_back(t[t.size() / 2]);
  }
  return result;
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_CUDA_DEVICE_CUH
