// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "tasks/grader.hpp"
#include "tasks/imperfect_writers.hpp"
#include "tasks/travel_log.hpp"

namespace morphkv::tasks::travel_log_test { namespace {

const TravelLog log_task;
const Grader log_grader(log_task);
const Vocabulary& words = log_task.vocabulary();

TEST(Vocabulary, HasEachWordOnce) {
  std::vector<std::string> sorted = words.words();
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end());
}

TEST(Vocabulary, KeepsTheIdsOfTheModel) {
  // bench/models/three-tasks/vocab.json
  EXPECT_EQ(words.size(), 555);
  EXPECT_EQ(words.id("day"), 4);
  EXPECT_EQ(words.id("shell"), 352);
}

// FNV-1a over the ids, to pin an example down.
std::uint64_t fingerprint(const Text& text) {
  std::uint64_t hash = 14695981039346656037U;
  const auto mix = [&](int id) { hash = (hash ^ static_cast<std::uint64_t>(id)) * 1099511628211U; };
  for (const int id : text.prompt) mix(id);
  for (const ResponseToken& token : text.response) mix(token.id);
  return hash;
}

TEST(TravelLog, IsTheSameOnEveryPlatform) {
  EXPECT_EQ(fingerprint(log_task.make({}, 7)), 17200116752360773236U);
  EXPECT_EQ(fingerprint(log_task.make(long_response(4000, 1000), 7)), 9706168486262197614U);
  EXPECT_NE(fingerprint(log_task.make({}, 8)), fingerprint(log_task.make({}, 7)));
}

TEST(TravelLog, SourcesTellWhatIsGraded) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Example example = log_task.make(long_response(2000, 600), seed);
    std::vector<int> ids = example.prompt;
    for (const ResponseToken& token : example.response) {
      if (is_graded(token.kind)) {
        ASSERT_GE(token.source, 0);
        EXPECT_EQ(ids.at(static_cast<std::size_t>(token.source)), token.id);
      }
      ids.push_back(token.id);
    }
  }
}

TEST(TravelLog, FillsThePromptWithPhrasesWhenPeopleRunOut) {
  for (const int tokens : {600, 1000, 6000}) {
    const Example example = log_task.make(long_response(1000, tokens), 3);
    EXPECT_NEAR(static_cast<double>(example.prompt.size()), tokens, 12);
    EXPECT_EQ(example.prompt.at(example.lines_end), words.id("begin"));
  }
}

class LongResponse : public ::testing::TestWithParam<int> {};

TEST_P(LongResponse, IsAboutAsLongAsAsked) {
  constexpr int examples = 10;
  std::size_t tokens = 0;
  for (std::uint64_t seed = 0; seed < examples; ++seed) {
    tokens += log_task.make(long_response(GetParam(), 1000), seed).response.size();
  }
  EXPECT_NEAR(static_cast<double>(tokens) / examples, GetParam(), 0.1 * GetParam());
}

TEST_P(LongResponse, IsWorthFullMarks) {
  const Example example = log_task.make(long_response(GetParam(), 1000), 5);
  const Grade grade = log_grader.grade(example, expected_response(example));
  EXPECT_EQ(grade.completion(), 1);
  EXPECT_EQ(grade.average(), 1);
  EXPECT_EQ(grade.unasked, 0);
  EXPECT_EQ(grade.demanded[0], 4);
  EXPECT_GE(grade.demanded[1], 9);
  EXPECT_GE(grade.demanded[2], 3);
}

// Things that the response itself brought in are needed again when a good part of it has passed.
TEST_P(LongResponse, NeedsWhatItSaidLongAgo) {
  int distant = 0;
  int periodic = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Example example = log_task.make(long_response(GetParam(), 1000), seed);
    for (const std::size_t i : graded_tokens(example)) {
      if (example.response[i].kind != TokenKind::periodic) continue;
      const auto source = static_cast<std::size_t>(example.response[i].source);
      const std::size_t age = example.prompt.size() + i - source;
      ++periodic;
      if (source >= example.prompt.size() && age > example.response.size() / 5) ++distant;
    }
  }
  EXPECT_GT(distant, periodic / 5);
}

TEST_P(LongResponse, NoTrivialControlSolvesIt) {
  const Options options = long_response(GetParam(), GetParam());
  const int wrong = words.id("shell");
  EXPECT_LT(best_trivial_control(log_task, log_grader, options, 10, wrong), 0.2);
  EXPECT_LT(best_trivial_control(log_task, log_grader, options, 25, wrong), 0.4);
  EXPECT_LT(best_trivial_control(log_task, log_grader, options, 50, wrong), 0.75);
}

INSTANTIATE_TEST_SUITE_P(Lengths, LongResponse, ::testing::Values(1000, 2000, 4000, 8000, 12000));

TEST(TravelLogGrader, AWrongWordSpoilsItsCheckOnly) {
  const Example example = log_task.make({}, 11);
  const std::vector<int> right = expected_response(example);
  const Grade full = log_grader.grade(example, right);
  for (const std::size_t i : graded_tokens(example)) {
    std::vector<int> response = right;
    response[i] = words.id("anchor") == right[i] ? words.id("apple") : words.id("anchor");
    const Grade grade = log_grader.grade(example, response);
    EXPECT_EQ(grade.completion(), 1);
    ASSERT_EQ(grade.checks.size(), full.checks.size());
    const int lost =
        static_cast<int>(std::count_if(grade.checks.begin(), grade.checks.end(),
                                       [](const Check& check) { return !check.correct; }));
    EXPECT_EQ(lost, 1);
  }
}

TEST(TravelLogGrader, AMissingDayCostsItsDemandsAndItsCompletion) {
  const Example example = log_task.make({}, 11);
  std::vector<int> response = expected_response(example);
  const auto day_five = std::find(response.begin(), response.end(), words.number(5)) - 1;
  *day_five = words.id(".");
  const Grade grade = log_grader.grade(example, response);
  EXPECT_EQ(grade.entries_present, example.options.entries - 1);
  for (const Check& check : grade.checks) {
    if (check.entry == 5) {
      EXPECT_FALSE(check.correct);
      EXPECT_EQ(check.begin, check.end);
    }
  }
}

// What the response says of the periodic travellers, in place of `things`, by rule.
std::vector<int> with_choices(const Example& example, const std::vector<int>& things) {
  std::vector<int> response = expected_response(example);
  for (std::size_t i = 0; i + 1 < response.size(); ++i) {
    for (std::size_t r = 0; r < example.rules.size(); ++r) {
      const Rule& rule = example.rules[r];
      const bool shown = response[i] == rule.name && response[i + 1] == rule.thing;
      if (shown && rule.kind == RuleKind::periodic) response[i + 1] = things[r];
    }
  }
  return response;
}

TEST(TravelLogGrader, WhatAPeriodicTravellerShowsIsFreeAtFirst) {
  const Example example = log_task.make(long_response(2000, 600), 4);
  std::vector<int> things(
      words.things().begin(),
      words.things().begin() + static_cast<std::ptrdiff_t>(example.rules.size()));
  EXPECT_EQ(log_grader.grade(example, with_choices(example, things)).average(), 1);
}

TEST(TravelLogGrader, ChoicesHaveToDiffer) {
  const Example example = log_task.make(long_response(2000, 600), 4);
  const std::vector<int> same(example.rules.size(), words.id("shell"));
  const Grade grade = log_grader.grade(example, with_choices(example, same));
  EXPECT_EQ(grade.accuracy(RuleKind::once), 1);
  EXPECT_LT(grade.accuracy(RuleKind::periodic), 0.7);  // only the first traveller's
  EXPECT_GT(grade.accuracy(RuleKind::periodic), 0);
}

TEST(TravelLogGrader, AnotherThingThanAtFirstIsWrong) {
  const Example example = log_task.make(long_response(2000, 600), 4);
  std::vector<int> response = expected_response(example);
  for (std::size_t i = 0; i < response.size(); ++i) {
    if (example.response[i].kind == TokenKind::chosen) {
      response[i] = words.id("anchor") == response[i] ? words.id("apple") : words.id("anchor");
    }
  }
  const Grade grade = log_grader.grade(example, response);
  EXPECT_EQ(grade.accuracy(RuleKind::once), 1);
  EXPECT_EQ(grade.accuracy(RuleKind::range), 1);
  EXPECT_EQ(grade.accuracy(RuleKind::periodic), 0);
}

TEST(TravelLogGrader, NothingIsWorthNothing) {
  const Example example = log_task.make({}, 11);
  for (const std::vector<int>& response :
       {std::vector<int>{}, std::vector<int>{words.id("day")},
        std::vector<int>(500, words.id("day")), std::vector<int>(500, example.rules[0].name)}) {
    const Grade grade = log_grader.grade(example, response);
    EXPECT_EQ(grade.completion(), 0);
    EXPECT_EQ(grade.average(), 0);
  }
}

TEST(TravelLogGrader, KnowsTheEnd) {
  const Example example = log_task.make({}, 11);
  std::vector<int> response = expected_response(example);
  EXPECT_FALSE(log_grader.finished(example, response));
  response.push_back(words.id("day"));
  response.push_back(words.number(example.options.entries + 1));
  EXPECT_TRUE(log_grader.finished(example, response));
}

TEST(TravelLog, RefusesWhatItCannotWrite) {
  for (const Options& options :
       {Options{.entries = 0}, Options{.entries = 128}, Options{.once = -1}, Options{.once = 15},
        Options{.shortest_period = 0}, Options{.shortest_period = 9, .longest_period = 8},
        Options{.longest_period = 64}, Options{.phrases = 0}, Options{.phrases = 21},
        Options{.chatter = 101}, Options{.longest_wait = 0}}) {
    EXPECT_THROW((void)log_task.make(options, 1), std::invalid_argument);
  }
}

}  // namespace
}  // namespace morphkv::tasks::travel_log_test
