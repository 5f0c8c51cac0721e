// SPDX-License-Identifier: Apache-2.0
/// \file
/// Settings for those who do not want to choose.
#ifndef MORPHKV_POLICY_RECOMMENDED_HPP
#define MORPHKV_POLICY_RECOMMENDED_HPP

#include <algorithm>
#include <cstddef>

#include "morphkv/core/error.hpp"
#include "morphkv/policy/decayed_max.hpp"

namespace morphkv { inline namespace v0 {

/// The best settings known for a capacity, from the capacity alone: five eighths of it for recent
/// tokens, scores from a distance of 32 tokens (half the recent ones where that is less), and a
/// half-life of half a capacity. docs/choose_a_policy.md has the measurements; they come from small
/// models, so measure your own where it matters.
///
///     KVCache<Eigen::bfloat16, DecayedMax> cache(shape, recommended(2048));
///
/// \param capacity tokens a head holds, at least 2
/// \throws std::invalid_argument if it is less
[[nodiscard]] inline DecayedMax::Options recommended(std::size_t capacity) {
  require(capacity >= 2, "capacity", capacity, "at least 2");
  const std::size_t recent = (std::max)(capacity * 5 / 8, std::size_t{1});
  return {.capacity = capacity,
          .recent = recent,
          .half_life = static_cast<double>(capacity) / 2,
          .distance = (std::min)(recent / 2, std::size_t{32}),
          .sinks = (std::min)(capacity - recent - 1, default_sinks)};
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_RECOMMENDED_HPP
