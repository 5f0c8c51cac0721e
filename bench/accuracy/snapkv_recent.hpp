// SPDX-License-Identifier: Apache-2.0
/// \file
/// SnapKV with a constant size: the compressed prompt, and the most recent tokens of the response.
#ifndef MORPHKV_BENCH_ACCURACY_SNAPKV_RECENT_HPP
#define MORPHKV_BENCH_ACCURACY_SNAPKV_RECENT_HPP

#include <cstddef>
#include <span>
#include <utility>

#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/policy/scored_eviction.hpp"
#include "morphkv/score/pooled_sum.hpp"

namespace morphkv::accuracy {

/// SnapKV's score of a prompt, which lasts; the tokens of the response have 0, so of those that are
/// no longer recent the oldest goes before any of the prompt.
class PromptScore : public PooledSum {
 public:
  explicit PromptScore(const Options& options) : PooledSum(options) {}
  explicit PromptScore(PooledSum score) : PooledSum(std::move(score)) {}

  /// Only a prompt's rows count; while it is judged there are no candidates.
  Slot push(std::span<const float> row, const Candidates& candidates) noexcept {
    return candidates.slots == 0 ? PooledSum::push(row, candidates) : least(candidates);
  }
  [[nodiscard]] PromptScore remapped(std::span<const Slot> sources, std::size_t columns) const {
    return PromptScore(PooledSum::remapped(sources, columns));
  }
};

static_assert(Score<PromptScore>);

/// The best of the prompt, chosen once as by SnapKV, and the `recent` most recent tokens, within a
/// constant capacity. The prompt fills what the response does not need yet.
///
/// It is ours: neither SnapKV's authors nor MorphKV's bound the response. Without it SnapKV has no
/// place in a comparison at equal bytes, once the response is long.
class SnapKVRecent : public ScoredEviction<PromptScore> {
 public:
  struct Options {
    std::size_t capacity = 2048;
    std::size_t recent = 1024;
    std::size_t kernel = 5;
    GroupFusion group = GroupFusion::mean;
    std::size_t sinks = default_sinks;
  };

  explicit SnapKVRecent(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction{checked({.capacity = options.capacity,
                                .schedule = Schedule::on_arrival,
                                .protection = {options.sinks, false, options.recent},
                                .max_tokens = 0,
                                .history = 0}),
                       PromptScore({.columns = options.capacity,
                                    .rows = voters,
                                    .kernel = options.kernel,
                                    .pooling = Pooling::average})} {}

 private:
  static constexpr std::size_t voters = 32;
};

static_assert(EvictionPolicy<SnapKVRecent>);

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_SNAPKV_RECENT_HPP
