// SPDX-License-Identifier: Apache-2.0
/// \file
/// The votes of a prompt's queries for one of its tokens, as a key that orders like the score.
#ifndef MORPHKV_CUDA_PROMPT_SCORES_HPP
#define MORPHKV_CUDA_PROMPT_SCORES_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/cuda/round_to_half.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

/// Queries of a prompt that vote: its last ones.
[[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t voters_of(const Policy& policy) noexcept {
  switch (policy.score) {
    case ScoreKind::window_sum:
    case ScoreKind::window_max:
      return policy.window;
    case ScoreKind::running_sum:
      return ~0U;  // all
    case ScoreKind::last_row:
      return 1;
    default:
      return policy.schedule == Schedule::after_prompt ? policy.window : 0;
  }
}

/// Patterns of non-negative numbers order as the numbers do.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint64_t double_bits(double x) noexcept {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
[[nodiscard]] MORPHKV_HOST_DEVICE inline double from_double_bits(std::uint64_t bits) noexcept {
  double x = 0;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// The key of a token after one more vote. It begins with 0; SnapKV's is pooled in the end. The
/// order of the votes counts for SnapKV alone, whose sums are in double.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint64_t add_vote(const Policy& policy,
                                                                std::uint64_t key,
                                                                float weight) noexcept {
  switch (policy.score) {
    case ScoreKind::window_sum:
      return key + half_units(round_to_half(weight));
    case ScoreKind::window_max: {
      const std::uint64_t bits = round_to_half(weight);
      return bits > key ? bits : key;
    }
    case ScoreKind::running_sum:
      return key + fine_units(weight);
    case ScoreKind::last_row:
      return double_bits(static_cast<double>(weight) + 0.0);
    default:
      return double_bits(from_double_bits(key) + static_cast<double>(weight));
  }
}

/// SnapKV's pooled key of token `centre`, among the first `count` of a prompt.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint64_t pooled_key(const Policy& policy,
                                                                  const std::uint64_t* keys,
                                                                  std::uint32_t count,
                                                                  std::uint32_t centre) noexcept {
  const std::uint32_t reach = policy.kernel / 2;
  const std::uint32_t begin = centre < reach ? 0 : centre - reach;
  const std::uint32_t end = centre + reach + 1 < count ? centre + reach + 1 : count;
  double pooled = 0;
  for (std::uint32_t j = begin; j < end; ++j) {
    const double sum = from_double_bits(keys[j]);
    pooled = policy.pooling == Pooling::average ? pooled + sum : (sum > pooled ? sum : pooled);
  }
  return double_bits(policy.pooling == Pooling::average ? pooled / policy.kernel : pooled);
}

/// Who of a prompt stays whatever the votes say: its first `certain` tokens and its last `recent`
/// ones. The best `wanted` of the others stay with them, `stays` tokens in all.
struct PromptCut {
  std::uint32_t certain = 0;
  std::uint32_t recent = 0;
  std::uint32_t wanted = 0;
  std::uint32_t stays = 0;
  Status status = Status::ok;
};

[[nodiscard]] MORPHKV_HOST_DEVICE inline PromptCut cut_prompt(const Policy& policy,
                                                              std::uint32_t tokens) noexcept {
  PromptCut cut;
  cut.stays = tokens;
  if (policy.schedule == Schedule::never) {
    if (tokens > policy.slots) cut.status = Status::full;
    return cut;
  }
  if (tokens <= policy.capacity) return cut;
  if (policy.protect_prompt) {
    cut.status = Status::nothing_to_evict;
    return cut;
  }
  cut.certain = policy.sinks;
  cut.recent = policy.recent;
  cut.stays = policy.capacity;
  cut.wanted = policy.capacity - cut.certain - cut.recent;
  return cut;
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_PROMPT_SCORES_HPP
