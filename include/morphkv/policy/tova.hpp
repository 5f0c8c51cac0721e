// SPDX-License-Identifier: Apache-2.0
/// \file
/// TOVA, token omission via attention (arXiv 2401.06104).
#ifndef MORPHKV_POLICY_TOVA_HPP
#define MORPHKV_POLICY_TOVA_HPP

#include <cstddef>

#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/last_row.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The token to which the newest one paid the least attention goes.
///
/// The authors share one decision between the heads of a layer; here each KV head decides, by the
/// mean over its group.
class TOVA : public ScoredEviction<LastRow> {
 public:
  struct Options {
    std::size_t capacity = 2048;
    std::size_t recent = 1;  ///< newest tokens, which are kept; 1 is the arriving token itself
    GroupFusion group = GroupFusion::mean;
    std::size_t sinks = default_sinks;  ///< 0 is the bare paper
    bool protect_prompt = false;
    std::size_t history = 0;  ///< how many tokens rollback() can take back

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
            {}};
  }

  explicit TOVA(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options), options.history) {}
};

static_assert(RevocablePolicy<TOVA>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_TOVA_HPP
