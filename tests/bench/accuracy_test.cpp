// SPDX-License-Identifier: Apache-2.0
// The parts of the accuracy benchmark: intervals, rows, settings, the page, and its own policy.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "accuracy/advice.hpp"
#include "accuracy/bootstrap.hpp"
#include "accuracy/knob_table.hpp"
#include "accuracy/page.hpp"
#include "accuracy/snapkv_recent.hpp"
#include "accuracy/targets.hpp"
#include "support/duel.hpp"

namespace morphkv::testing::accuracy_test { namespace {

using accuracy::Resample;
using comparison::Outcome;

/// An outcome whose prompts have these accuracies.
Outcome outcome(const std::string& policy, double budget, double bytes_share,
                const std::vector<double>& accuracies) {
  Outcome result;
  result.variant.policy = policy;
  result.variant.name = policy;
  result.variant.budget = budget;
  result.bytes_share = bytes_share;
  for (const double value : accuracies) result.samples.emplace_back().score.accuracy = value;
  result.accuracy = comparison::share_interval(accuracies, accuracies.size());
  return result;
}

TEST(Bootstrap, PairsOutcomesOfTheSamePrompts) {
  std::vector<double> low;
  std::vector<double> high;
  for (std::size_t i = 0; i < 40; ++i) {
    low.push_back(static_cast<double>(i % 8) / 10);
    high.push_back(low.back() + 0.25);
  }
  const Outcome a = outcome("a", 1, 1, low);
  const Outcome b = outcome("b", 1, 1, high);
  const auto gap = accuracy::bootstrap(40, [&](const Resample& mean) { return mean(b) - mean(a); });
  EXPECT_NEAR(gap.mean, 0.25, 1e-12);
  EXPECT_NEAR(gap.low, 0.25, 1e-12) << "every prompt differs by as much";
  EXPECT_NEAR(gap.high, 0.25, 1e-12);
  const auto one = accuracy::bootstrap(40, [&](const Resample& mean) { return mean(a); });
  const double deviation = 0.229;  // of 0, 0.1 ... 0.7
  EXPECT_NEAR(one.high - one.low, 2 * 1.96 * deviation / std::sqrt(40.0), 0.03);
}

accuracy::FamilyRun instructions_run() {
  accuracy::FamilyRun run;
  run.family.title = "instructions";
  run.outcomes = {outcome("full", 1, 1, {1, 1}),
                  outcome("ours", 0.10, 0.10, {0.6, 0.6}),
                  outcome("h2o", 0.10, 0.10, {0.4, 0.4}),
                  outcome("snapkv_recent", 0.10, 0.10, {0.5, 0.5}),
                  outcome("ours", 0.25, 0.25, {0.9, 0.9}),
                  outcome("h2o", 0.25, 0.25, {0.6, 0.6}),
                  outcome("snapkv_recent", 0.25, 0.25, {0.8, 0.7}),
                  outcome("snapkv", 0.25, 0.80, {0.7, 0.8})};
  run.outcomes.back().variant.fits = false;
  return run;
}

TEST(Reach, RowsSayWhatTheOutcomesSay) {
  const auto rows = accuracy::target_rows(instructions_run(), {}, "ours");
  ASSERT_EQ(rows.size(), 3U) << "there are no lengths";
  EXPECT_NEAR(rows[0].value.mean, 10, 1e-9);
  EXPECT_FALSE(rows[0].met);
  // 0.75 lies half way from 0.6 at 10 % to 0.9 at 25 %: 17.5 % of the bytes in place of 80 %.
  EXPECT_NEAR(rows[1].value.mean, 100 * (1 - 0.175 / 0.80), 1e-9);
  EXPECT_TRUE(rows[1].met);
  EXPECT_NEAR(rows[2].value.mean, 20, 1e-9) << "the lesser of +20 % and +20 %";
  EXPECT_TRUE(rows[2].met);
  EXPECT_LE(rows[2].value.low, rows[2].value.mean);
  EXPECT_TRUE(accuracy::target_rows(instructions_run(), {}, "nobody").empty());
}

TEST(Reach, TwoPointsBehindTheFullCacheAreEqualToIt) {
  accuracy::FamilyRun run;
  run.outcomes = {outcome("full", 1, 1, {1, 1}), outcome("snapkv", 0.25, 0.60, {0.94, 0.96}),
                  outcome("snapkv", 0.50, 0.80, {1, 1}), outcome("ours", 0.25, 0.25, {0.98, 0.98}),
                  outcome("ours", 0.50, 0.50, {0.99, 0.99})};
  const auto rows = accuracy::target_rows(run, {}, "ours");
  ASSERT_GE(rows.size(), 2U);
  // SnapKV has 0.98 three fifths of the way from 0.95 at 60 % to 1 at 80 %; ours at 25 %.
  EXPECT_NEAR(rows[1].value.mean, 100 * (1 - 0.25 / 0.72), 1e-9);
  EXPECT_NE(rows[1].note.find("at SnapKV's best, 100.0 % with 80 %: -25 % saved"),
            std::string::npos)
      << rows[1].note;
}

TEST(Reach, LengthsAreComparedFirstToLast) {
  std::vector<accuracy::LengthRun> runs(2);
  runs[0] = {1000, {}, {outcome("full", 1, 1, {1}), outcome("ours", 0.25, 0.25, {0.8})}};
  runs[1] = {12000, {}, {outcome("full", 1, 1, {1}), outcome("ours", 0.25, 0.02, {0.6})}};
  const auto rows = accuracy::target_rows(instructions_run(), runs, "ours");
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_NEAR(rows[3].value.mean, 25, 1e-9);
  EXPECT_FALSE(rows[3].met);
}

TEST(Advice, NamesTheBestAndThoseItIsNotToldFrom) {
  const accuracy::FamilyRun run = instructions_run();
  const auto advice = accuracy::advise(run, {0.10, 0.25});
  ASSERT_EQ(advice.size(), 2U);
  EXPECT_EQ(advice[1].best->variant.policy, "ours");
  for (const auto* level : advice[1].level) EXPECT_NE(level->variant.policy, "snapkv");
  EXPECT_NE(accuracy::sentence(advice[1]).find("At 25 % of the memory: ours"), std::string::npos);
}

TEST(KnobTable, KeepsWhatItIsTold) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "knobs.json";
  comparison::Contender contender;
  contender.key = "decayed_max";
  contender.candidates = {{.window = 0.1}};
  const comparison::Knobs knobs{.window = 0.625,
                                .half_life = 4,
                                .distance = 32,
                                .fusion = Fusion::sum,
                                .normalised = true,
                                .kernel = 7};
  accuracy::KnobTable table;
  table.set("writing", 0.25, "decayed_max", knobs);
  table.write(path);
  const accuracy::KnobTable read(path);
  EXPECT_EQ(read.find("writing", 0.25, contender), knobs);
  EXPECT_EQ(read.find("writing", 0.10, contender), contender.candidates.front());
  std::ofstream(path) << "{";
  EXPECT_THROW(accuracy::KnobTable{path}, std::runtime_error);
  std::filesystem::remove(path);
  EXPECT_NO_THROW(accuracy::KnobTable{path}) << "no file: the defaults";
}

TEST(SnapKVRecent, KeepsTheBestOfThePromptAndTheRecentTokens) {
  constexpr std::size_t capacity = 24;
  constexpr std::size_t recent = 8;
  accuracy::SnapKVRecent policy({.capacity = capacity, .recent = recent, .kernel = 1, .sinks = 2});
  constexpr Position prompt = 60;
  // Every query pays token 7 n by far the most, and the others according to their position.
  std::vector<oracle::Row> rows;
  for (Position query = 0; query < prompt; ++query) {
    oracle::Row row;
    for (Position token = 0; token <= query; ++token) {
      row.push_back(token % 7 == 0 ? 0.5 : static_cast<double>(token) / 4096);
    }
    rows.push_back(row);
  }
  ASSERT_EQ(append_block(policy, 0, rows), Status::ok);
  EXPECT_EQ(policy.size(), capacity);
  for (Position position = prompt; position < 200; ++position) {
    ASSERT_EQ(policy.place(position).status, Status::ok);
    ASSERT_EQ(policy.observe(std::vector<float>(policy.size(), 0.01F)), Status::ok);
  }
  const std::vector<Position> held = kept(policy);
  for (Position token = 0; token < prompt; token += 7) {
    EXPECT_TRUE(std::binary_search(held.begin(), held.end(), token)) << token;
  }
  EXPECT_TRUE(std::binary_search(held.begin(), held.end(), Position{1})) << "a sink";
  for (Position token = 200 - static_cast<Position>(recent); token < 200; ++token) {
    EXPECT_TRUE(std::binary_search(held.begin(), held.end(), token)) << token;
  }
  EXPECT_EQ(std::count_if(held.begin(), held.end(), [](Position p) { return p >= prompt; }),
            static_cast<std::ptrdiff_t>(recent));
}

TEST(AccuracyPage, NoTextOfAModelBecomesMarkup) {
  nlohmann::ordered_json trails;
  trails["words"]["1"] = "</script><script>alert(1)</script>";
  const std::string page = accuracy::make_page({{"rows", "<b>"}}, trails);
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  for (const char* loads : {"src=", "@import", "url(", "fetch(", "<link"}) {
    EXPECT_EQ(page.find(loads), std::string::npos) << loads;
  }
}

}  // namespace
}  // namespace morphkv::testing::accuracy_test
