// SPDX-License-Identifier: Apache-2.0
/// \file
/// Elements of keys and values, 16 bytes at a time.
#ifndef MORPHKV_CUDA_ELEMENTS_CUH
#define MORPHKV_CUDA_ELEMENTS_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <concepts>
#include <cstdint>

namespace morphkv { inline namespace v0 { namespace cuda {

/// What a cache on the device stores.
template <class T>
concept Element =
    std::same_as<T, float> || std::same_as<T, __half> || std::same_as<T, __nv_bfloat16>;

/// How a warp reads rows of head_dim elements: `lanes` lanes share a row, each of them holds
/// `elements` neighbours, and a warp reads `rows` rows at once.
template <Element T, int head_dim>
struct RowLanes {
  static_assert(head_dim == 64 || head_dim == 128 || head_dim == 256);
  static constexpr int vector = 16 / static_cast<int>(sizeof(T));
  static constexpr int elements = vector > head_dim / 32 ? vector : head_dim / 32;
  static constexpr int lanes = head_dim / elements;
  static constexpr int rows = 32 / lanes;
};

/// Neighbours in registers.
template <Element T, int count>
struct Elements {
  static constexpr int words = count * static_cast<int>(sizeof(T)) / 16;
  uint4 word[words];

  /// \pre `from` lies on 16 bytes. Past the first-level cache, which such data would only flush,
  /// and by the coherent path: the block itself may have written the row.
  __device__ void load(const T* from) {
#pragma unroll
    for (int w = 0; w < words; ++w) word[w] = __ldcg(reinterpret_cast<const uint4*>(from) + w);
  }

  __device__ void widen(float (&out)[count]) const {
#pragma unroll
    for (int w = 0; w < words; ++w) {
      widen_word(word[w].x, out, 4 * w);
      widen_word(word[w].y, out, 4 * w + 1);
      widen_word(word[w].z, out, 4 * w + 2);
      widen_word(word[w].w, out, 4 * w + 3);
    }
  }

 private:
  static __device__ void widen_word(std::uint32_t bits, float (&out)[count], int word) {
    if constexpr (std::same_as<T, float>) {
      out[word] = __uint_as_float(bits);
    } else if constexpr (std::same_as<T, __nv_bfloat16>) {
      out[2 * word] = __uint_as_float(bits << 16U);
      out[2 * word + 1] = __uint_as_float(bits & 0xffff0000U);
    } else {
      out[2 * word] = __half2float(__ushort_as_half(static_cast<unsigned short>(bits & 0xffffU)));
      out[2 * word + 1] = __half2float(__ushort_as_half(static_cast<unsigned short>(bits >> 16U)));
    }
  }
};

[[nodiscard]] __device__ inline float to_float(float x) { return x; }
[[nodiscard]] __device__ inline float to_float(__half x) { return __half2float(x); }
[[nodiscard]] __device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <Element T>
[[nodiscard]] __device__ T from_float(float x) {
  if constexpr (std::same_as<T, float>) {
    return x;
  } else if constexpr (std::same_as<T, __half>) {
    return __float2half_rn(x);
  } else {
    return __float2bfloat16_rn(x);
  }
}

/// Copies a row of `count` elements, by the threads whose `lane` is below count * sizeof(T) / 16.
/// \pre both lie on 16 bytes
template <Element T>
__device__ void copy_row(const T* from, T* to, std::uint32_t count, std::uint32_t lane,
                         std::uint32_t lanes) {
  const std::uint32_t words = count * sizeof(T) / 16;
  for (std::uint32_t w = lane; w < words; w += lanes) {
    reinterpret_cast<uint4*>(to)[w] = __ldcg(reinterpret_cast<const uint4*>(from) + w);
  }
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_ELEMENTS_CUH
