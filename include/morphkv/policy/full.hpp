// SPDX-License-Identifier: Apache-2.0
/// \file
/// Full: the cache that keeps everything.
#ifndef MORPHKV_POLICY_FULL_HPP
#define MORPHKV_POLICY_FULL_HPP

#include <cstddef>

#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/age.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Keeps all tokens, up to `max_tokens`; place() reports Status::full then.
class Full : public ScoredEviction<Age> {
 public:
  struct Options {
    std::size_t max_tokens = 4096;          ///< slots
    GroupFusion group = GroupFusion::mean;  ///< of no effect
    std::size_t history = 0;                ///< how many tokens rollback() can take back

    friend bool operator==(const Options&, const Options&) = default;
  };

  /// \throws std::invalid_argument if max_tokens is 0.
  [[nodiscard]] static Plan plan_of(const Options& o) {
    return {make_rules({.schedule = Schedule::never, .group = o.group, .max_tokens = o.max_tokens}),
            {}};
  }

  explicit Full(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options), options.history) {}
};

static_assert(RevocablePolicy<Full>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_FULL_HPP
