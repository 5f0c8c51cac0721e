// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies of the device: what each ranks by and protects, in one struct that a kernel takes.
#ifndef MORPHKV_CUDA_POLICY_HPP
#define MORPHKV_CUDA_POLICY_HPP

#include <algorithm>
#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/policy/protection.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

/// What ranks the tokens of a head.
enum class ScoreKind : std::uint8_t {
  none,         ///< nothing leaves while decoding: Full, SnapKV
  window_sum,   ///< MorphKV, sum
  window_max,   ///< MorphKV, max
  running_sum,  ///< H2O
  last_row,     ///< TOVA
  age,          ///< StreamingLLM
};

/// The rules of one policy, for all heads of a call. A plain struct: pass it by value. Make one
/// with the functions below; they mean what the classes of the same name in policy/ mean, and keep
/// the same tokens.
struct Policy {
  ScoreKind score = ScoreKind::none;
  Schedule schedule = Schedule::never;
  GroupFusion group = GroupFusion::mean;
  Pooling pooling = Pooling::average;  ///< SnapKV
  bool protect_prompt = false;
  std::uint32_t capacity = 0;  ///< tokens that stay
  std::uint32_t slots = 0;     ///< rows of keys and values that a head needs
  std::uint32_t recent = 0;    ///< newest tokens that are kept, the arriving one among them
  std::uint32_t sinks = 0;     ///< first tokens that are kept
  std::uint32_t window = 0;    ///< rows of the window (MorphKV), voters of a prompt (SnapKV)
  std::uint32_t kernel = 1;    ///< SnapKV: of the pooling; odd

  /// Whether tokens leave while decoding.
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr bool evicts() const noexcept {
    return schedule == Schedule::on_arrival || schedule == Schedule::after_attention;
  }
  /// Recent tokens among those held while a victim is sought: if it makes room for a token, that
  /// one is the newest of them.
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t held_recent() const noexcept {
    return schedule != Schedule::after_attention && recent > 0 ? recent - 1 : recent;
  }
  /// Whether the numbers fit each other; the functions that take a policy ask.
  [[nodiscard]] constexpr bool is_valid() const noexcept {
    constexpr std::uint32_t most = 1U << 30U;
    if (capacity == 0 || capacity > most || slots < capacity || slots > most) return false;
    if (schedule == Schedule::never) return score == ScoreKind::none;
    if (capacity <= recent || sinks > capacity - recent || kernel % 2 == 0) return false;
    if (score == ScoreKind::window_sum && window > 255) return false;
    const bool needs_window = score == ScoreKind::window_sum || score == ScoreKind::window_max ||
                              schedule == Schedule::after_prompt;
    return window > 0 || !needs_window;
  }
};

/// MorphKV: the `window` newest tokens, and the others that these pay most attention to. With
/// Fusion::sum the window has at most 255 rows.
[[nodiscard]] constexpr Policy morphkv(std::uint32_t capacity, std::uint32_t window, Fusion fusion,
                                       std::uint32_t sinks = default_sinks) noexcept {
  return {.score = fusion == Fusion::sum ? ScoreKind::window_sum : ScoreKind::window_max,
          .schedule = Schedule::on_arrival,
          .group = GroupFusion::max,
          .capacity = capacity,
          .slots = capacity,
          .recent = window,
          .sinks = sinks,
          .window = window};
}

/// H2O: the `recent` newest tokens, and the `heavy` others that received most attention in all.
[[nodiscard]] constexpr Policy h2o(std::uint32_t heavy, std::uint32_t recent,
                                   std::uint32_t sinks = default_sinks) noexcept {
  return {.score = ScoreKind::running_sum,
          .schedule = Schedule::after_attention,
          .group = GroupFusion::mean,
          .capacity = heavy + recent,
          .slots = heavy + recent + 1,
          .recent = recent,
          .sinks = sinks};
}

/// TOVA: the token to which the newest one paid the least attention goes.
[[nodiscard]] constexpr Policy tova(std::uint32_t capacity, std::uint32_t window = 1,
                                    std::uint32_t sinks = default_sinks) noexcept {
  return {.score = ScoreKind::last_row,
          .schedule = Schedule::on_arrival,
          .group = GroupFusion::mean,
          .capacity = capacity,
          .slots = capacity,
          .recent = window,
          .sinks = sinks};
}

/// StreamingLLM: the first `sinks` tokens and the newest ones.
[[nodiscard]] constexpr Policy streaming_llm(std::uint32_t capacity,
                                             std::uint32_t sinks = default_sinks) noexcept {
  return {.score = ScoreKind::age,
          .schedule = Schedule::on_arrival,
          .group = GroupFusion::mean,
          .capacity = capacity,
          .slots = capacity,
          .recent = 1,
          .sinks = sinks};
}

/// SnapKV: a prompt is cut to `capacity` by its last `window` queries; what follows stays, up to
/// `max_tokens` in all.
[[nodiscard]] constexpr Policy snapkv(std::uint32_t capacity, std::uint32_t max_tokens,
                                      std::uint32_t window = 32, std::uint32_t kernel = 5,
                                      Pooling pooling = Pooling::average,
                                      std::uint32_t sinks = default_sinks) noexcept {
  return {.score = ScoreKind::none,
          .schedule = Schedule::after_prompt,
          .group = GroupFusion::mean,
          .pooling = pooling,
          .capacity = capacity,
          .slots = (std::max)(capacity, max_tokens),
          .recent = window,
          .sinks = sinks,
          .window = window,
          .kernel = kernel};
}

/// Full: keeps everything, up to `max_tokens`.
[[nodiscard]] constexpr Policy full(std::uint32_t max_tokens) noexcept {
  return {.capacity = max_tokens, .slots = max_tokens};
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_POLICY_HPP
