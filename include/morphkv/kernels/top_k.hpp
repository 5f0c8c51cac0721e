// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest scores, which are keys: unsigned integers.
#ifndef MORPHKV_KERNELS_TOP_K_HPP
#define MORPHKV_KERNELS_TOP_K_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/portable.hpp"

namespace morphkv { inline namespace v0 { namespace kernels {

/// Numbers of 32 bits that top_k needs to work on `count` keys.
[[nodiscard]] constexpr std::size_t top_k_workspace(std::size_t count) noexcept {
  return 2 * count + 64;
}

namespace detail {

/// What one pass over keys found, with respect to a bracket of keys.
struct Split {
  std::size_t above = 0;
  std::size_t inside = 0;
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

/// Writes the indices of the `wanted` highest of `count` keys, ascending. Of equal keys the higher
/// index (the newer token) is kept. Floats are ranked by their ranked_key(). `workspace` has place
/// for top_k_workspace(count) numbers. O(count).
template <std::same_as<std::uint32_t> Key>  // so that one unit can compile it for all others
void top_k(const Key* keys, std::size_t count, std::size_t wanted, std::uint32_t* indices,
           std::uint32_t* workspace) noexcept {
  MORPHKV_DISPATCH(top_k(keys, count, wanted, indices, workspace));
}

#ifdef MORPHKV_KERNEL_INSTANCE
MORPHKV_KERNEL_INSTANCE void top_k(const std::uint32_t*, std::size_t, std::size_t, std::uint32_t*,
                                   std::uint32_t*) noexcept;
#endif

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_TOP_K_HPP
