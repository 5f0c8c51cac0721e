// SPDX-License-Identifier: Apache-2.0
/// \file
/// H2O, the heavy-hitter oracle (arXiv 2306.14048).
#ifndef MORPHKV_POLICY_H2O_HPP
#define MORPHKV_POLICY_H2O_HPP

#include <cstddef>
#include <string>

#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/running_sum.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// After each step a head holds the `recent` newest tokens, and the `heavy` others that have
/// received most attention since they came, from every query of the prompt and the response. The
/// attention of a step sees one token more.
///
/// Old tokens have had more queries to gather from: that bias is the policy. `normalised` divides
/// by the number of queries. The authors' code defaults to 4 + 512.
class H2O : public ScoredEviction<RunningSum> {
 public:
  struct Options {
    std::size_t heavy = 1024;  ///< heavy hitters, the sinks among them
    std::size_t recent =
        1024;  ///< newest tokens, which are kept; the paper splits a budget in halves
    bool normalised = false;
    GroupFusion group = GroupFusion::mean;
    std::size_t sinks = default_sinks;  ///< counted in `heavy`
    bool protect_prompt = false;
    std::size_t history = 0;  ///< how many tokens rollback() can take back

    friend bool operator==(const Options&, const Options&) = default;
  };

  /// \throws std::invalid_argument if heavy is 0 or below sinks.
  [[nodiscard]] static Plan plan_of(const Options& o) {
    constexpr std::size_t max = 1U << 29U;
    const std::string range = " to " + std::to_string(max);
    require(o.heavy > 0 && o.heavy <= max, "heavy", o.heavy, "from 1" + range);
    require(o.recent <= max, "recent", o.recent, "from 0" + range);
    require(o.sinks <= o.heavy, "sinks", o.sinks, "at most heavy = " + std::to_string(o.heavy));
    return {make_rules({.schedule = Schedule::after_attention,
                        .group = o.group,
                        .capacity = o.heavy + o.recent,
                        .recent = o.recent,
                        .sinks = o.sinks,
                        .protect_prompt = o.protect_prompt}),
            {.normalised = o.normalised}};
  }

  explicit H2O(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options), options.history) {}
};

static_assert(RevocablePolicy<H2O>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_H2O_HPP
