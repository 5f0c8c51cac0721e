// SPDX-License-Identifier: Apache-2.0
/// \file
/// One prompt of a benchmark.
#ifndef MORPHKV_BENCH_PAPERS_TASK_HPP
#define MORPHKV_BENCH_PAPERS_TASK_HPP

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "support/json_file.hpp"

namespace morphkv::papers {

using Json = nlohmann::ordered_json;

struct Task {
  std::string place;           ///< file and line
  std::string benchmark;       ///< its name
  std::string group;           ///< the tasks whose scores have a mean: a type, a dataset, a length
  std::string measure;         ///< the name of the score
  std::string not_scored;      ///< what else the authors score, and why it is not scored here
  std::string output;          ///< the name of the file of predictions
  std::string prompt;          ///< before the model's chat format
  bool chat = false;           ///< the authors use the chat format
  bool truncate = false;       ///< the authors cut the middle of a prompt that is too long
  std::size_t max_tokens = 0;  ///< of the response
  std::string stop;            ///< the response ends before this text; empty: none
  /// The score of a response in [0, 1]; empty if it is not scored here.
  std::function<double(const std::string& response)> score;
  /// What the authors' scripts read.
  std::function<Json(const std::string& response)> prediction;
};

/// What the user sets about prompts.
struct TaskOptions {
  std::optional<std::size_t> max_tokens;         ///< of a response; absent: as the authors
  std::optional<support::JsonFile> templates;    ///< LongBench's dataset2prompt.json
  std::optional<support::JsonFile> max_lengths;  ///< LongBench's dataset2maxlen.json
};

/// Where a response ends before `stop`; npos if it does not have it. Leading line ends do not
/// count: LongBench forces at least one token before the end of a line.
[[nodiscard]] inline std::size_t end_of_response(const std::string& response,
                                                 const std::string& stop) {
  const std::size_t begin = response.find_first_not_of('\n');
  return stop.empty() || begin == std::string::npos ? std::string::npos
                                                    : response.find(stop, begin);
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_TASK_HPP
