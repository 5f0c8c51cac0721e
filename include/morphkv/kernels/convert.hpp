// SPDX-License-Identifier: Apache-2.0
/// \file
/// Conversion between floats, the 16-bit types, E4M3 and blocks of quantised numbers.
#ifndef MORPHKV_KERNELS_CONVERT_HPP
#define MORPHKV_KERNELS_CONVERT_HPP

#include <concepts>
#include <cstddef>
#include <cstring>

#include "morphkv/core/config.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/portable.hpp"
#include "morphkv/kernels/portable/quantise.hpp"

#ifndef MORPHKV_KERNELS_ELSEWHERE
#define MORPHKV_ISA portable
#include "morphkv/kernels/vector/convert.hpp"
#undef MORPHKV_ISA
#endif
#define MORPHKV_LOOPS "morphkv/kernels/vector/convert.hpp"
#include "morphkv/kernels/isa/for_each.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {

/// to[i] = from[i], rounded to nearest, ties to even. Infinities and denormals stay what they are,
/// too large a number becomes infinity (of E4M3, the greatest number), and NaN stays NaN. The two
/// may not overlap. O(count).
template <Scalar From, Scalar To>
void convert(const From* from, std::size_t count, To* to) noexcept
    MORPHKV_KERNEL_BODY(convert(from, count, to));

/// The same for one type: a copy.
template <Scalar T>
void convert(const T* from, std::size_t count, T* to) noexcept {
  if (count > 0) std::memcpy(static_cast<void*>(to), from, count * sizeof(T));
}

/// The blocks that are nearest to whole blocks of numbers: each number is rounded to the nearest
/// step, ties away from zero. \pre are_finite<Block>
template <Scalar From, Quantised Block>
void convert(const From* from, std::size_t count, Block* to) noexcept {
  MORPHKV_ASSERT(count % Block::numbers == 0);
  for (; count > 0; count -= Block::numbers, from += Block::numbers, ++to) {
    float numbers[Block::numbers];
    convert(from, Block::numbers, numbers);
    portable::quantise(numbers, *to);
  }
}

/// The numbers of whole blocks.
template <Quantised Block>
void convert(const Block* from, std::size_t count, float* to) noexcept {
  for (std::size_t i = 0; i < count; ++i) to[i] = number_at(from, i);
}

/// to[i] = from[i] / divisor, as the nearest float and then as by convert(). O(count).
template <class = void>
void divide(const float* from, std::size_t count, float divisor, E4M3* to) noexcept
    MORPHKV_KERNEL_BODY(divide(from, count, divisor, to));

/// Writes a row as a cache of T stores it. `scale`: of the head, in a cache of E4M3; else 1.
template <Scalar From, Storable T>
void store_row(const From* from, std::size_t count, float scale, T* to) noexcept {
  if constexpr (std::same_as<T, E4M3>) {
    divide(from, count, scale, to);
  } else {
    MORPHKV_ASSERT(scale == 1);
    convert(from, count, to);
  }
}
/// The numbers of a stored row, times its scale.
template <Storable T>
void load_row(const T* from, std::size_t count, float scale, float* to) noexcept {
  convert(from, count, to);
  if constexpr (std::same_as<T, E4M3>) {
    for (std::size_t i = 0; i < count; ++i) to[i] *= scale;
  }
}

#ifdef MORPHKV_KERNEL_INSTANCE
MORPHKV_KERNEL_INSTANCE void convert(const float*, std::size_t, Eigen::half*) noexcept;
MORPHKV_KERNEL_INSTANCE void convert(const float*, std::size_t, Eigen::bfloat16*) noexcept;
MORPHKV_KERNEL_INSTANCE void convert(const Eigen::half*, std::size_t, float*) noexcept;
MORPHKV_KERNEL_INSTANCE void convert(const Eigen::half*, std::size_t, Eigen::bfloat16*) noexcept;
MORPHKV_KERNEL_INSTANCE void convert(const Eigen::bfloat16*, std::size_t, float*) noexcept;
MORPHKV_KERNEL_INSTANCE void convert(const Eigen::bfloat16*, std::size_t, Eigen::half*) noexcept;
MORPHKV_KERNEL_INSTANCE void convert(const E4M3*, std::size_t, float*) noexcept;
MORPHKV_KERNEL_INSTANCE void convert(const E4M3*, std::size_t, Eigen::half*) noexcept;
MORPHKV_KERNEL_INSTANCE void convert(const float*, std::size_t, E4M3*) noexcept;
MORPHKV_KERNEL_INSTANCE void divide<>(const float*, std::size_t, float, E4M3*) noexcept;
#endif

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_CONVERT_HPP
