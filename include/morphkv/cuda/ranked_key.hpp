// SPDX-License-Identifier: Apache-2.0
/// \file
/// Scores as unsigned integers of the same order, for a selection by digits.
#ifndef MORPHKV_CUDA_RANKED_KEY_HPP
#define MORPHKV_CUDA_RANKED_KEY_HPP

#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/kernels/top_k.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

using morphkv::ranked_key;
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t ranked_key(std::uint32_t score) noexcept {
  return score;
}
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint64_t ranked_key(std::uint64_t score) noexcept {
  return score;
}

using kernels::DigitSearch;

/// Of keys counted in their order, how many stay: all those above the least, and of the `equals`
/// that are its equal the last `k`.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t kept_before(std::uint32_t above,
                                                                      std::uint32_t equal,
                                                                      std::uint32_t equals,
                                                                      std::uint32_t k) noexcept {
  const std::uint32_t dropped = equals - k;
  return above + (equal > dropped ? equal - dropped : 0);
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_RANKED_KEY_HPP
