// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_FAMILIES_HPP
#define MORPHKV_BENCH_TASKS_FAMILIES_HPP

// The three families of tasks behind one interface: what writes, grades and describes each.

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "grader.hpp"
#include "questions_grader.hpp"
#include "saga_grader.hpp"

namespace morphkv::tasks {

// Example i of a run has its own seed, so that it does not depend on how many are written.
[[nodiscard]] inline std::uint64_t example_seed(std::uint64_t seed, int index) {
  return seed * 1000003U + static_cast<std::uint64_t>(index);
}

template <class WriterOf, class GraderOf, class GradeOf>
struct Family {
  using Grade = GradeOf;
  WriterOf writer;
  GraderOf grader{writer};
};
using TravelLogFamily = Family<TravelLog, Grader, Grade>;
using SagaFamily = Family<SagaWriter, SagaGrader, SagaGrade>;
using QuestionsFamily = Family<QuestionsWriter, QuestionsGrader, QuestionsGrade>;

// The columns of a family's table, in the order in which they are printed.
using Columns = std::vector<std::pair<const char*, double>>;

[[nodiscard]] inline Columns columns(const Grade& grade) {
  return {{"completion", grade.completion()},
          {"once", grade.accuracy(RuleKind::once)},
          {"range", grade.accuracy(RuleKind::range)},
          {"periodic", grade.accuracy(RuleKind::periodic)}};
}
[[nodiscard]] inline Columns columns(const SagaGrade& grade) {
  return {{"completion", grade.completion()},
          {"plan", grade.plan()},
          {"home", grade.consistency(0)},
          {"trade", grade.consistency(1)},
          {"keepsake", grade.consistency(2)}};
}
[[nodiscard]] inline Columns columns(const QuestionsGrade& grade) {
  return {{"completion", grade.completion()},
          {"retrieval", grade.accuracy(QuestionKind::retrieval)},
          {"multi_hop", grade.accuracy(QuestionKind::multi_hop)},
          {"few_shot", grade.accuracy(QuestionKind::few_shot)},
          {"count", grade.accuracy(QuestionKind::count)}};
}

// "completion 1.0000 once 0.9821 ..."
template <class AnyGrade>
[[nodiscard]] std::string describe(const AnyGrade& grade) {
  std::string text;
  for (const auto& [name, value] : columns(grade)) {
    char number[16];
    std::snprintf(number, sizeof number, "%.4f", value);
    text += (text.empty() ? "" : " ") + std::string(name) + " " + number;
  }
  return text;
}

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_FAMILIES_HPP
