// SPDX-License-Identifier: Apache-2.0
/// \file
/// StreamingLLM (arXiv 2309.17453): the first tokens and the most recent ones.
#ifndef MORPHKV_POLICY_STREAMING_LLM_HPP
#define MORPHKV_POLICY_STREAMING_LLM_HPP

#include <cstddef>

#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/age.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The first `sinks` tokens and the capacity - sinks newest ones. No attention rows are needed:
/// observe() checks what it is given and learns nothing from it.
///
/// Keys keep the positions that they were written with; an engine that counts positions inside the
/// cache must rotate them again.
class StreamingLLM : public ScoredEviction<Age> {
 public:
  struct Options {
    std::size_t capacity = 2048;
    std::size_t sinks = default_sinks;
    bool protect_prompt = false;
    GroupFusion group = GroupFusion::mean;  ///< of no effect
    std::size_t history = 0;                ///< how many tokens rollback() can take back

    friend bool operator==(const Options&, const Options&) = default;
  };

  /// \throws std::invalid_argument if capacity is not above sinks.
  [[nodiscard]] static Plan plan_of(const Options& o) {
    return {make_rules({.schedule = Schedule::on_arrival,
                        .group = o.group,
                        .capacity = o.capacity,
                        .recent = 1,
                        .sinks = o.sinks,
                        .protect_prompt = o.protect_prompt}),
            {}};
  }

  explicit StreamingLLM(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options), options.history) {}
};

static_assert(RevocablePolicy<StreamingLLM>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_STREAMING_LLM_HPP
