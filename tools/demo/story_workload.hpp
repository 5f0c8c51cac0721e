// SPDX-License-Identifier: Apache-2.0
/// \file
/// Stories, for any model that continues a text. The reference is the text that the model writes
/// with the full cache.
#ifndef MORPHKV_TOOLS_DEMO_STORY_WORKLOAD_HPP
#define MORPHKV_TOOLS_DEMO_STORY_WORKLOAD_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <random>
#include <string>

#include "comparison/workload.hpp"
#include "llama/config.hpp"
#include "llama/tokenizer.hpp"

namespace morphkv::demo {

using namespace comparison;

/// Openings in the order that `seed` shuffles them into.
[[nodiscard]] inline Workload story_workload(const llama::Tokenizer& tokenizer,
                                             const llama::Config& config, std::size_t prompts,
                                             unsigned seed) {
  std::array<std::string, 16> openings = {
      "Once upon a time",
      "One day, a little boy named Tim went to the park with his dog.",
      "Lily and Ben were best friends. They liked to play with a big box.",
      "The sun was hot and the little cat wanted to sleep.",
      "There was a red car that did not want to stop.",
      "Tom had a new toy. He ran to his mom to show it.",
      "A small bird lived in a tall tree near the house.",
      "Mia was sad because she lost her hat in the wind.",
      "One morning, a bear came out of the woods and saw a girl.",
      "Sam and his dad went to the lake to catch a fish.",
      "It was time for bed, but Anna was not tired.",
      "The old man had a garden with many flowers.",
      "Ben found a key under the bed. What could it open?",
      "A little frog wanted to jump higher than his friends.",
      "Mom made a cake and told Sue not to touch it.",
      "It started to rain, so the kids ran into the house."};
  std::mt19937 random(seed);
  for (std::size_t i = openings.size(); i > 1; --i)
    std::swap(openings[i - 1], openings[random() % i]);
  Workload workload;
  workload.task = "stories";
  workload.loss_prompts = openings.size();
  workload.description =
      "The model continues the first sentence of a story. There is no right answer, so each "
      "policy's "
      "text is compared with the one that the model writes with the full cache, token for token; "
      "after the first difference two texts rarely meet again.";
  for (std::size_t i = 0; i < (std::min)(prompts, openings.size()); ++i) {
    Prompt prompt;
    prompt.tokens = tokenizer.encode(openings[i]);
    const std::size_t room = config.context > prompt.tokens.size() ? config.context : 512;
    prompt.response_tokens = (std::min)(room - prompt.tokens.size(), std::size_t{400});
    workload.prompts.push_back(std::move(prompt));
  }
  return workload;
}

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_STORY_WORKLOAD_HPP
