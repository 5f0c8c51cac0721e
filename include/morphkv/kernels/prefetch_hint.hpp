// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a kernel prefetches for its caller.
#ifndef MORPHKV_KERNELS_PREFETCH_HINT_HPP
#define MORPHKV_KERNELS_PREFETCH_HINT_HPP

#include <array>
#include <cstddef>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels {

/// Memory that the caller reads right after a kernel. The kernel prefetches it once it has
/// prefetched all that it reads itself. Any address is valid, null too.
struct PrefetchHint {
  const void* data = nullptr;
  std::size_t bytes = 0;
};
using PrefetchHints = std::array<PrefetchHint, 4>;

}}}  // namespace morphkv::v0::kernels

#endif  // MORPHKV_KERNELS_PREFETCH_HINT_HPP
