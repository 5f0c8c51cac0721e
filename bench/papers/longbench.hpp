// SPDX-License-Identifier: Apache-2.0
/// \file
/// LongBench (arXiv 2308.14508): questions over a long context, with short answers.
#ifndef MORPHKV_BENCH_PAPERS_LONGBENCH_HPP
#define MORPHKV_BENCH_PAPERS_LONGBENCH_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "papers/records.hpp"
#include "papers/scores/class_match.hpp"
#include "papers/scores/edit_similarity.hpp"
#include "papers/scores/number_match.hpp"
#include "papers/scores/rouge_l.hpp"
#include "papers/scores/token_f1.hpp"
#include "papers/task.hpp"
#include "papers/text.hpp"

namespace morphkv::papers {

namespace detail {

enum class Measure { f1, rouge, classification, retrieval, count, edit };

[[nodiscard]] inline const char* to_string(Measure measure) {
  constexpr std::array<const char*, 6> names = {"F1",        "ROUGE-L", "classification",
                                                "retrieval", "count",   "edit similarity"};
  return names.at(static_cast<std::size_t>(measure));
}

struct Dataset {
  std::string_view name;
  Measure measure;
  bool chat = true;            ///< the authors use the chat format
  bool first_line = false;     ///< only the first line is scored
  bool chinese_words = false;  ///< the score depends on the words of a Chinese text
};

// Chat formats and scores: the paper's table 1, and its code where the table is silent.
inline constexpr std::array<Dataset, 21> datasets = {{
    {"narrativeqa", Measure::f1},
    {"qasper", Measure::f1},
    {"multifieldqa_en", Measure::f1},
    {"multifieldqa_zh", Measure::f1, true, false, true},
    {"hotpotqa", Measure::f1},
    {"2wikimqa", Measure::f1},
    {"musique", Measure::f1},
    {"dureader", Measure::rouge, true, false, true},
    {"gov_report", Measure::rouge},
    {"qmsum", Measure::rouge},
    {"multi_news", Measure::rouge},
    {"vcsum", Measure::rouge, true, false, true},
    {"trec", Measure::classification, false, true},
    {"triviaqa", Measure::f1, false, true},
    {"samsum", Measure::rouge, false, true},
    {"lsht", Measure::classification, false, true},
    {"passage_count", Measure::count},
    {"passage_retrieval_en", Measure::retrieval},
    {"passage_retrieval_zh", Measure::retrieval},
    {"lcc", Measure::edit, false},
    {"repobench-p", Measure::edit, false},
}};

/// \throws std::runtime_error if the record's dataset is none of them
[[nodiscard]] inline const Dataset& dataset_of(const Record& record) {
  const std::string name = record.text("dataset");
  std::string known;
  for (const Dataset& dataset : datasets) {
    if (dataset.name == name) return dataset;
    known += (known.empty() ? "" : ", ") + std::string(dataset.name);
  }
  support::fail(record.path(), "dataset = \"" + name + "\": must be one of " + known);
}

/// Prompts of our own, for a user who has none of the authors'.
[[nodiscard]] inline std::string default_template(Measure measure) {
  switch (measure) {
    case Measure::f1:
      return "{context}\n\nAnswer briefly.\nQuestion: {input}\nAnswer:";
    case Measure::rouge:
      return "{context}\n\nWrite a summary of the text. {input}\nSummary:";
    case Measure::retrieval:
      return "{context}\n\n{input}\n\nWhich of the paragraphs above does this describe? Answer "
             "with its name.\nAnswer:";
    case Measure::count:
      return "{context}\n\nHow many different paragraphs are above? Answer with a number.\nAnswer:";
    case Measure::classification:
      return "{context}\n{input}";
    case Measure::edit:
      break;
  }
  return "{context}{input}";
}

/// The template with the record's texts in place of {field}; {{ and }} are braces.
/// \param place of the template, for messages
[[nodiscard]] inline std::string filled(std::string_view pattern, const Record& record,
                                        const std::string& place) {
  std::string result;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c != '{' && c != '}') {
      result += c;
    } else if (at + 1 < pattern.size() && pattern[at + 1] == c) {
      result += c;
      ++at;
    } else {
      const std::size_t end = c == '{' ? pattern.find('}', at) : std::string_view::npos;
      if (end == std::string_view::npos) {
        support::fail(place, "the template has a single brace; it must have {field}, {{ or }}");
      }
      result += record.text(std::string(pattern.substr(at + 1, end - at - 1)));
      at = end;
    }
  }
  return result;
}

/// The score of a prediction beside one answer.
using AnswerScore = std::function<double(const std::string& prediction, const std::string& answer)>;

[[nodiscard]] inline AnswerScore answer_score(Measure measure, const Record& record) {
  switch (measure) {
    case Measure::f1:
      return token_f1;
    case Measure::rouge:
      return rouge_l;
    case Measure::count:
      return number_match;
    case Measure::edit:
      return edit_similarity;
    case Measure::classification:
      return [classes = texts(record, "all_classes", 1)](const std::string& prediction,
                                                         const std::string& answer) {
        return class_match(prediction, answer, classes);
      };
    case Measure::retrieval:
      break;
  }
  const std::string before = record.text("dataset").ends_with("_zh") ? "段落" : "Paragraph ";
  for (const std::string& answer : texts(record, "answers", 1)) {
    support::expect(!number_after(answer, before).empty(), record.path(), "answers", answer,
                    "\"" + before + "\" and a number");
  }
  return [before](const std::string& prediction, const std::string& answer) {
    return number_match(prediction, number_after(answer, before));
  };
}

}  // namespace detail

[[nodiscard]] inline Task longbench_task(const Record& record, const TaskOptions& options) {
  using detail::Measure;
  const detail::Dataset& dataset = detail::dataset_of(record);
  const std::string name(dataset.name);
  const std::vector<std::string> answers = texts(record, "answers", 1);
  const bool has_classes = record.has("all_classes");
  const Json kept = {{"answers", answers},
                     {"all_classes", has_classes ? Json(texts(record, "all_classes", 0)) : Json()},
                     {"length", record.count("length", 0, static_cast<std::size_t>(-1))}};
  const auto& templates = options.templates;
  const auto& lengths = options.max_lengths;

  Task task;
  task.place = record.path().string();
  task.benchmark = "LongBench";
  task.group = name;
  task.measure = detail::to_string(dataset.measure);
  task.output = name + ".jsonl";
  task.prompt =
      detail::filled(templates ? templates->text(name) : detail::default_template(dataset.measure),
                     record, templates ? templates->path().string() + ", " + name : std::string());
  task.chat = dataset.chat;
  task.truncate = true;
  const std::size_t default_tokens = dataset.measure == Measure::rouge ? 512 : 128;
  task.max_tokens = options.max_tokens ? *options.max_tokens
                    : lengths          ? lengths->count(name, 1, 1000000)
                                       : default_tokens;
  if (name == "samsum") task.stop = "\n";
  if (dataset.chinese_words) {
    task.not_scored = task.measure + " of " + name + ": eval.py segments Chinese words with jieba";
  } else {
    task.score = [answers, first_line = dataset.first_line,
                  score =
                      detail::answer_score(dataset.measure, record)](const std::string& response) {
      std::string scored = response;
      if (first_line) scored = split(without_leading_newlines(response), "\n").front();
      double best = 0;
      for (const std::string& answer : answers) best = (std::max)(best, score(scored, answer));
      return best;
    };
  }
  task.prediction = [kept](const std::string& response) {
    Json result = {{"pred", response}};
    result.update(kept);
    return result;
  };
  return task;
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_LONGBENCH_HPP
