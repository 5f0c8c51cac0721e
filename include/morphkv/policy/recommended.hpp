// SPDX-License-Identifier: Apache-2.0
/// \file
/// Settings for those who do not want to choose.
#ifndef MORPHKV_POLICY_RECOMMENDED_HPP
#define MORPHKV_POLICY_RECOMMENDED_HPP

#include <algorithm>
#include <cstddef>

#include "morphkv/core/error.hpp"
#include "morphkv/policy/decayed_max.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// One setting for every purpose, from the capacity alone: half of it for recent tokens, scores
/// from a distance of 32 tokens with a half-life of half a capacity, and all other slots for pins,
/// half of which are released every quarter of a capacity. Below 256 slots pins leave too few
/// slots to the scores: there are none, and five eighths for recent tokens. docs/choose_a_policy.md
/// has the measurements, on a model of 135 million parameters and on a toy: measure your own where
/// it matters.
///
///     KVCache<Eigen::bfloat16, DecayedMax> cache(shape, recommended(2048));
///
/// \param capacity tokens a head holds, at least 2
/// \throws std::invalid_argument if it is less
[[nodiscard]] inline DecayedMax::Options recommended(std::size_t capacity) {
  require(capacity >= 2, "capacity", capacity, "at least 2");
  const bool pins = capacity >= 256;
  const std::size_t recent = pins ? capacity / 2 : (std::max)(capacity * 5 / 8, std::size_t{1});
  const std::size_t sinks = (std::min)(capacity - recent - 1, default_sinks);
  return {.capacity = capacity,
          .recent = recent,
          .half_life = static_cast<double>(capacity) / 2,
          .distance = (std::min)(recent / 2, std::size_t{32}),
          .sinks = sinks,
          .pins = pins ? capacity - recent - sinks : 0,
          .pin_half_life = (std::max)(capacity / 4, std::size_t{1})};
}

/// Where only the prompt is cut and the response stays, as with SnapKV: the same score, by which
/// all queries of the prompt choose, and few recent tokens. Fewer nats are lost than with SnapKV or
/// with the presses of kvpress, see docs/choose_a_policy.md. A prompt that fits is kept whole.
///
/// \param capacity tokens of a prompt that stay, at least 2
/// \param response_slots slots for all that follows, at least 1
/// \throws std::invalid_argument if one is less
[[nodiscard]] inline DecayedMax::Options recommended_for_prompts(
    std::size_t capacity, std::size_t response_slots = 4096) {
  require(response_slots >= 1, "response_slots", response_slots, "at least 1");
  DecayedMax::Options options = recommended(capacity);
  options.recent = (std::min)(capacity / 2, std::size_t{48});
  options.distance = options.recent * 2 / 3;
  options.sinks = (std::min)(capacity - options.recent - 1, default_sinks);
  options.pins = (std::min)(capacity * 2 / 5, capacity - options.recent - options.sinks);
  options.response_slots = response_slots;
  return options;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_RECOMMENDED_HPP
