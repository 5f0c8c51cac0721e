// SPDX-License-Identifier: Apache-2.0
/// \file
/// DecayedMax: MorphKV's maximum with a memory that decays, in constant space per slot.
#ifndef MORPHKV_POLICY_DECAYED_MAX_HPP
#define MORPHKV_POLICY_DECAYED_MAX_HPP

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "morphkv/core/error.hpp"
#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/recurrent_score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A head holds `capacity` tokens: the `recent` newest ones, and the older ones with the greatest
/// weight in any attention row, which halves every `half_life` rows:
///
///     F[j] = max over all queries i >= j + distance of a_i[j] 2^(-(t - i) / half_life)
///
/// where t is the newest query. A token's neighbours attend to it whatever it is, and recent tokens
/// are kept in any case; attention from further away tells whether it will be needed later. A
/// distance of about one unit of the text (an entry, a sentence) serves best.
///
/// Compared with MorphKV and Fusion::max, whose scoring queries are the recent tokens alone: a
/// weight outlives the window and decays, and the state is one number per slot, not one per slot
/// and row of the window. G-KV keeps such a global score with a decay of its own.
///
/// A block pins `pins` of its tokens for a while, see eviction/pins.hpp: what a later question asks
/// for is often attended to only then.
///
/// With `response_slots` only the prompt is cut, and all that follows it stays, as with SnapKV: see
/// recommended_for_prompts().
///
/// Every query of a prompt scores. The new token overwrites the victim. Scores are in float; of
/// equal ones the oldest position is evicted. Memory: 4 bytes per slot, and 4 per pin.
class DecayedMax : public ScoredEviction<RecurrentScore<DecayedMaximum>> {
 public:
  struct Options {
    std::size_t capacity = 2048;  ///< tokens that a head holds, the recent ones included
    std::size_t recent = 32;      ///< newest tokens, which are kept
    double half_life = 512;       ///< rows after which a weight counts half; above 0, or infinity
    std::size_t distance = 0;     ///< tokens to the first query that scores a token; below recent
    GroupFusion group = GroupFusion::max;
    std::size_t sinks = default_sinks;
    bool protect_prompt = false;
    std::size_t pins = 0;  ///< tokens that a block pins; at most capacity - recent - sinks
    std::size_t pin_half_life = 64;  ///< tokens after which half of them are released
    std::size_t response_slots = 0;  ///< slots beyond the capacity for what follows the prompt,
                                     ///< which then stays; 0: every token evicts one
    std::size_t history = 0;         ///< how many tokens rollback() can take back
    std::size_t spare_slots = 0;  ///< slots beyond the capacity; see SharedStorage, which sets it

    friend bool operator==(const Options&, const Options&) = default;
  };

  /// \throws std::invalid_argument if capacity is below recent + sinks or not above recent, pins do
  ///         not fit, a half-life is not above 0, distance is not below recent (a token would have
  ///         no score when it can first be evicted), or there are spare slots beside slots for the
  ///         response.
  [[nodiscard]] static Plan plan_of(const Options& o) {
    require(o.distance == 0 || o.distance < o.recent, "distance", o.distance,
            "below recent = " + std::to_string(o.recent));
    require(o.half_life > 0, "half_life", o.half_life, "above 0");
    require(o.response_slots == 0 || o.spare_slots == 0, "spare_slots", o.spare_slots,
            "0 beside response_slots");
    const std::size_t left = o.capacity < max_head_slots ? max_head_slots - o.capacity : 0;
    require(o.response_slots <= left, "response_slots", o.response_slots,
            "at most " + std::to_string(left) + " beside the capacity");
    const bool grows = o.response_slots > 0;
    return {make_rules({.schedule = grows ? Schedule::after_prompt : Schedule::on_arrival,
                        .group = o.group,
                        .capacity = o.capacity,
                        .recent = o.recent,
                        .sinks = o.sinks,
                        .protect_prompt = o.protect_prompt,
                        .max_tokens = grows ? o.capacity + o.response_slots : 0,
                        .spare_slots = o.spare_slots,
                        .pins = o.pins,
                        .pin_half_life = o.pin_half_life}),
            {.update = {static_cast<float>(std::exp2(-1 / o.half_life))},
             .distance = static_cast<std::uint32_t>(o.distance)}};
  }

  explicit DecayedMax(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options), options.history) {}
};

static_assert(RevocablePolicy<DecayedMax> && SharingPolicy<DecayedMax>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_DECAYED_MAX_HPP
