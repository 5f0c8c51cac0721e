// SPDX-License-Identifier: Apache-2.0
/// \file
/// LongBench-Write and LongWrite-Ruler (LongWriter, arXiv 2408.07055): texts of a given length.
#ifndef MORPHKV_BENCH_PAPERS_LONGWRITER_HPP
#define MORPHKV_BENCH_PAPERS_LONGWRITER_HPP

#include <cstddef>
#include <string>

#include "papers/records.hpp"
#include "papers/scores/length_score.hpp"
#include "papers/task.hpp"

namespace morphkv::papers {

namespace detail {

/// The paper's ranges of lengths.
[[nodiscard]] inline std::string length_range(std::size_t words) {
  return words < 500    ? "below 500"
         : words < 2000 ? "500-2000"
         : words < 4000 ? "2000-4000"
                        : "from 4000";
}

}  // namespace detail

[[nodiscard]] inline Task longwriter_task(const Record& record, const TaskOptions& options) {
  constexpr std::size_t max_words = 10000000;
  const std::size_t asked = record.count("length", 1, max_words);
  Task task;
  task.place = record.path().string();
  task.benchmark = "LongWriter";
  task.group = detail::length_range(asked);
  task.measure = "length score";
  task.not_scored = "the quality S_q: eval_quality.py asks a model";
  task.prompt = record.text("prompt");
  task.chat = true;
  task.max_tokens = options.max_tokens.value_or(32768);
  task.score = [asked](const std::string& response) {
    return length_score(asked, count_words(response));
  };
  task.prediction = [kept = Json(record.object())](const std::string& response) {
    Json result = kept;
    result["response_length"] = count_words(response);
    result["response"] = response;
    return result;
  };
  return task;
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_LONGWRITER_HPP
