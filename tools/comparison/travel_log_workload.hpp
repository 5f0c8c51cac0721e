// SPDX-License-Identifier: Apache-2.0
/// \file
/// The travel log of bench/tasks: a long response with instructions, graded by exact rules.
#ifndef MORPHKV_TOOLS_COMPARISON_TRAVEL_LOG_WORKLOAD_HPP
#define MORPHKV_TOOLS_COMPARISON_TRAVEL_LOG_WORKLOAD_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "comparison/task_prompt.hpp"
#include "comparison/workload.hpp"
#include "llama/tokenizer.hpp"
#include "tasks/grader.hpp"
#include "tasks/travel_log.hpp"

namespace morphkv::comparison {

/// Whether the model's vocabulary is that of the task.
[[nodiscard]] inline bool speaks_travel_log(const llama::Tokenizer& tokenizer,
                                            std::size_t vocabulary) {
  const tasks::TravelLog task;
  const auto& words = task.vocabulary().words();
  if (vocabulary != words.size()) return false;
  for (std::size_t id = 0; id < vocabulary; ++id) {
    if (tokenizer.piece(-1, static_cast<int>(id)) != words[id]) return false;
  }
  return true;
}

namespace detail {

[[nodiscard]] inline Score judge_travel_log(const tasks::TravelLog& task,
                                            const tasks::Example& example,
                                            std::span<const int> response) {
  constexpr std::array<const char*, 3> kinds = {"once", "range", "periodic"};
  const tasks::Grade grade = tasks::Grader(task).grade(example, response);
  Score score{grade.average(),
              {grade.completion(), grade.accuracy(tasks::RuleKind::once),
               grade.accuracy(tasks::RuleKind::range), grade.accuracy(tasks::RuleKind::periodic)},
              {}};
  for (const tasks::Check& check : grade.checks) {
    const std::string label = std::string("day ") + std::to_string(check.entry) + ", " +
                              kinds[static_cast<std::size_t>(check.kind)];
    score.checks.push_back({check.begin, check.end, check.correct, label});
  }
  return score;
}

[[nodiscard]] inline Prompt travel_log_prompt(const std::shared_ptr<const tasks::TravelLog>& task,
                                              const tasks::Options& options, std::uint64_t seed) {
  const auto example = std::make_shared<const tasks::Example>(task->make(options, seed));
  Prompt prompt = task_prompt(*example);
  prompt.make_chooser = sampled(seed);
  prompt.judge = [task, example](std::span<const int> response) {
    return judge_travel_log(*task, *example, response);
  };
  return prompt;
}

}  // namespace detail

/// \param seeds of the prompts, in turns
[[nodiscard]] inline Workload travel_log_workload(std::size_t prompts,
                                                  std::span<const std::uint64_t> seeds,
                                                  const tasks::Options& options = {}) {
  const auto task = std::make_shared<const tasks::TravelLog>();
  Workload workload;
  workload.task = "travel log";
  workload.description =
      "The prompt lists rules: what some travellers say on one day, on several days in a row or "
      "every few days, among many rules about people who stay at home. The response is the log of "
      "the journey, one entry a day. What a traveller has to say was told hundreds of words "
      "before: in the prompt, or in an earlier entry, where the writer chose it.";
  workload.measure = "demands of the prompt that the response fulfils, word for word";
  workload.columns = {"completion", "once", "range", "periodic"};
  workload.line_token = static_cast<std::size_t>(task->vocabulary().id("day"));
  for (std::size_t index = 0; index < prompts; ++index) {
    workload.prompts.push_back(detail::travel_log_prompt(task, options, prompt_seed(seeds, index)));
  }
  return workload;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_TRAVEL_LOG_WORKLOAD_HPP
