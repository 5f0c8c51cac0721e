// SPDX-License-Identifier: Apache-2.0
/// \file
/// SnapKV (arXiv 2404.14469): compress the prompt once, and keep all that follows.
#ifndef MORPHKV_POLICY_SNAPKV_HPP
#define MORPHKV_POLICY_SNAPKV_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/core/error.hpp"
#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/block_sum.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The prompt's last `window` queries score its tokens by the sum of their rows, pooled along the
/// prompt; the best capacity - window older tokens stay, with the last `window`. Generated tokens
/// and later turns are appended as they are, up to `max_tokens`.
///
/// The authors select per query head and store the group's tokens several times over; here the
/// group is fused first. A prompt given in chunks is cut after each of them.
class SnapKV : public ScoredEviction<BlockSum> {
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

    friend bool operator==(const Options&, const Options&) = default;
  };

  /// \throws std::invalid_argument if capacity is below window + sinks or not above window,
  ///         window is 0, or the kernel is even.
  [[nodiscard]] static Plan plan_of(const Options& o) {
    require(o.window > 0, "window", o.window, "at least 1");
    return {make_rules({.schedule = Schedule::after_prompt,
                        .group = o.group,
                        .capacity = o.capacity,
                        .recent = o.window,
                        .sinks = o.sinks,
                        .protect_prompt = o.protect_prompt,
                        .carries_scores = false,
                        .max_tokens = o.max_tokens,
                        .pooling_kernel = o.kernel,
                        .pooling = o.pooling,
                        .recent_name = "window"}),
            {.queries = static_cast<std::uint32_t>(o.window)}};
  }

  explicit SnapKV(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options), options.history) {}
};

static_assert(RevocablePolicy<SnapKV>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_SNAPKV_HPP
