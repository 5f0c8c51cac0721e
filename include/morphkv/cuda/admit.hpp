// SPDX-License-Identifier: Apache-2.0
/// \file
/// The state of a head after its prompt: slot i holds the i-th token that stays.
///
/// Teams are those of eviction.hpp.
#ifndef MORPHKV_CUDA_ADMIT_HPP
#define MORPHKV_CUDA_ADMIT_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/cuda/eviction.hpp"
#include "morphkv/cuda/head_state.hpp"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/cuda/prompt_scores.hpp"
#include "morphkv/cuda/scores.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

/// What a prompt has told about one head.
struct PromptOutcome {
  std::uint32_t tokens = 0;
  Position first = 0;                   ///< position of the prompt's first token
  const std::uint32_t* kept = nullptr;  ///< [stays]: the tokens that stay, ascending
  std::uint32_t stays = 0;
  const float* rows = nullptr;  ///< [voters][row_stride] for a window or a last row
  std::size_t row_stride = 0;
  const std::uint64_t* keys = nullptr;  ///< [tokens]: running sums
};

/// One word of the bits of permanent and protected slots.
MORPHKV_HOST_DEVICE inline void admit_bits(const Policy& policy, const HeadView& view,
                                           const PromptOutcome& prompt, std::uint32_t word) {
  std::uint32_t permanent = 0;
  std::uint32_t recent = 0;
  const std::uint32_t held =
      policy.held_recent() < prompt.stays ? policy.held_recent() : prompt.stays;
  for (std::uint32_t bit = 0; bit < 32; ++bit) {
    const std::uint32_t slot = 32 * word + bit;
    if (slot >= prompt.stays) break;
    if (policy.protect_prompt || prompt.kept[slot] < policy.sinks) permanent |= 1U << bit;
    if (slot >= prompt.stays - held) recent |= 1U << bit;
  }
  view.permanent[word] = permanent;
  view.protection[word] = permanent | recent;
}

/// What the score knows of a slot: the votes for its token, pushed again row by row.
MORPHKV_HOST_DEVICE inline void admit_score(const Policy& policy, const HeadView& view,
                                            const PromptOutcome& prompt, std::uint32_t voters,
                                            Slot slot) {
  const std::uint32_t token = prompt.kept[slot];
  if (policy.score == ScoreKind::running_sum) {
    reinterpret_cast<std::uint64_t*>(view.scores)[slot] = prompt.keys[token];
    return;
  }
  for (std::uint32_t row = 0; row < voters; ++row) {
    with_score(policy, view, row, [&](const auto& score) {
      (void)score.push(slot, prompt.rows[row * prompt.row_stride + token], score.fetch(slot));
    });
  }
}

/// Takes the prompt in. All threads of a team. \pre the state has been reset, and stays <= slots
template <class Team>
MORPHKV_HOST_DEVICE void admit(const Team& team, const Policy& policy, const HeadView& view,
                               const PromptOutcome& prompt, HeadState& state) {
  const std::uint32_t end = team.end(prompt.stays);
  const std::uint32_t most = voters_of(policy);
  const std::uint32_t voters = most < prompt.tokens ? most : prompt.tokens;
  for (Slot slot = team.begin(); slot < end; slot += team.stride()) {
    view.positions[slot] = prompt.first + static_cast<Position>(prompt.kept[slot]);
    if (policy.evicts()) admit_score(policy, view, prompt, voters, slot);
  }
  const std::uint32_t words = (prompt.stays + 31) / 32;
  for (std::uint32_t word = team.begin(); word < words; word += team.stride()) {
    admit_bits(policy, view, prompt, word);
  }
  const std::uint32_t recent = policy.held_recent();
  for (std::uint32_t back = team.begin(); back < recent && back < prompt.stays;
       back += team.stride()) {
    view.arrivals[(prompt.tokens - 1 - back) % (recent + 1)] = prompt.stays - 1 - back;
  }
  state = HeadState{};
  state.newest = prompt.first + static_cast<Position>(prompt.tokens) - 1;
  state.size = prompt.stays;
  state.arrived = prompt.tokens;
  state.rows = policy.evicts() ? voters : 0;
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_ADMIT_HPP
