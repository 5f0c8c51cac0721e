// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest scores.
#ifndef MORPHKV_KERNELS_TOP_K_HPP
#define MORPHKV_KERNELS_TOP_K_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace morphkv::inline v0::kernels {

/// Keeps, in place, the `count` candidates with the highest scores, in ascending order.
/// `candidates` are distinct indices of `scores`, ascending. Of equal scores the higher index (the
/// newer token) is kept. No score may be NaN. O(candidates).
template <class Score>
void keep_top_k(std::span<const Score> scores, std::size_t count,
                std::vector<std::uint32_t>& candidates) {
  if (count >= candidates.size()) return;
  const auto wanted_more = [&](std::uint32_t a, std::uint32_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a > b;
  };
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(count);
  std::nth_element(candidates.begin(), end, candidates.end(), wanted_more);
  candidates.resize(count);
  std::sort(candidates.begin(), candidates.end());
}

}  // namespace morphkv::inline v0::kernels

#endif  // MORPHKV_KERNELS_TOP_K_HPP
