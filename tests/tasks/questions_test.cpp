// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "tasks/imperfect_writers.hpp"
#include "tasks/questions.hpp"
#include "tasks/questions_grader.hpp"

namespace morphkv::tasks::questions_test { namespace {

const QuestionsWriter question_task;
const QuestionsGrader question_grader(question_task);
const Vocabulary& words = question_task.vocabulary();

TEST(Questions, AreDeterminedByTheirSeed) {
  const Questions one = question_task.make({}, 7);
  EXPECT_EQ(one.prompt, question_task.make({}, 7).prompt);
  EXPECT_EQ(expected_response(one), expected_response(question_task.make({}, 7)));
  EXPECT_NE(one.prompt, question_task.make({}, 8).prompt);
}

TEST(Questions, TheirPromptIsAsLongAsAsked) {
  for (const int tokens : {600, 1024, 4096}) {
    const Questions example = question_task.make({.prompt_tokens = tokens}, 1);
    EXPECT_NEAR(static_cast<double>(example.prompt.size()), tokens, 12);
  }
}

// Reads the facts of the prompt again, line by line, and answers from them.
TEST(Questions, ThePromptTellsTheAnswers) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Questions example = question_task.make({}, seed);
    std::map<int, int> pairs;
    std::map<int, std::vector<int>> mentions;
    std::vector<int> line;
    for (std::size_t i = 3; i < example.lines_end; ++i) {
      if (example.prompt[i] != words.id(".")) {
        line.push_back(example.prompt[i]);
        continue;
      }
      if (line.size() == 2) {
        pairs[line[0]] = line[1];
        mentions[line[0]].push_back(line[1]);
      }
      line.clear();
    }
    for (const Question& question : example.asked) {
      if (question.kind == QuestionKind::count) {
        std::vector<int>& numbers = mentions.at(question.key);
        std::sort(numbers.begin(), numbers.end());
        std::vector<int> counted(numbers.size());
        std::iota(counted.begin(), counted.end(), words.number(1));
        EXPECT_EQ(numbers, counted);
        EXPECT_EQ(numbers.back(), question.answer);
      } else if (question.kind == QuestionKind::multi_hop) {
        EXPECT_EQ(pairs.at(pairs.at(question.key)), question.answer);
      } else {
        EXPECT_EQ(pairs.at(question.key), question.answer);
      }
    }
  }
}

TEST(Questions, SourcesTellWhatIsGraded) {
  const Questions example = question_task.make({}, 7);
  for (const std::size_t i : graded_tokens(example)) {
    const ResponseToken& token = example.response[i];
    ASSERT_GE(token.source, 0);
    ASSERT_LT(static_cast<std::size_t>(token.source), example.lines_end);
    EXPECT_EQ(example.prompt[static_cast<std::size_t>(token.source)], token.id);
  }
}

TEST(QuestionsGrader, TheExpectedAnswersAreWorthFullMarks) {
  const Questions example = question_task.make({}, 7);
  const QuestionsGrade grade = question_grader.grade(example, expected_response(example));
  EXPECT_EQ(grade.completion(), 1);
  EXPECT_EQ(grade.average(), 1);
  EXPECT_EQ(grade.demanded, (QuestionCounts{2, 2, 2, 2}));
  EXPECT_TRUE(question_grader.finished(example, expected_response(example)));
}

TEST(QuestionsGrader, AWrongWordSpoilsItsCheckOnly) {
  const Questions example = question_task.make({}, 7);
  for (const Question& question : example.asked) {
    std::vector<int> response = expected_response(example);
    const auto key = std::find(response.begin(), response.end(), question.key);
    *std::find(key, response.end(), question.answer) = words.id("day");
    const QuestionsGrade grade = question_grader.grade(example, response);
    EXPECT_EQ(grade.completion(), 1);
    EXPECT_EQ(grade.average(), 7.0 / 8);
    EXPECT_EQ(grade.accuracy(question.kind), 0.5);
  }
}

TEST(QuestionsGrader, TheWayOfAMultiHopIsNotJudged) {
  const Questions example = question_task.make({}, 7);
  std::vector<int> response = expected_response(example);
  for (const Question& question : example.asked) {
    if (question.kind == QuestionKind::multi_hop) {
      std::replace(response.begin(), response.end(), question.middle, words.id("day"));
    }
  }
  EXPECT_EQ(question_grader.grade(example, response).average(), 1);
}

TEST(QuestionsGrader, OnlyTheFirstAnswerCounts) {
  const Questions example = question_task.make({}, 7);
  std::vector<int> response;
  for (const Question& question : example.asked) {
    for (const int id : {question.key, words.id("day"), words.id(".")}) response.push_back(id);
  }
  for (const int id : expected_response(example)) response.push_back(id);
  const QuestionsGrade grade = question_grader.grade(example, response);
  EXPECT_EQ(grade.completion(), 1);
  EXPECT_EQ(grade.average(), 0);
}

TEST(QuestionsGrader, NothingIsWorthNothing) {
  const Questions example = question_task.make({}, 7);
  for (const std::vector<int>& response :
       {std::vector<int>{}, std::vector<int>{example.asked[0].key},
        std::vector<int>(100, words.id("."))}) {
    const QuestionsGrade grade = question_grader.grade(example, response);
    EXPECT_EQ(grade.completion(), 0);
    EXPECT_EQ(grade.average(), 0);
  }
}

TEST(Questions, NoTrivialControlSolvesThem) {
  const int wrong = words.id("day");
  EXPECT_LT(best_trivial_control(question_task, question_grader, QuestionsOptions{}, 10, wrong),
            0.2);
  EXPECT_LT(best_trivial_control(question_task, question_grader, QuestionsOptions{}, 25, wrong),
            0.45);
  EXPECT_LT(best_trivial_control(question_task, question_grader, QuestionsOptions{}, 50, wrong),
            0.75);
}

TEST(Questions, RefuseWhatCannotBeWritten) {
  for (const QuestionsOptions& options :
       {QuestionsOptions{.asked = {-1, 2, 2, 2}}, QuestionsOptions{.others = {80, 8, 8, 8}},
        QuestionsOptions{.others = {24, 8, 80, 8}}, QuestionsOptions{.others = {24, 8, 8, 80}},
        QuestionsOptions{.asked = {}, .others = {}}}) {
    EXPECT_THROW((void)question_task.make(options, 1), std::invalid_argument);
  }
}

}  // namespace
}  // namespace morphkv::tasks::questions_test
