// SPDX-License-Identifier: Apache-2.0
/// \file
/// The instruction of the matrix units that the kernels use, and its operands.
#ifndef MORPHKV_CUDA_MATRIX_PRODUCT_CUH
#define MORPHKV_CUDA_MATRIX_PRODUCT_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <concepts>
#include <cstdint>

#include "morphkv/cuda/cache_rows.cuh"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda { namespace detail {

/// sums [16][8] += left [16][16] right [16][8], by a warp, in floats (PTX, mma.m16n8k16). With row
/// g = lane / 4 and column c = lane % 4 of a lane, it holds of left the pairs (g, 2 c), (g + 8, 2
/// c), (g, 2 c + 8), (g + 8, 2 c + 8), of right the pairs (2 c, g) and (2 c + 8, g), where a pair
/// is two neighbours along the 16 that are summed, and of sums (g, 2 c), (g, 2 c + 1), (g + 8, 2
/// c), (g + 8, 2 c + 1).
template <Element T>
__device__ void add_product(float (&sums)[4], const std::uint32_t (&left)[4], std::uint32_t right_0,
                            std::uint32_t right_1) {
  if constexpr (std::same_as<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_0), "r"(right_1));
  } else {
    static_assert(std::same_as<T, __nv_bfloat16>);
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_0), "r"(right_1));
  }
}

[[nodiscard]] __device__ inline std::uint32_t bits_of(__half x) { return __half_as_ushort(x); }
[[nodiscard]] __device__ inline std::uint32_t bits_of(__nv_bfloat16 x) {
  return __bfloat16_as_ushort(x);
}

/// Two floats as the sums of two elements each, pairs of which `high` and `low` are.
template <Element T>
__device__ void split(float first, float second, std::uint32_t& high, std::uint32_t& low) {
  T of_first;
  T of_second;
  assign(of_first, first);
  assign(of_second, second);
  high = bits_of(of_first) | bits_of(of_second) << 16U;
  T rest_of_first;
  T rest_of_second;
  assign(rest_of_first, first - to_float(of_first));
  assign(rest_of_second, second - to_float(of_second));
  low = bits_of(rest_of_first) | bits_of(rest_of_second) << 16U;
}

}}}}  // namespace morphkv::v0::cuda::detail

#endif  // MORPHKV_CUDA_MATRIX_PRODUCT_CUH
