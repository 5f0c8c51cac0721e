// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest scores.
#ifndef MORPHKV_KERNELS_TOP_K_HPP
#define MORPHKV_KERNELS_TOP_K_HPP

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/portable.hpp"

namespace morphkv { inline namespace v0 { namespace kernels {

/// What the fast selection ranks.
template <class S>
concept RankedScore = std::same_as<S, float> || std::same_as<S, std::uint32_t>;

/// Numbers of 32 bits that top_k needs to work on `count` scores.
[[nodiscard]] constexpr std::size_t top_k_workspace(std::size_t count) noexcept {
  return 2 * count + 64;
}

namespace detail {

/// What one pass over scores found, with respect to a bracket of keys.
struct Split {
  std::size_t above = 0;
  std::size_t inside = 0;
  bool ordered = true;  ///< no score is NaN
};

/// Two keys, and those between them.
struct Bracket {
  std::uint32_t low = 0;
  std::uint32_t high = ~std::uint32_t{0};
};

using Pivots = std::array<std::uint32_t, 3>;
using Counts = std::array<std::size_t, 3>;

}  // namespace detail

}}}  // namespace morphkv::v0::kernels

#define MORPHKV_ISA portable
#include "morphkv/kernels/vector/top_k.hpp"
#undef MORPHKV_ISA
#define MORPHKV_LOOPS "morphkv/kernels/vector/top_k.hpp"
#include "morphkv/kernels/isa/for_each.hpp"

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD {

/// Writes the indices of the `wanted` highest of `count` scores, ascending. Of equal scores the
/// higher index (the newer token) is kept; minus zero equals zero, and infinities are numbers like
/// others. `workspace` has room for top_k_workspace(count) numbers. O(count).
/// \return false if a score is NaN: the indices then mean nothing
template <RankedScore S>
[[nodiscard]] bool top_k(const S* scores, std::size_t count, std::size_t wanted,
                         std::uint32_t* indices, std::uint32_t* workspace) noexcept {
  MORPHKV_DISPATCH(top_k(scores, count, wanted, indices, workspace));
}

#ifdef MORPHKV_KERNEL_INSTANCE
MORPHKV_KERNEL_INSTANCE bool top_k(const float*, std::size_t, std::size_t, std::uint32_t*,
                                   std::uint32_t*) noexcept;
MORPHKV_KERNEL_INSTANCE bool top_k(const std::uint32_t*, std::size_t, std::size_t, std::uint32_t*,
                                   std::uint32_t*) noexcept;
#endif

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_TOP_K_HPP
