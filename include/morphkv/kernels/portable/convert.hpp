// SPDX-License-Identifier: Apache-2.0
/// \file
/// Conversion between floats and the 16-bit types in standard C++.
#ifndef MORPHKV_KERNELS_PORTABLE_CONVERT_HPP
#define MORPHKV_KERNELS_PORTABLE_CONVERT_HPP

#include <cstddef>

#include "morphkv/core/scalar.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace portable {

/// See kernels::convert.
template <Scalar From, Scalar To>
void convert(const From* from, std::size_t count, To* to) noexcept {
  for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<To>(static_cast<float>(from[i]));
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_CONVERT_HPP
