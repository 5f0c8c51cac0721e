// SPDX-License-Identifier: Apache-2.0
/// \file
/// A policy of one's own for `replay`, to be copied: -DMORPHKV_REPLAY_POLICY=my_policy.hpp. A score
/// is the largest weight that a token has received, multiplied by a factor at every step.
#ifndef MORPHKV_TOOLS_REPLAY_EXAMPLE_POLICY_HPP
#define MORPHKV_TOOLS_REPLAY_EXAMPLE_POLICY_HPP

#include <cstddef>

#include "morphkv/morphkv.hpp"
#include "policies/registry.hpp"

namespace my {

/// The formula: the old score of a slot, and its weight in the newest attention row.
struct Fading {
  float decay = 0.9F;
  MORPHKV_HOST_DEVICE float operator()(float score, float weight) const {
    return decay * score < weight ? weight : decay * score;
  }
};

/// The policy: its options, and the plan that they give.
class FadingMemory : public morphkv::ScoredEviction<morphkv::RecurrentScore<Fading>> {
 public:
  struct Options {
    std::size_t capacity = 2048;
    std::size_t recent = 32;
    double decay = 0.9;
    std::size_t sinks = morphkv::default_sinks;
    morphkv::GroupFusion group = morphkv::GroupFusion::max;
  };
  static Plan plan_of(const Options& o) {
    return {morphkv::make_rules({.schedule = morphkv::Schedule::on_arrival,
                                 .group = o.group,
                                 .capacity = o.capacity,
                                 .recent = o.recent,
                                 .sinks = o.sinks}),
            {.update = {static_cast<float>(o.decay)}}};
  }
  explicit FadingMemory(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options)) {}
};

/// The options on the command line: --recent, --decay, ... besides --capacity.
void each_option(FadingMemory::Options& o, auto&& visit) {
  visit("recent", o.recent, "newest tokens, which are always kept");
  visit("decay", o.decay, "what a score is multiplied by at every step");
  visit("sinks", o.sinks, "first tokens that are always kept");
  visit("group", o.group, "how the rows of a KV head's query heads are fused");
}

}  // namespace my

/// What `replay` adds to its policies: a name, a description, the options at a capacity.
inline constexpr morphkv::policies::PolicyEntry<my::FadingMemory> replay_policy = {
    "fading_memory", "a maximum that fades", [](std::size_t capacity) {
      my::FadingMemory::Options options;
      options.capacity = capacity;
      return options;
    }};

#endif  // MORPHKV_TOOLS_REPLAY_EXAMPLE_POLICY_HPP
