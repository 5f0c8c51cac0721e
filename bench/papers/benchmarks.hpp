// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which benchmark a file is of.
#ifndef MORPHKV_BENCH_PAPERS_BENCHMARKS_HPP
#define MORPHKV_BENCH_PAPERS_BENCHMARKS_HPP

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "papers/longbench.hpp"
#include "papers/longgenbench.hpp"
#include "papers/longwriter.hpp"
#include "papers/records.hpp"
#include "papers/ruler.hpp"
#include "papers/task.hpp"

namespace morphkv::papers {

namespace detail {

/// The record's task, by the fields that it has.
[[nodiscard]] inline Task task_of(const Record& record, const std::filesystem::path& file,
                                  const TaskOptions& options) {
  const auto has = [&](const char* field) { return record.object().contains(field); };
  if (has("checks_once")) return longgenbench_task(record, options);
  if (has("context")) return longbench_task(record, options);
  if (has("outputs")) return ruler_task(record, ruler_name(file), options);
  if (has("prompt") && has("length")) return longwriter_task(record, options);
  support::fail(record.path(),
                "the fields are of none of the benchmarks: LongGenBench (prompt, checks_once, "
                "checks_range, checks_periodic, type, prefix, number), LongWriter (prompt, "
                "length), LongBench (input, context, answers, length, dataset, all_classes), RULER "
                "(index, input, outputs)");
}

}  // namespace detail

/// The tasks of a file, which are of one benchmark: the first `limit` of each group.
/// \throws std::runtime_error naming file, line and field if something is not valid
[[nodiscard]] inline std::vector<Task> read_tasks(
    const std::filesystem::path& file, const TaskOptions& options,
    std::size_t limit = static_cast<std::size_t>(-1)) {
  std::vector<Task> tasks;
  std::map<std::string, std::size_t> counts;
  std::string benchmark;
  for (const Record& record : read_records(file)) {
    Task task = detail::task_of(record, file, options);
    if (benchmark.empty()) benchmark = task.benchmark;
    if (task.benchmark != benchmark) {
      support::fail(record.path(), "the fields are those of " + task.benchmark +
                                       ", but the first object's those of " + benchmark);
    }
    if (task.output.empty()) {
      task.output = file.stem().string() + (benchmark == "LongGenBench" ? ".json" : ".jsonl");
    }
    if (++counts[task.group] <= limit) tasks.push_back(std::move(task));
  }
  return tasks;
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_BENCHMARKS_HPP
