// SPDX-License-Identifier: Apache-2.0
/// \file
/// SnapKV (arXiv 2404.14469): compress the prompt once, and keep all that follows.
#ifndef MORPHKV_POLICY_SNAPKV_HPP
#define MORPHKV_POLICY_SNAPKV_HPP

#include <cstddef>

#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/policy/scored_eviction.hpp"
#include "morphkv/score/pooled_sum.hpp"

namespace morphkv { inline namespace v0 {

/// The prompt's last `window` queries vote by the sum of their rows, pooled along the prompt; the
/// best capacity - window older tokens stay, with the last `window`. Generated tokens and later
/// turns are appended as they are, up to `max_tokens`.
///
/// The authors choose for each query head and store the group's tokens several times over; here the
/// group is fused first. A prompt given in chunks is cut after each of them.
class SnapKV : public ScoredEviction<PooledSum> {
 public:
  struct Options {
    std::size_t capacity = 2048;  ///< tokens of the prompt that stay, the window included
    std::size_t window = 32;      ///< W
    std::size_t kernel = 5;       ///< of the pooling; odd
    Pooling pooling = Pooling::average;
    GroupFusion group = GroupFusion::mean;
    std::size_t sinks = default_sinks;
    bool protect_prompt = false;
    std::size_t max_tokens = 4096;  ///< slots: what stays of the prompt, and all that follows
    std::size_t history = 0;        ///< how many tokens rollback() can take back
  };

  /// \throws std::invalid_argument if capacity is below window + sinks or not above window, or the
  ///         kernel is even.
  explicit SnapKV(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction{
            checked({.capacity = options.capacity,
                     .schedule = Schedule::after_prompt,
                     .protection = {options.sinks, options.protect_prompt, options.window},
                     .max_tokens = options.max_tokens,
                     .history = options.history}),
            PooledSum({.columns = 0,
                       .rows = options.window,
                       .kernel = options.kernel,
                       .pooling = options.pooling})} {}
};

static_assert(RevocablePolicy<SnapKV>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_SNAPKV_HPP
