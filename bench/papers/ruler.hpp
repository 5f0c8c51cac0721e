// SPDX-License-Identifier: Apache-2.0
/// \file
/// RULER (arXiv 2404.06654): strings to find in a long prompt.
#ifndef MORPHKV_BENCH_PAPERS_RULER_HPP
#define MORPHKV_BENCH_PAPERS_RULER_HPP

#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "papers/records.hpp"
#include "papers/scores/string_match.hpp"
#include "papers/task.hpp"

namespace morphkv::papers {

namespace detail {

/// The tokens that a response has, as the authors set them.
struct RulerTask {
  std::string_view prefix;  ///< of the task's name
  std::size_t max_tokens;
  bool part;  ///< one of the strings is enough
};
inline constexpr std::array<RulerTask, 5> ruler_tasks = {{{"niah", 128, false},
                                                          {"vt", 30, false},
                                                          {"cwe", 120, false},
                                                          {"fwe", 50, false},
                                                          {"qa", 32, true}}};

[[nodiscard]] inline const RulerTask* ruler_task_of(std::string_view name) {
  for (const RulerTask& task : ruler_tasks) {
    const std::string_view rest = name.substr((std::min)(task.prefix.size(), name.size()));
    if (name.starts_with(task.prefix) && (rest.empty() || rest.front() == '_')) return &task;
  }
  return nullptr;
}

}  // namespace detail

/// The task's name, from where it begins in the name of the file, as in niah_multikey_3.jsonl, or
/// of its folder, as in qa_1/validation.jsonl.
/// \throws std::runtime_error if neither has the name of a task
[[nodiscard]] inline std::string ruler_name(const std::filesystem::path& file) {
  for (const std::string& name :
       {file.stem().string(), std::filesystem::absolute(file).parent_path().filename().string()}) {
    for (std::size_t at = 0; at < name.size(); at = name.find_first_of("_-", at) + 1) {
      if (detail::ruler_task_of(name.substr(at)) != nullptr) return name.substr(at);
      if (name.find_first_of("_-", at) == std::string::npos) break;
    }
  }
  support::fail(file,
                "the score of a RULER file depends on its task: the name of the file or of its "
                "folder must have niah, vt, cwe, fwe or qa");
}

/// The file holds the whole prompt, with the chat format of the model that it was made for.
/// \param name what ruler_name() returns
[[nodiscard]] inline Task ruler_task(const Record& record, const std::string& name,
                                     const TaskOptions& options) {
  const std::vector<std::string> outputs = texts(record, "outputs", 1);
  const std::string input =
      record.text("input") + (record.has("answer_prefix") ? record.text("answer_prefix") : "");
  const std::size_t index = record.count("index", 0, static_cast<std::size_t>(-1));
  const auto field = [&](const char* key, Json otherwise) {
    return record.has(key) ? Json(record.object()[key]) : otherwise;
  };
  const Json others = field("others", Json::object());
  const Json truncation = field("truncation", -1);
  const Json length = field("length", -1);
  const detail::RulerTask& kind = *detail::ruler_task_of(name);

  Task task;
  task.place = record.path().string();
  task.benchmark = "RULER";
  task.group = name;
  task.measure = kind.part ? "one string matches" : "strings that match";
  task.prompt = input;
  task.max_tokens = options.max_tokens.value_or(kind.max_tokens);
  task.score = [outputs, part = kind.part](const std::string& response) {
    return part ? match_part(response, outputs) : match_all(response, outputs);
  };
  task.prediction = [=](const std::string& response) {
    return Json{{"index", index},     {"pred", response}, {"input", input},
                {"outputs", outputs}, {"others", others}, {"truncation", truncation},
                {"length", length}};
  };
  return task;
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_RULER_HPP
