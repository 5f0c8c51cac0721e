// SPDX-License-Identifier: Apache-2.0
/// \file
/// DecayedMax: MorphKV's maximum with a memory that fades, in constant space a slot.
#ifndef MORPHKV_POLICY_DECAYED_MAX_HPP
#define MORPHKV_POLICY_DECAYED_MAX_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include "morphkv/core/error.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/policy/scored_eviction.hpp"
#include "morphkv/score/recurrent_score.hpp"

namespace morphkv { inline namespace v0 {

/// score = max(decay x score, weight): the ScoreUpdate of DecayedMax.
struct DecayedMaximum {
  float decay = 1;  ///< from 0 to 1

  [[nodiscard]] float operator()(float score, float weight) const noexcept {
    return std::max(decay * score, weight);
  }
};

/// A head holds `capacity` tokens: the `window` most recent ones, and the older ones with the
/// greatest weight that any query has paid to them, which halves every `half_life` tokens:
///
///     F[j] = max over all queries i >= j + distance of a_i[j] 2^(-(t - i) / half_life)
///
/// where t is the newest query. A token's neighbours attend to it whatever it says, and the window
/// keeps it for them anyway; what tells whether it will be wanted later is who asks for it from
/// further away. A distance of about one unit of the text (an entry, a sentence) serves best.
///
/// Beside MorphKV with Fusion::max, whose voters are the recent tokens alone: a vote outlives the
/// window and fades, and the state is one number a slot, not a number a slot and row of the window.
/// G-KV keeps such a global score with a decay of its own.
///
/// Every query of a prompt votes too, so a long prompt costs a row a token. The new token is
/// written over the victim. Scores are in float; of equal ones the oldest position goes. Memory: 4
/// bytes a slot.
class DecayedMax : public ScoredEviction<RecurrentScore<DecayedMaximum>> {
 public:
  struct Options {
    std::size_t capacity = 2048;  ///< tokens a head holds, the window included
    std::size_t window = 32;      ///< recent tokens that are kept
    double half_life = 512;       ///< tokens after which a vote counts half; above 0, or infinity
    std::size_t distance = 0;     ///< from a token to the first that votes for it; below window
    GroupFusion group = GroupFusion::max;
    std::size_t sinks = default_sinks;
    bool protect_prompt = false;
    std::size_t history = 0;      ///< how many tokens rollback() can take back
    std::size_t spare_slots = 0;  ///< slots beyond the capacity; see SharedStorage, which sets it
  };

  /// \throws std::invalid_argument if capacity is below window + sinks or not above window,
  ///         half_life is not above 0, or distance is not below window (such a token would have no
  ///         vote when it may first be evicted).
  explicit DecayedMax(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction{
            checked({.capacity = options.capacity,
                     .schedule = Schedule::on_arrival,
                     .protection = {options.sinks, options.protect_prompt, options.window},
                     .max_tokens = 0,
                     .history = options.history,
                     .spare_slots = options.spare_slots}),
            RecurrentScore<DecayedMaximum>({.columns = options.capacity + options.spare_slots,
                                            .history = options.history,
                                            .distance = checked_distance(options)},
                                           {decay_of(options.half_life)})} {}

 private:
  [[nodiscard]] static std::size_t checked_distance(const Options& options) {
    require(options.distance == 0 || options.distance < options.window, "distance",
            options.distance, "below window = " + std::to_string(options.window));
    return options.distance;
  }

  [[nodiscard]] static float decay_of(double half_life) {
    require(half_life > 0, "half_life", half_life, "above 0");
    return static_cast<float>(std::exp2(-1 / half_life));
  }
};

static_assert(RevocablePolicy<DecayedMax> && SharingPolicy<DecayedMax>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_DECAYED_MAX_HPP
