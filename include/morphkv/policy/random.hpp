// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random eviction: the control that any scorer must beat.
#ifndef MORPHKV_POLICY_RANDOM_HPP
#define MORPHKV_POLICY_RANDOM_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/random_score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Evicts uniformly at random, in each head on its own, among the tokens that are not protected.
class Random : public ScoredEviction<RandomScore> {
 public:
  struct Options {
    std::size_t capacity = 2048;
    std::uint64_t seed = 0;
    std::size_t recent = 1;  ///< newest tokens, which are kept; 1 is the arriving token itself
    std::size_t sinks = default_sinks;
    bool protect_prompt = false;
    GroupFusion group = GroupFusion::mean;  ///< of no effect
    std::size_t history = 0;                ///< how many tokens rollback() can take back

    friend bool operator==(const Options&, const Options&) = default;
  };

  /// \throws std::invalid_argument if capacity is below recent + sinks or not above recent.
  [[nodiscard]] static Plan plan_of(const Options& o) {
    return {make_rules({.schedule = Schedule::on_arrival,
                        .group = o.group,
                        .capacity = o.capacity,
                        .recent = o.recent,
                        .sinks = o.sinks,
                        .protect_prompt = o.protect_prompt}),
            {.seed = o.seed}};
  }

  /// Heads draw from different seeds: that of the options, and their number.
  explicit Random(Options options, std::size_t head = 0)
      : ScoredEviction((options.seed += head, plan_of(options)), options.history) {}
};

static_assert(RevocablePolicy<Random>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_RANDOM_HPP
