// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the tests on a device share: memory, and the fixture that skips where no device is present.
#ifndef MORPHKV_TESTS_CUDA_DEVICE_CUH
#define MORPHKV_TESTS_CUDA_DEVICE_CUH

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "support/random.hpp"

#define MORPHKV_EXPECT_CUDA(call) ASSERT_STREQ(cudaGetErrorName(call), "cudaSuccess")

namespace morphkv::testing {

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      (void)cudaGetLastError();
      GTEST_SKIP() << "no CUDA device is present";
    }
  }
};

/// Memory of the device. Its bytes are poisoned at first, so that what nobody wrote shows.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::size_t size) : size_(size) {
    if (size == 0) return;
    EXPECT_EQ(cudaMalloc(&data_, size * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemset(data_, 0xff, size * sizeof(T)), cudaSuccess);
  }
  explicit DeviceBuffer(const std::vector<T>& from) : DeviceBuffer(from.size()) { upload(from); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { EXPECT_EQ(cudaFree(data_), cudaSuccess); }

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  void upload(const std::vector<T>& from) {
    ASSERT_LE(from.size(), size_);
    ASSERT_EQ(cudaMemcpy(data_, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  [[nodiscard]] std::vector<T> download() const {
    std::vector<T> to(size_);
    EXPECT_EQ(cudaMemcpy(to.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return to;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Random numbers of a type of the cache.
template <class T>
std::vector<T> draw(std::size_t count, Random& random, float scale = 1.0F) {
  std::vector<T> numbers(count);
  for (T& number : numbers) number = static_cast<T>(scale * random.normal());
  return numbers;
}

/// The slots in use of a head, from the downloaded state of a batch.
inline std::vector<Position> positions_of(const cuda::Policy& policy, std::vector<std::byte>& state,
                                          std::size_t cell) {
  const HeadView view(state.data(), layout_of(policy), cell);
  return {view.positions, view.positions + view.head->size};
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_CUDA_DEVICE_CUH
