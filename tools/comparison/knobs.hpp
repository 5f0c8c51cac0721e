// SPDX-License-Identifier: Apache-2.0
/// \file
/// What can be tuned of a policy, besides its capacity.
#ifndef MORPHKV_TOOLS_COMPARISON_KNOBS_HPP
#define MORPHKV_TOOLS_COMPARISON_KNOBS_HPP

#include <cstddef>

#include "morphkv/eviction/rules.hpp"
#include "morphkv/score/recent_window.hpp"

namespace morphkv::comparison {

/// One structure for all policies; a policy uses the fields that it has.
struct Knobs {
  double window = 0.5;       ///< recent tokens that are kept, as a share of the capacity
  double half_life = 0.5;    ///< of a decayed score, as a share of the capacity
  std::size_t distance = 0;  ///< queries after a token that do not score it
  Fusion fusion = Fusion::max;
  std::size_t sinks = default_sinks;
  bool protect_prompt = false;  ///< where the prompt fits beside the recent tokens
  bool normalised = false;      ///< H2O's sums, by the queries that attended
  std::size_t kernel = 5;       ///< of SnapKV's pooling

  friend bool operator==(const Knobs&, const Knobs&) = default;
};

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_KNOBS_HPP
