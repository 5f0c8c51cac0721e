// SPDX-License-Identifier: Apache-2.0
/// \file
/// SnapKV with a constant size: the compressed prompt, and the most recent tokens of the response.
#ifndef MORPHKV_BENCH_ACCURACY_SNAPKV_RECENT_HPP
#define MORPHKV_BENCH_ACCURACY_SNAPKV_RECENT_HPP

#include <cstddef>

#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/block_sum.hpp"

namespace morphkv::accuracy {

/// The best of the prompt, selected once as by SnapKV, and the `recent` newest tokens, within a
/// constant capacity. The prompt fills what the response does not need yet: tokens of the response
/// have no score, so of those that are no longer recent the oldest is evicted before any of the
/// prompt.
///
/// It is ours: neither SnapKV's authors nor MorphKV's bound the response. Without it SnapKV has no
/// place in a comparison at equal bytes, once the response is long.
class SnapKVRecent : public ScoredEviction<BlockSum> {
 public:
  struct Options {
    std::size_t capacity = 2048;
    std::size_t recent = 1024;
    std::size_t kernel = 5;
    GroupFusion group = GroupFusion::mean;
    std::size_t sinks = default_sinks;
  };

  [[nodiscard]] static Plan plan_of(const Options& o) {
    return {make_rules({.schedule = Schedule::on_arrival,
                        .group = o.group,
                        .capacity = o.capacity,
                        .recent = o.recent,
                        .sinks = o.sinks,
                        .pooling_kernel = o.kernel}),
            {.queries = 32}};
  }

  explicit SnapKVRecent(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options)) {}
};

static_assert(EvictionPolicy<SnapKVRecent>);

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_SNAPKV_RECENT_HPP
