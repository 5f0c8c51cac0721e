// SPDX-License-Identifier: Apache-2.0
/// \file
/// H2O, the heavy-hitter oracle (arXiv 2306.14048).
#ifndef MORPHKV_POLICY_H2O_HPP
#define MORPHKV_POLICY_H2O_HPP

#include <cstddef>
#include <limits>
#include <string>

#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/policy/scored_eviction.hpp"
#include "morphkv/score/running_sum.hpp"

namespace morphkv { inline namespace v0 {

/// After each step a head holds the `recent` newest tokens, and the `heavy` others that have
/// received most attention since they came, from every query of the prompt and the response. The
/// attention of a step sees one token more.
///
/// Old tokens have had more queries to gather from: that bias is the policy. `normalised` divides
/// by the number of queries.
class H2O : public ScoredEviction<RunningSum> {
 public:
  struct Options {
    std::size_t heavy = 4;  ///< the authors' default; for summaries they took 1024 + 1024
    std::size_t recent = 512;
    bool normalised = false;
    GroupFusion group = GroupFusion::mean;
    std::size_t sinks = default_sinks;  ///< taken out of `heavy`
    bool protect_prompt = false;
    std::size_t history = 0;  ///< how many tokens rollback() can take back
  };

  /// \throws std::invalid_argument if heavy is 0 or below sinks.
  explicit H2O(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction{checked(rules_of(options)),
                       RunningSum({.columns = options.heavy + options.recent + 1,
                                   .normalised = options.normalised,
                                   .history = options.history})} {}

 private:
  [[nodiscard]] static EvictionRules rules_of(const Options& options) {
    constexpr std::size_t most = std::numeric_limits<Position>::max() / 2;
    const std::string range = " to " + std::to_string(most);
    require(options.heavy > 0 && options.heavy <= most, "heavy", options.heavy, "from 1" + range);
    require(options.recent <= most, "recent", options.recent, "from 0" + range);
    require(options.sinks <= options.heavy, "sinks", options.sinks,
            "at most heavy = " + std::to_string(options.heavy));
    return {.capacity = options.heavy + options.recent,
            .schedule = Schedule::after_attention,
            .protection = {options.sinks, options.protect_prompt, options.recent},
            .max_tokens = 0,
            .history = options.history};
  }
};

static_assert(RevocablePolicy<H2O>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_H2O_HPP
