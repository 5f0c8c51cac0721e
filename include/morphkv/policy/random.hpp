// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random eviction: the control that any scorer must beat.
#ifndef MORPHKV_POLICY_RANDOM_HPP
#define MORPHKV_POLICY_RANDOM_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/policy/scored_eviction.hpp"
#include "morphkv/score/random_score.hpp"

namespace morphkv { inline namespace v0 {

/// Evicts uniformly at random, in each head on its own, among the tokens that are not protected: by
/// default the generated ones. With the prompt protected, a head that the prompt fills cannot
/// evict: place() reports Status::nothing_to_evict.
class Random : public ScoredEviction<RandomScore> {
 public:
  struct Options {
    std::size_t capacity = 2048;
    std::uint64_t seed = 0;
    std::size_t window = 1;  ///< recent tokens that are kept; 1 is the arriving token itself
    std::size_t sinks = default_sinks;
    bool protect_prompt = true;
    GroupFusion group = GroupFusion::mean;  ///< of no effect
    std::size_t history = 0;                ///< how many tokens rollback() can take back
  };

  /// \throws std::invalid_argument if capacity is below window + sinks or not above window.
  explicit Random(const Options& options, std::size_t head = 0)
      : ScoredEviction{
            checked({.capacity = options.capacity,
                     .schedule = Schedule::on_arrival,
                     .protection = {options.sinks, options.protect_prompt, options.window},
                     .max_tokens = 0,
                     .history = options.history}),
            RandomScore(options.seed + head)} {}
};

static_assert(RevocablePolicy<Random>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_RANDOM_HPP
