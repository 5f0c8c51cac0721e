// SPDX-License-Identifier: Apache-2.0
/// \file
/// Open writing and questions over a long prompt, from bench/tasks.
#ifndef MORPHKV_BENCH_ACCURACY_WORKLOADS_HPP
#define MORPHKV_BENCH_ACCURACY_WORKLOADS_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "comparison/task_prompt.hpp"
#include "comparison/workload.hpp"
#include "tasks/distinct_ngrams.hpp"
#include "tasks/questions.hpp"
#include "tasks/questions_grader.hpp"
#include "tasks/saga.hpp"
#include "tasks/saga_grader.hpp"
#include "tasks/sampler.hpp"

namespace morphkv::accuracy {

using Seeds = std::span<const std::uint64_t>;

namespace detail {

inline constexpr std::size_t distinct_run = 4;  ///< tokens

[[nodiscard]] inline comparison::Score judge_saga(const tasks::SagaGrade& grade,
                                                  std::span<const int> response) {
  comparison::Score score{grade.average(), {grade.completion(), grade.plan()}, {}};
  for (std::size_t a = 0; a < tasks::Saga::attributes; ++a) {
    score.columns.push_back(grade.consistency(a));
  }
  score.columns.push_back(tasks::distinct_ngrams(response, distinct_run));
  constexpr std::array<const char*, tasks::Saga::attributes> names = {"home", "trade", "keepsake"};
  for (const tasks::SagaCheck& check : grade.checks) {
    score.checks.push_back(
        {check.begin, check.end, check.correct,
         "scene " + std::to_string(check.scene) + ", " + names[check.attribute]});
  }
  return score;
}

[[nodiscard]] inline comparison::Prompt saga_prompt(
    const std::shared_ptr<const tasks::SagaWriter>& writer, const tasks::SagaOptions& options,
    std::uint64_t seed) {
  const auto saga = std::make_shared<const tasks::Saga>(writer->make(options, seed));
  comparison::Prompt prompt = comparison::task_prompt(*saga);
  prompt.needs.clear();  // the response is free: it need not be the expected one
  prompt.response_tokens += prompt.response_tokens / 8;
  prompt.make_chooser = comparison::sampled(seed);
  const auto grader = std::make_shared<const tasks::SagaGrader>(*writer);
  prompt.is_complete = [writer, grader, saga](std::span<const int> response) {
    return grader->finished(*saga, response);
  };
  prompt.judge = [writer, grader, saga](std::span<const int> response) {
    return judge_saga(grader->grade(*saga, response), response);
  };
  return prompt;
}

[[nodiscard]] inline comparison::Score judge_answers(const tasks::QuestionsGrade& grade) {
  constexpr std::array<const char*, 4> names = {"retrieval", "multi-hop", "few-shot", "count"};
  comparison::Score score{grade.average(), {grade.completion()}, {}};
  for (std::size_t kind = 0; kind < names.size(); ++kind) {
    score.columns.push_back(grade.accuracy(static_cast<tasks::QuestionKind>(kind)));
  }
  for (const tasks::QuestionCheck& check : grade.checks) {
    score.checks.push_back({check.begin, check.end, check.correct,
                            "question " + std::to_string(check.question + 1) + ", " +
                                names.at(static_cast<std::size_t>(check.kind))});
  }
  return score;
}

[[nodiscard]] inline comparison::Prompt questions_prompt(
    const std::shared_ptr<const tasks::QuestionsWriter>& writer,
    const tasks::QuestionsOptions& options, std::uint64_t seed) {
  const auto questions = std::make_shared<const tasks::Questions>(writer->make(options, seed));
  comparison::Prompt prompt = comparison::task_prompt(*questions);
  const auto grader = std::make_shared<const tasks::QuestionsGrader>(*writer);
  prompt.is_complete = [grader, questions](std::span<const int> response) {
    return grader->finished(*questions, response);
  };
  prompt.judge = [grader, questions](std::span<const int> response) {
    return judge_answers(grader->grade(*questions, response));
  };
  return prompt;
}

}  // namespace detail

/// \param length tokens of a response, about
[[nodiscard]] inline comparison::Workload saga_workload(std::size_t prompts, Seeds seeds,
                                                        std::size_t length) {
  const auto writer = std::make_shared<const tasks::SagaWriter>();
  const tasks::SagaOptions options = tasks::open_writing(static_cast<int>(length));
  comparison::Workload workload;
  workload.task = "saga";
  workload.description =
      "The prompt is a plan: who is in each scene. The response writes the scenes, drawn from what "
      "the model finds likely. What it says about a person is its own choice the first time, and "
      "has to stay so when the person comes back, half of the response later on average.";
  workload.measure = "later statements about a person that agree with the first";
  workload.columns = {"completion", "plan", "home", "trade", "keepsake", "distinct"};
  workload.loss_prompts = 12;
  workload.line_token = static_cast<std::size_t>(writer->vocabulary().id("scene"));
  for (std::size_t index = 0; index < prompts; ++index) {
    workload.prompts.push_back(
        detail::saga_prompt(writer, options, comparison::prompt_seed(seeds, index)));
  }
  return workload;
}

/// \param length tokens of a prompt, about
[[nodiscard]] inline comparison::Workload questions_workload(std::size_t prompts, Seeds seeds,
                                                             std::size_t length) {
  const auto writer = std::make_shared<const tasks::QuestionsWriter>();
  tasks::QuestionsOptions options;
  options.prompt_tokens = static_cast<int>(length);
  comparison::Workload workload;
  workload.task = "questions";
  workload.description =
      "The prompt holds facts in any order, among phrases that tell nothing, and ends with eight "
      "questions: what a person has, what the friend of a person has, how words are translated in "
      "other lines, and how often a word stands there. The answers are short.";
  workload.measure = "questions that are answered right";
  workload.columns = {"completion", "retrieval", "multi-hop", "few-shot", "count"};
  for (std::size_t index = 0; index < prompts; ++index) {
    workload.prompts.push_back(
        detail::questions_prompt(writer, options, comparison::prompt_seed(seeds, index)));
  }
  return workload;
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_WORKLOADS_HPP
