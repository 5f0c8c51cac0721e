// SPDX-License-Identifier: Apache-2.0
/// \file
/// A prompt from an example of bench/tasks.
#ifndef MORPHKV_TOOLS_COMPARISON_TASK_PROMPT_HPP
#define MORPHKV_TOOLS_COMPARISON_TASK_PROMPT_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "comparison/workload.hpp"
#include "tasks/random.hpp"
#include "tasks/sampler.hpp"
#include "tasks/text.hpp"

namespace morphkv::comparison {

/// The prompt, the length of the expected response, and where that has to look up what is graded.
[[nodiscard]] inline Prompt task_prompt(const tasks::Text& text) {
  Prompt prompt;
  prompt.tokens = text.prompt;
  prompt.response_tokens = text.response.size();
  for (std::size_t step = 0; step < text.response.size(); ++step) {
    const tasks::ResponseToken& token = text.response[step];
    if (tasks::is_graded(token.kind) && token.source >= 0) {
      prompt.needs.push_back({step, static_cast<std::size_t>(token.source)});
    }
  }
  return prompt;
}

/// Samples from the tokens that are at least a fifth as likely as the most likely one, with the
/// same random numbers for every policy.
[[nodiscard]] inline std::function<Chooser()> sampled(std::uint64_t seed) {
  constexpr double least_share = 0.2;
  return [seed]() -> Chooser {
    return [random = tasks::Random(seed)](std::span<const float> logits) mutable {
      return tasks::sample_min_p(logits, least_share, random);
    };
  };
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_TASK_PROMPT_HPP
