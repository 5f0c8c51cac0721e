// SPDX-License-Identifier: Apache-2.0
/// \file
/// H2O, the heavy-hitter oracle (arXiv 2306.14048).
#ifndef MORPHKV_POLICY_H2O_HPP
#define MORPHKV_POLICY_H2O_HPP

#include <cstddef>

#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/policy/scored_eviction.hpp"
#include "morphkv/score/running_sum.hpp"

namespace morphkv::inline v0 {

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
      : ScoredEviction({.capacity = options.heavy + options.recent,
                        .schedule = Schedule::after_attention,
                        .protection = {options.sinks, options.protect_prompt, options.recent},
                        .max_tokens = 0,
                        .history = options.history},
                       RunningSum({.columns = options.heavy + options.recent + 1,
                                   .normalised = options.normalised,
                                   .history = options.history})) {}
};

static_assert(RevocablePolicy<H2O>);

}  // namespace morphkv::inline v0

#endif  // MORPHKV_POLICY_H2O_HPP
