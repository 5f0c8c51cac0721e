// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pooling along a row in standard C++.
#ifndef MORPHKV_KERNELS_PORTABLE_POOLING_HPP
#define MORPHKV_KERNELS_PORTABLE_POOLING_HPP

#include <algorithm>
#include <cstddef>

#include "morphkv/kernels/dispatch.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace portable {

/// The sums of the outputs from `begin` to `end`, divided by the width; see kernels::pool_average.
inline void pool_average(const float* row, std::size_t count, std::size_t width, float* out,
                         std::size_t begin, std::size_t end) noexcept {
  const std::size_t reach = width / 2;
  for (std::size_t j = begin; j < end; ++j) {
    float sum = 0;
    const std::size_t last = (std::min)(count, j + reach + 1);
    for (std::size_t i = j < reach ? 0 : j - reach; i < last; ++i) sum += row[i];
    out[j] = sum / static_cast<float>(width);
  }
}
inline void pool_average(const float* row, std::size_t count, std::size_t width,
                         float* out) noexcept {
  pool_average(row, count, width, out, 0, count);
}

/// The maxima of the outputs from `begin` to `end`; see kernels::pool_max.
inline void pool_max(const float* row, std::size_t count, std::size_t width, float* out,
                     std::size_t begin, std::size_t end) noexcept {
  const std::size_t reach = width / 2;
  for (std::size_t j = begin; j < end; ++j) {
    const std::size_t first = j < reach ? 0 : j - reach;
    out[j] = *std::max_element(row + first, row + (std::min)(count, j + reach + 1));
  }
}
inline void pool_max(const float* row, std::size_t count, std::size_t width, float* out) noexcept {
  pool_max(row, count, width, out, 0, count);
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_POOLING_HPP
