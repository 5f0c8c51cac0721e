// SPDX-License-Identifier: Apache-2.0
// How well a model does the tasks with its full cache: it writes freely, and exact rules grade it.
//
//   check_model --model bench/models/three-tasks --examples 16

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "comparison/parallel.hpp"
#include "llama/load.hpp"
#include "llama/session.hpp"
#include "morphkv/policy/full.hpp"
#include "support/program.hpp"
#include "tasks/families.hpp"
#include "tasks/sampler.hpp"

namespace {

using namespace morphkv;
using namespace morphkv::tasks;

struct Arguments {
  std::filesystem::path model;
  int examples = 16;
  std::uint64_t seed = 2;
  std::size_t threads = 2;
  double min_p = 0.2;
  std::vector<int> lengths = {1000, 2000, 4000, 8000, 12000};
  std::vector<int> prompts = {0};
  std::vector<std::string> tasks = {"travel-log", "saga", "questions"};
};

// Greedy with min_p 1, otherwise sampled. Stops where the grader sees the end.
template <class AnyFamily, class Example>
std::vector<int> write_freely(const llama::Model& model, const AnyFamily& family,
                              const Example& example, double min_p, std::uint64_t seed) {
  const std::size_t most = example.response.size() + example.response.size() / 8 + 2;
  llama::Session<Full, float> session(model, {.max_tokens = example.prompt.size() + most});
  Random random(seed);
  std::vector<int> response;
  std::span<const float> logits = session.prefill(example.prompt);
  while (response.size() < most) {
    response.push_back(sample_min_p(logits, min_p, random));
    if (family.grader.finished(example, response)) break;
    logits = session.step(response.back());
  }
  return response;
}

template <class AnyFamily, class Options>
void check(const Arguments& arguments, const llama::Model& model, const AnyFamily& family,
           const Options& options, double min_p, const std::string& title) {
  typename AnyFamily::Grade total;
  double average = 0;
  std::mutex mutex;
  const auto count = static_cast<std::size_t>(arguments.examples);
  comparison::run_in_parallel(count, arguments.threads, [&](std::size_t i) {
    const std::uint64_t seed = example_seed(arguments.seed, static_cast<int>(i));
    const auto example = family.writer.make(options, seed);
    const auto response = write_freely(model, family, example, min_p, seed);
    const auto grade = family.grader.grade(example, response);
    const std::lock_guard lock(mutex);
    total += grade;
    average += grade.average() / arguments.examples;
  });
  std::printf("%s: %s average %.4f\n", title.c_str(), describe(total).c_str(), average);
  std::fflush(stdout);
}

void check_task(const Arguments& arguments, const llama::Model& model, const std::string& task) {
  if (task == "questions") {
    for (const int length : arguments.lengths) {
      check(arguments, model, QuestionsFamily{}, QuestionsOptions{.prompt_tokens = length}, 1,
            "questions, prompt " + std::to_string(length));
    }
    return;
  }
  for (const int length : arguments.lengths) {
    const std::string title = task + ", response " + std::to_string(length);
    if (task == "saga") {
      check(arguments, model, SagaFamily{}, open_writing(length), arguments.min_p, title);
      continue;
    }
    for (const int given : arguments.prompts) {
      const int prompt = given > 0 ? given : length;
      check(arguments, model, TravelLogFamily{}, long_response(length, prompt), arguments.min_p,
            title + ", prompt " + std::to_string(prompt));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Grades what a model writes with its full cache.");
  app.add_option("--model", arguments.model, "folder with config.json and safetensors")->required();
  app.add_option("--examples", arguments.examples, "of each task and length")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--seed", arguments.seed, "of the examples; training begins at a million")
      ->check(CLI::Range(0, 999999))
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "responses that are written at the same time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--tasks", arguments.tasks, "travel-log, saga, questions")
      ->delimiter(',')
      ->check(CLI::IsMember({"travel-log", "saga", "questions"}))
      ->capture_default_str();
  app.add_option("--lengths", arguments.lengths, "tokens of a response; of the questions' prompt")
      ->delimiter(',')
      ->check(CLI::Range(100, 20000))
      ->capture_default_str();
  app.add_option("--prompts", arguments.prompts,
                 "travel log: tokens of a prompt; 0 for as many as in the response")
      ->delimiter(',')
      ->check(CLI::Range(0, 20000))
      ->capture_default_str();
  app.add_option("--min-p", arguments.min_p, "saga: min-p sampling, 1 for greedy")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  return support::run_program("check_model", app, argc, argv, [&] {
    const llama::Model model = llama::ModelFiles(arguments.model).load();
    for (const std::string& task : arguments.tasks) check_task(arguments, model, task);
  });
}
