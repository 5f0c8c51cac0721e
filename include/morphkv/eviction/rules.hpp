// SPDX-License-Identifier: Apache-2.0
/// \file
/// The rules of an eviction policy beside its score: how much a head holds, when it evicts, and
/// which tokens no score can evict. Plain data of host and device.
#ifndef MORPHKV_EVICTION_RULES_HPP
#define MORPHKV_EVICTION_RULES_HPP

#include <cstddef>
#include <cstdint>
#include <string>

#include "morphkv/core/config.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Sinks that the library keeps unless told otherwise: real models collapse without the first
/// tokens (StreamingLLM, arXiv 2309.17453, section 3).
inline constexpr std::size_t default_sinks = 4;

/// Slots that a head can have at most.
inline constexpr std::size_t max_head_slots = 1U << 30U;

struct EvictionRules {
  Schedule schedule = Schedule::on_arrival;
  GroupFusion group = GroupFusion::mean;
  bool protect_prompt = false;         ///< every token of a block is protected
  bool carries_scores = true;          ///< the head keeps the scores' numbers between blocks
  Pooling pooling = Pooling::average;  ///< of the scores of a block, along positions
  std::uint32_t pooling_kernel = 1;    ///< odd; 1 pools nothing
  std::uint32_t capacity = 0;          ///< tokens that stay
  std::uint32_t slots = 0;             ///< of keys and values
  std::uint32_t recent = 0;            ///< newest tokens that stay, the arriving one among them
  std::uint32_t sinks = 0;             ///< first tokens of the sequence that stay
  std::uint32_t pins = 0;              ///< tokens that a block pins, see pins.hpp
  std::uint32_t pin_half_life = 1;     ///< tokens until half of the pins are released

  /// Whether tokens are evicted by their scores while decoding.
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr bool evicts() const noexcept {
    return schedule == Schedule::on_arrival || schedule == Schedule::after_attention;
  }
  /// Protected recent tokens among those held while a victim is searched: where it makes place for
  /// an arriving token, that one is the newest of the recent tokens. A sliding head finds its
  /// oldest token by them.
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t held_recent() const noexcept {
    const bool counts_arriving =
        schedule != Schedule::after_attention && schedule != Schedule::sliding;
    return counts_arriving && recent > 0 ? recent - 1 : recent;
  }
  /// Slots that a head may use at first.
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t quota() const noexcept {
    return schedule == Schedule::on_arrival ? capacity : slots;
  }
};

/// The rules of a head that holds the newest `window` tokens, whatever they score.
/// \throws std::invalid_argument if the window is 0 or too large
[[nodiscard]] inline EvictionRules make_sliding_rules(std::size_t window) {
  require(window > 0 && window <= max_head_slots, "window", window,
          "from 1 to " + std::to_string(max_head_slots));
  const auto tokens = static_cast<std::uint32_t>(window);
  return {.schedule = Schedule::sliding,
          .carries_scores = false,
          .capacity = tokens,
          .slots = tokens,
          .recent = tokens};
}

/// What a policy asks for, as its options give it.
struct RuleOptions {
  Schedule schedule = Schedule::on_arrival;
  GroupFusion group = GroupFusion::mean;
  std::size_t capacity = 0;
  std::size_t recent = 0;
  std::size_t sinks = default_sinks;
  bool protect_prompt = false;
  bool carries_scores = true;   ///< ignored where tokens evict each other: there it is so
  std::size_t max_tokens = 0;   ///< slots of a schedule that lets a head grow
  std::size_t spare_slots = 0;  ///< slots beyond the capacity, for heads that share slots
  std::size_t pooling_kernel = 1;
  Pooling pooling = Pooling::average;
  std::size_t pins = 0;
  std::size_t pin_half_life = 1;
  const char* recent_name = "recent";  ///< what the policy calls it, for messages
};

/// \throws std::invalid_argument if the capacity leaves no token to evict, or a number is too
/// large.
[[nodiscard]] inline EvictionRules make_rules(const RuleOptions& o) {
  const auto limit = [](std::size_t max) { return "at most " + std::to_string(max); };
  const auto narrow = [](std::size_t x) { return static_cast<std::uint32_t>(x); };
  EvictionRules rules{.schedule = o.schedule,
                      .group = o.group,
                      .protect_prompt = o.protect_prompt,
                      .pooling = o.pooling,
                      .pooling_kernel = narrow(o.pooling_kernel)};
  if (o.schedule == Schedule::never) {
    require(o.max_tokens > 0 && o.max_tokens <= max_head_slots, "max_tokens", o.max_tokens,
            "from 1 to " + std::to_string(max_head_slots));
    rules.capacity = rules.slots = narrow(o.max_tokens);
    rules.carries_scores = false;
    return rules;
  }
  rules.carries_scores = o.carries_scores || rules.evicts();
  const std::string name = o.recent_name;
  require(o.capacity <= max_head_slots, "capacity", o.capacity, limit(max_head_slots));
  require(o.capacity > o.recent, "capacity", o.capacity,
          "above " + name + " = " + std::to_string(o.recent));
  require(o.sinks <= o.capacity - o.recent, "sinks", o.sinks,
          "at most capacity - " + name + " = " + std::to_string(o.capacity - o.recent));
  const std::size_t room = o.recent == 0 ? 0 : o.capacity - o.recent - o.sinks;
  require(o.pins <= room, "pins", o.pins,
          "at most capacity - " + name + " - sinks = " + std::to_string(room) +
              ", and 0 without recent tokens");
  require(o.pin_half_life > 0 && o.pin_half_life <= max_head_slots, "pin_half_life",
          o.pin_half_life, "from 1 to " + std::to_string(max_head_slots));
  require(o.max_tokens <= max_head_slots, "max_tokens", o.max_tokens, limit(max_head_slots));
  require(o.spare_slots <= max_head_slots - o.capacity, "spare_slots", o.spare_slots,
          limit(max_head_slots - o.capacity));
  require(o.pooling_kernel % 2 == 1 && o.pooling_kernel <= max_head_slots, "kernel",
          o.pooling_kernel, "odd, and at most " + std::to_string(max_head_slots));
  rules.capacity = narrow(o.capacity);
  rules.recent = narrow(o.recent);
  rules.sinks = narrow(o.sinks);
  rules.pins = narrow(o.pins);
  rules.pin_half_life = narrow(o.pin_half_life);
  rules.slots = rules.capacity + narrow(o.spare_slots);
  if (o.schedule == Schedule::after_attention) rules.slots = rules.capacity + 1;
  if (o.schedule == Schedule::after_prompt && o.max_tokens > o.capacity) {
    rules.slots = narrow(o.max_tokens);
  }
  return rules;
}

/// What one head runs: rules and a score. Plain data: a kernel takes it by value. Every policy
/// makes one from its options, and the same one drives the host and a device.
template <class S>
struct EvictionPlan {
  using Score = S;
  EvictionRules rules{};
  S score{};
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_RULES_HPP
