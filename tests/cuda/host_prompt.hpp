// SPDX-License-Identifier: Apache-2.0
/// \file
/// The device's way with a prompt, run by one thread of the host: the loops are the tests', the
/// arithmetic is the device's.
#ifndef MORPHKV_TESTS_CUDA_HOST_PROMPT_HPP
#define MORPHKV_TESTS_CUDA_HOST_PROMPT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/host_head.hpp"
#include "cuda/host_top_k.hpp"
#include "morphkv/cuda/admit.hpp"
#include "morphkv/cuda/prompt_scores.hpp"

namespace morphkv::testing {

/// Takes a first prompt in. \param rows a row of weights for each of its tokens
inline Status admit_prompt(HostHead& head, Position first,
                           const std::vector<std::vector<float>>& rows) {
  const cuda::Policy& policy = head.policy();
  const auto tokens = static_cast<std::uint32_t>(rows.size());
  const std::uint32_t voters = std::min(cuda::voters_of(policy), tokens);
  std::vector<std::uint64_t> keys(tokens, 0);
  std::vector<float> votes;
  for (std::uint32_t v = 0; v < voters; ++v) {
    const std::vector<float>& row = rows[tokens - voters + v];
    for (std::uint32_t t = 0; t < tokens; ++t) {
      keys[t] = cuda::add_vote(policy, keys[t], row[t]);
      votes.push_back(row[t]);
    }
  }
  if (voters == 0) {
    for (std::uint32_t t = 0; t < tokens; ++t) keys[t] = t;
  }
  const cuda::PromptCut cut = cuda::cut_prompt(policy, tokens);
  if (cut.status != Status::ok) return cut.status;
  std::vector<std::uint32_t> kept;
  if (cut.stays == tokens) {
    for (std::uint32_t t = 0; t < tokens; ++t) kept.push_back(t);
  } else {
    const std::uint32_t end = tokens - cut.recent;
    std::vector<std::uint64_t> judged;
    for (std::uint32_t t = cut.certain; t < end; ++t) {
      judged.push_back(policy.schedule == Schedule::after_prompt
                           ? cuda::pooled_key(policy, keys.data(), end, t)
                           : keys[t]);
    }
    for (std::uint32_t t = 0; t < cut.certain; ++t) kept.push_back(t);
    for (const std::uint32_t t : host_top_k(judged, cut.wanted)) kept.push_back(cut.certain + t);
    for (std::uint32_t t = end; t < tokens; ++t) kept.push_back(t);
  }
  cuda::admit(cuda::SequentialTeam{}, policy, head.view(),
              {.tokens = tokens,
               .first = first,
               .kept = kept.data(),
               .stays = cut.stays,
               .rows = votes.data(),
               .row_stride = tokens,
               .keys = keys.data()},
              head.state());
  return Status::ok;
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_CUDA_HOST_PROMPT_HPP
