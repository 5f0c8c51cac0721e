// SPDX-License-Identifier: Apache-2.0
/// \file
/// Row gather and compaction in standard C++.
#ifndef MORPHKV_KERNELS_PORTABLE_GATHER_HPP
#define MORPHKV_KERNELS_PORTABLE_GATHER_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/dispatch.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace portable {

/// See kernels::gather_rows.
inline void gather_rows(const void* from, std::size_t stride, const std::uint32_t* rows,
                        std::size_t count, std::size_t row_bytes, void* to) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(static_cast<char*>(to) + i * row_bytes,
                static_cast<const char*>(from) + rows[i] * stride, row_bytes);
  }
}

/// See kernels::compact_rows.
inline void compact_rows(void* data, std::size_t stride, const std::uint32_t* rows,
                         std::size_t count, std::size_t row_bytes) noexcept {
  char* bytes = static_cast<char*>(data);
  for (std::size_t i = 0; i < count; ++i) {
    if (rows[i] != i) std::memcpy(bytes + i * stride, bytes + rows[i] * stride, row_bytes);
  }
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_GATHER_HPP
