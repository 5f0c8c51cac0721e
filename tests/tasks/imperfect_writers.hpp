// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_TESTS_BENCH_IMPERFECT_WRITERS_HPP
#define MORPHKV_TESTS_BENCH_IMPERFECT_WRITERS_HPP

// Responses for the tests of the tasks: the expected one, and those of writers who write perfectly
// but do not see everything.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tasks/random.hpp"
#include "tasks/text.hpp"

namespace morphkv::tasks {

[[nodiscard]] inline std::vector<int> expected_response(const Text& text) {
  std::vector<int> ids;
  for (const ResponseToken& token : text.response) ids.push_back(token.id);
  return ids;
}

// Where the response says what is graded.
[[nodiscard]] inline std::vector<std::size_t> graded_tokens(const Text& text) {
  std::vector<std::size_t> graded;
  for (std::size_t i = 0; i < text.response.size(); ++i) {
    if (is_graded(text.response[i].kind)) graded.push_back(i);
  }
  return graded;
}

[[nodiscard]] inline std::size_t full_size(const Text& text) {
  return text.prompt.size() + text.response.size();
}

// Writes what is graded as it stands at its source if `sees(source, position)`; if not, writes
// `wrong`. A mistake goes on wherever it is the source.
template <class Sees>
[[nodiscard]] std::vector<int> write_with(const Text& text, int wrong, Sees sees) {
  std::vector<int> ids = text.prompt;
  for (const ResponseToken& token : text.response) {
    int id = token.id;
    if (is_graded(token.kind)) {
      const auto source = static_cast<std::size_t>(token.source);
      const bool seen = sees(source, ids.size());
      const bool copied = source >= text.prompt.size();
      id = !seen ? wrong : copied ? ids[source] : token.id;
    }
    ids.push_back(id);
  }
  return {ids.begin() + static_cast<std::ptrdiff_t>(text.prompt.size()), ids.end()};
}

// Sees the first four tokens and the most recent ones.
[[nodiscard]] inline std::vector<int> write_with_sinks_and_recent(const Text& text, int wrong,
                                                                  std::size_t budget) {
  return write_with(text, wrong, [=](std::size_t source, std::size_t now) {
    return source < 4 || now - source <= budget - 4;
  });
}

// Sees as much of the prompt as the budget allows, and the most recent tokens in the rest.
[[nodiscard]] inline std::vector<int> write_with_prompt_and_recent(const Text& text, int wrong,
                                                                   std::size_t budget) {
  const std::size_t prompt = text.prompt.size() < budget ? text.prompt.size() : budget;
  return write_with(text, wrong, [=](std::size_t source, std::size_t now) {
    return source < prompt || now - source <= budget - prompt;
  });
}

// Sees every position with the chance `budget` / (all tokens).
[[nodiscard]] inline std::vector<int> write_with_random(const Text& text, int wrong,
                                                        std::size_t budget) {
  Random random(1);
  const double share = static_cast<double>(budget) / static_cast<double>(full_size(text));
  std::vector<bool> kept(full_size(text));
  std::generate(kept.begin(), kept.end(), [&] { return random.fraction() < share; });
  return write_with(text, wrong,
                    [&](std::size_t source, std::size_t /*now*/) { return bool{kept[source]}; });
}

// What the best of these three reaches with `percent` of all tokens, on average over 20 examples.
// `wrong` is the word of a writer who does not know.
template <class Writer, class Grader, class Options>
[[nodiscard]] double best_trivial_control(const Writer& writer, const Grader& grader,
                                          const Options& options, std::size_t percent, int wrong) {
  constexpr int examples = 20;
  std::array<double, 3> means{};
  for (std::uint64_t seed = 0; seed < examples; ++seed) {
    const auto example = writer.make(options, seed);
    const std::size_t budget = full_size(example) * percent / 100;
    const std::array responses = {write_with_sinks_and_recent(example, wrong, budget),
                                  write_with_prompt_and_recent(example, wrong, budget),
                                  write_with_random(example, wrong, budget)};
    for (std::size_t i = 0; i < means.size(); ++i) {
      means[i] += grader.grade(example, responses[i]).average() / examples;
    }
  }
  return *std::max_element(means.begin(), means.end());
}

}  // namespace morphkv::tasks

#endif  // MORPHKV_TESTS_BENCH_IMPERFECT_WRITERS_HPP
