// SPDX-License-Identifier: Apache-2.0
/// \file
/// LongGenBench (arXiv 2409.02076): long responses with numbered entries.
#ifndef MORPHKV_BENCH_PAPERS_LONGGENBENCH_HPP
#define MORPHKV_BENCH_PAPERS_LONGGENBENCH_HPP

#include <cstddef>
#include <filesystem>
#include <string>

#include "papers/records.hpp"
#include "papers/scores/completion_rate.hpp"
#include "papers/task.hpp"
#include "papers/text.hpp"

namespace morphkv::papers {

/// The model continues the prompt as it is, which ends with the beginning of entry 1.
[[nodiscard]] inline Task longgenbench_task(const Record& record, const TaskOptions& options) {
  constexpr std::size_t max_number = 100000;
  Json kept = {{"input", record.text("prompt")}};
  for (const char* checks : {"checks_once", "checks_range", "checks_periodic"}) {
    kept[checks] = record.part(checks).object();
  }
  const std::string type = record.text("type");
  const std::size_t number = record.count("number", 1, max_number);
  kept["type"] = type;
  kept["number"] = number;
  const std::string prefix = record.text("prefix");

  Task task;
  task.place = record.path().string();
  task.benchmark = "LongGenBench";
  task.group = type;
  task.measure = "completion rate";
  task.not_scored = "what the entries say (checks_once, _range, _periodic): eval.py asks a model";
  task.prompt = record.text("prompt");
  task.max_tokens = options.max_tokens.value_or(16000);
  task.stop = "*** finished";
  task.score = [prefix, type, number](const std::string& response) {
    return completion_rate(prefix + response, type, number);
  };
  task.prediction = [kept, prefix](const std::string& response) {
    const std::string text = prefix + response;
    Json result = kept;
    result["output_blocks"] = split(text, entry_mark);
    result["word_count"] = words(characters(text)).size();
    return result;
  };
  return task;
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_LONGGENBENCH_HPP
