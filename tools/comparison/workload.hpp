// SPDX-License-Identifier: Apache-2.0
/// \file
/// The prompts of a task, and how responses are graded.
#ifndef MORPHKV_TOOLS_COMPARISON_WORKLOAD_HPP
#define MORPHKV_TOOLS_COMPARISON_WORKLOAD_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace morphkv::comparison {

/// One demand of the task, and the part of the response that answers it.
struct Check {
  std::size_t begin = 0;  ///< tokens [begin, end) of the response; empty if nothing answers
  std::size_t end = 0;
  bool correct = false;
  std::string label;
};

struct Score {
  double accuracy = 0;
  std::vector<double> columns;  ///< as Workload::columns names them
  std::vector<Check> checks;
};

/// Token `step` of the response depends on the token at `position`.
struct Need {
  std::size_t step = 0;
  std::size_t position = 0;
};

/// Chooses a response's next token from its logits.
using Chooser = std::function<int(std::span<const float>)>;

struct Prompt {
  std::vector<int> tokens;
  std::size_t response_tokens = 0;  ///< length of the response
  /// Whether a response is complete; empty: at the length.
  std::function<bool(std::span<const int>)> is_complete;
  /// A chooser for one response, the same for every policy; empty: the most likely token.
  std::function<Chooser()> make_chooser;
  std::vector<Need> needs;  ///< ascending by step; empty if unknown
  /// Grades a response; empty if the task has no rules.
  std::function<Score(std::span<const int>)> judge;
};

/// The seed of a prompt: those of each of `seeds` in turns. They are the seeds of
/// bench/tasks/write_tasks.cpp; training begins at a million.
[[nodiscard]] inline std::uint64_t prompt_seed(std::span<const std::uint64_t> seeds,
                                               std::size_t index) {
  return seeds[index % seeds.size()] * 1000003U + index / seeds.size();
}

struct Workload {
  std::string task;         ///< its name
  std::string description;  ///< a sentence or two
  std::string measure;      ///< what the accuracy counts; empty without rules
  std::vector<Prompt> prompts;
  std::size_t line_token = 0;        ///< begins a new line in print; 0 for none
  std::vector<std::string> columns;  ///< what the accuracy consists of
  std::size_t loss_prompts = 0;  ///< for how many the full cache's loss on a response is measured

  [[nodiscard]] bool is_graded() const { return !measure.empty(); }
};

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_WORKLOAD_HPP
