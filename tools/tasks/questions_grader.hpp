// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_QUESTIONS_GRADER_HPP
#define MORPHKV_BENCH_TASKS_QUESTIONS_GRADER_HPP

// Grades answers by exact rules. The answer to a question is the first sentence of the response
// that begins with the word that was asked for; its last word must be the right one. So one wrong
// word spoils one check and shifts nothing.

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "questions.hpp"

namespace morphkv::tasks {

struct QuestionCheck {
  QuestionKind kind = QuestionKind::retrieval;
  std::size_t question = 0;  // index in Questions::asked
  bool correct = false;
  std::size_t begin = 0;  // the answer, without the word that was asked for: [begin, end) of the
  std::size_t end = 0;    // response; empty if there is none
};

struct QuestionsGrade {
  QuestionCounts demanded{};
  QuestionCounts correct{};
  int answered = 0;
  std::vector<QuestionCheck> checks;

  [[nodiscard]] double completion() const { return share(answered, total(demanded)); }
  [[nodiscard]] double accuracy(QuestionKind kind) const {
    const auto k = static_cast<std::size_t>(kind);
    return share(correct[k], demanded[k]);
  }
  // Over all questions.
  [[nodiscard]] double average() const { return share(total(correct), total(demanded)); }
  // Adds the counts of another response; its checks stay with it.
  QuestionsGrade& operator+=(const QuestionsGrade& other) {
    answered += other.answered;
    for (std::size_t k = 0; k < demanded.size(); ++k) {
      demanded[k] += other.demanded[k];
      correct[k] += other.correct[k];
    }
    return *this;
  }

 private:
  static int total(const QuestionCounts& counts) {
    int sum = 0;
    for (const int count : counts) {
      sum += count;
    }
    return sum;
  }
};

class QuestionsGrader {
 public:
  explicit QuestionsGrader(const QuestionsWriter& task)
      : stop_(task.vocabulary().id(".")), done_(task.vocabulary().id("done")) {}

  [[nodiscard]] QuestionsGrade grade(const Questions& example,
                                     std::span<const int> response) const {
    QuestionsGrade grade;
    for (std::size_t i = 0; i < example.asked.size(); ++i) {
      const Question& question = example.asked[i];
      const auto kind = static_cast<std::size_t>(question.kind);
      QuestionCheck check{question.kind, i, false, 0, 0};
      find_answer(response, question.key, check);
      check.correct = check.end > check.begin && response[check.end - 1] == question.answer;
      grade.answered += check.end > check.begin ? 1 : 0;
      ++grade.demanded[kind];
      grade.correct[kind] += check.correct ? 1 : 0;
      grade.checks.push_back(check);
    }
    return grade;
  }

  // Has the response reached its end? (A decoder may stop here.)
  [[nodiscard]] bool finished(const Questions& /*example*/, std::span<const int> response) const {
    return !response.empty() && response.back() == done_;
  }

 private:
  void find_answer(std::span<const int> response, int key, QuestionCheck& check) const {
    for (std::size_t begin = 0; begin < response.size();) {
      const auto rest = response.subspan(begin);
      const auto length =
          static_cast<std::size_t>(std::find(rest.begin(), rest.end(), stop_) - rest.begin());
      if (rest.front() == key) {
        check.begin = begin + 1;
        check.end = std::max(begin + length, check.begin);
        return;
      }
      begin += length + 1;
    }
  }

  int stop_;
  int done_;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_QUESTIONS_GRADER_HPP
