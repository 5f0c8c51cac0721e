// SPDX-License-Identifier: Apache-2.0
/// \file
/// A prompt from an example of bench/tasks.
#ifndef MORPHKV_EXAMPLES_COMPARISON_TASK_PROMPT_HPP
#define MORPHKV_EXAMPLES_COMPARISON_TASK_PROMPT_HPP

#include <cstddef>

#include "comparison/workload.hpp"
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

}  // namespace morphkv::comparison

#endif  // MORPHKV_EXAMPLES_COMPARISON_TASK_PROMPT_HPP
