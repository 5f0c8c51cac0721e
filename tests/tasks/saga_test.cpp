// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "tasks/distinct_ngrams.hpp"
#include "tasks/imperfect_writers.hpp"
#include "tasks/saga.hpp"
#include "tasks/saga_grader.hpp"

namespace morphkv::tasks::saga_test { namespace {

const SagaWriter saga_task;
const SagaGrader saga_grader(saga_task);
const Vocabulary& words = saga_task.vocabulary();

class OpenWriting : public ::testing::TestWithParam<int> {};

TEST_P(OpenWriting, IsAboutAsLongAsAsked) {
  const Saga saga = saga_task.make(open_writing(GetParam()), 1);
  EXPECT_NEAR(static_cast<double>(saga.response.size()), GetParam(), 0.15 * GetParam());
}

TEST_P(OpenWriting, IsWorthFullMarks) {
  const Saga saga = saga_task.make(open_writing(GetParam()), 1);
  const SagaGrade grade = saga_grader.grade(saga, expected_response(saga));
  EXPECT_EQ(grade.completion(), 1);
  EXPECT_EQ(grade.plan(), 1);
  EXPECT_EQ(grade.average(), 1);
  EXPECT_EQ(grade.checks.size(),
            3U * static_cast<std::size_t>(saga.options.scenes - saga.options.cast));
}

TEST_P(OpenWriting, NoTrivialControlSolvesIt) {
  const SagaOptions options = open_writing(GetParam());
  const int wrong = words.id("day");
  EXPECT_LT(best_trivial_control(saga_task, saga_grader, options, 10, wrong), 0.15);
  EXPECT_LT(best_trivial_control(saga_task, saga_grader, options, 25, wrong), 0.3);
  EXPECT_LT(best_trivial_control(saga_task, saga_grader, options, 50, wrong), 0.75);
}

INSTANTIATE_TEST_SUITE_P(Lengths, OpenWriting, ::testing::Values(1000, 2000, 4000, 8000, 12000));

TEST(Saga, ThousandTokensNeedNoPhrases) {
  // A writer may leave them out, and then the response ends before it needs what was evicted.
  EXPECT_EQ(open_writing(1000).phrases, 0);
}

TEST(Saga, IsDeterminedByItsSeed) {
  const Saga one = saga_task.make({}, 7);
  const Saga same = saga_task.make({}, 7);
  const Saga other = saga_task.make({}, 8);
  EXPECT_EQ(one.prompt, same.prompt);
  EXPECT_EQ(expected_response(one), expected_response(same));
  EXPECT_NE(one.prompt, other.prompt);
}

TEST(Saga, NothingThatIsGradedStandsInThePrompt) {
  const Saga saga = saga_task.make({.prompt_tokens = 600}, 7);
  EXPECT_NEAR(static_cast<double>(saga.prompt.size()), 600, 12);
  const std::vector<std::size_t> graded = graded_tokens(saga);
  EXPECT_EQ(graded.size(), 3U * 22);
  for (const std::size_t i : graded) {
    const ResponseToken& token = saga.response[i];
    const auto source = static_cast<std::size_t>(token.source);
    ASSERT_GE(source, saga.prompt.size());
    EXPECT_EQ(saga.response.at(source - saga.prompt.size()).id, token.id);
  }
}

TEST(SagaGrader, AWrongWordSpoilsItsCheckOnly) {
  const Saga saga = saga_task.make({.scenes = 30, .cast = 6}, 3);  // everyone appears five times
  const std::vector<int> right = expected_response(saga);
  for (const std::size_t i : graded_tokens(saga)) {
    const auto& choice = right[i] == words.places()[0] ? words.places()[1] : words.places()[0];
    std::vector<int> response = right;
    response[i] = choice;
    const SagaGrade grade = saga_grader.grade(saga, response);
    EXPECT_EQ(grade.completion(), 1);
    const auto lost = std::count_if(grade.checks.begin(), grade.checks.end(),
                                    [](const SagaCheck& check) { return !check.correct; });
    EXPECT_EQ(lost, 1);
  }
}

// The first statement is free: another word there makes the later ones wrong, and not itself.
TEST(SagaGrader, LaterScenesHaveToAgreeWithTheFirst) {
  const Saga saga = saga_task.make({.scenes = 30, .cast = 6}, 3);
  std::vector<int> response = expected_response(saga);
  const int home = response[3];
  response[3] = home == words.places()[0] ? words.places()[1] : words.places()[0];
  const SagaGrade grade = saga_grader.grade(saga, response);
  EXPECT_EQ(grade.demanded[0] - grade.correct[0], 4);
  EXPECT_EQ(grade.correct[1], grade.demanded[1]);
  EXPECT_EQ(grade.correct[2], grade.demanded[2]);
}

TEST(SagaGrader, TheWrongPersonCostsThePlanAndItsChecks) {
  const Saga saga = saga_task.make({.scenes = 4, .cast = 2}, 3);
  std::vector<int> response = expected_response(saga);
  const auto last = std::find(response.rbegin(), response.rend(), words.id("scene"));
  for (auto word = last.base(); word != response.end(); ++word) {
    if (*word == saga.plan[3]) *word = saga.plan[2];
  }
  const SagaGrade grade = saga_grader.grade(saga, response);
  EXPECT_EQ(grade.completion(), 1);
  EXPECT_EQ(grade.planned_person, 3);
  EXPECT_EQ(grade.average(), 0.5);
}

TEST(SagaGrader, NothingIsWorthNothing) {
  const Saga saga = saga_task.make({}, 3);
  for (const std::vector<int>& response :
       {std::vector<int>{}, std::vector<int>{words.id("scene")},
        std::vector<int>(300, words.id("scene")), std::vector<int>(300, saga.plan[0])}) {
    const SagaGrade grade = saga_grader.grade(saga, response);
    EXPECT_EQ(grade.completion(), 0);
    EXPECT_EQ(grade.average(), 0);
    EXPECT_FALSE(grade.plan() > 0);
  }
}

TEST(SagaGrader, KnowsTheEnd) {
  const Saga saga = saga_task.make({}, 3);
  std::vector<int> response = expected_response(saga);
  EXPECT_FALSE(saga_grader.finished(saga, response));
  response.push_back(words.id("scene"));
  EXPECT_TRUE(saga_grader.finished(saga, response));
}

TEST(Saga, RefusesWhatItCannotWrite) {
  for (const SagaOptions& options :
       {SagaOptions{.scenes = 0}, SagaOptions{.scenes = 128}, SagaOptions{.cast = 0},
        SagaOptions{.cast = 1000}, SagaOptions{.phrases = -1}, SagaOptions{.first_scene = 100}}) {
    EXPECT_THROW((void)saga_task.make(options, 1), std::invalid_argument);
  }
}

TEST(DistinctNgrams, CountsRunsThatAreDifferent) {
  const std::vector<int> text = {1, 2, 1, 2, 1};
  EXPECT_DOUBLE_EQ(distinct_ngrams(text, 1), 2.0 / 5);
  EXPECT_DOUBLE_EQ(distinct_ngrams(text, 2), 2.0 / 4);
  EXPECT_DOUBLE_EQ(distinct_ngrams(text, 5), 1);
  EXPECT_DOUBLE_EQ(distinct_ngrams(text, 6), 1);
  EXPECT_DOUBLE_EQ(distinct_ngrams({}, 2), 1);
  EXPECT_DOUBLE_EQ(distinct_ngrams(std::vector<int>(13, 5), 4), 0.1);
}

}  // namespace
}  // namespace morphkv::tasks::saga_test
