// SPDX-License-Identifier: Apache-2.0
// What replay says of each policy, against brute force in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "oracle/scorings.hpp"
#include "replay/brute_force.hpp"
#include "replay/replay.hpp"
#include "replay/sessions.hpp"
#include "replay/traces.hpp"

namespace morphkv::testing::policies_test { namespace {

using oracle::Combine;
using replay::Flags;
using replay::Settings;
using replay::Trace;

struct Outcome {
  std::vector<replay::KeptOfHeads> kept;
  replay::Losses losses;
};

Outcome run(const Trace& trace, const Settings& settings) {
  const auto session = replay::make_session<float>(settings, trace);
  Outcome outcome;
  replay::Replay replay(trace, *session, settings.compare);
  outcome.losses =
      replay.run(settings.chunk, [&](std::size_t step, const replay::KeptOfHeads& kept) {
        EXPECT_EQ(step, outcome.kept.size());
        outcome.kept.push_back(kept);
      });
  EXPECT_EQ(outcome.kept.size(), trace.steps());
  return outcome;
}

/// One KV head against what is expected of it, until rounding decides a near tie otherwise.
/// \return the steps compared
std::size_t compare(const Outcome& outcome, const HeadTrace& head, std::size_t index,
                    const std::vector<ExpectedStep>& steps) {
  constexpr double near_tie = 1.0 / 256;  // a window rounds each weight to 11 bits
  for (std::size_t s = 0; s < steps.size(); ++s) {
    if (outcome.kept[s][index] != steps[s].kept && steps[s].margin < near_tie) return s;
    EXPECT_EQ(outcome.kept[s][index], steps[s].kept) << "head " << index << ", step " << s;
    const auto [lost_mass, output_error] =
        expected_loss(head, head.trace().prompt_length - 1 + s, steps[s].visible);
    EXPECT_NEAR(outcome.losses[s][index].lost_mass, lost_mass, 1e-9) << "step " << s;
    EXPECT_NEAR(outcome.losses[s][index].output_error, output_error, 1e-4) << "step " << s;
    if (::testing::Test::HasFailure()) return s;
  }
  return steps.size();
}

using Expectation = std::function<std::vector<ExpectedStep>(const HeadTrace&)>;

void expect_steps(const Trace& trace, const Settings& settings, const Expectation& expectation) {
  SCOPED_TRACE(::testing::Message()
               << settings.policy << ' ' << nlohmann::json(settings.flags) << ", prompt "
               << trace.prompt_length << ", group " << trace.shape.group());
  const Outcome outcome = run(trace, settings);
  std::size_t compared = 0;
  for (std::size_t head = 0; head < trace.shape.kv_heads; ++head) {
    const HeadTrace own(trace, head);
    compared += compare(outcome, own, head, expectation(own));
  }
  EXPECT_GE(compared, trace.steps() * trace.shape.kv_heads / 2) << "near ties are rare";
}

/// Traces with a prompt shorter and longer than 16, for groups of one and four.
void for_each_trace(const std::function<void(const Trace&)>& test) {
  for (const std::size_t group : {1U, 4U}) {
    for (const std::size_t prompt : {1U, 6U, 40U}) test(random_trace(70, prompt, group));
  }
}

TEST(ReplayPoliciesTest, MorphKV) {
  for_each_trace([](const Trace& trace) {
    for (const std::string fusion : {"sum", "max"}) {
      for (const std::size_t sinks : {0U, 4U}) {
        const Flags flags = {{"capacity", "16"},
                             {"window", "5"},
                             {"fusion", fusion},
                             {"sinks", std::to_string(sinks)}};
        expect_steps(trace, {.policy = "morphkv", .flags = flags}, [&](const HeadTrace& head) {
          const Combine combine = fusion == "sum" ? Combine::sum : Combine::max;
          return expected_steps(head, oracle::morphkv_oracle(16, 5, combine, sinks, false),
                                GroupFusion::max);
        });
      }
    }
  });
}

TEST(ReplayPoliciesTest, MorphKVFusesGroups) {
  const Trace trace = random_trace(60, 30, 4);
  const std::vector<GroupFusion> fusions = {GroupFusion::max, GroupFusion::mean, GroupFusion::sum};
  for (std::size_t i = 0; i < fusions.size(); ++i) {
    const std::string word(policies::ValueNames<GroupFusion>::all.at(i));
    expect_steps(
        trace,
        {.policy = "morphkv", .flags = {{"capacity", "16"}, {"window", "5"}, {"group", word}}},
        [&](const HeadTrace& head) {
          return expected_steps(head, oracle::morphkv_oracle(16, 5, Combine::max, 4, false),
                                fusions[i]);
        });
  }
}

TEST(ReplayPoliciesTest, DecayedMax) {
  for_each_trace([](const Trace& trace) {
    for (const double half_life : {4.0, 32.0}) {
      for (const std::size_t distance : {0U, 3U}) {
        const Flags flags = {{"capacity", "16"},
                             {"recent", "5"},
                             {"half_life", std::to_string(half_life)},
                             {"distance", std::to_string(distance)}};
        expect_steps(trace, {.policy = "decayed_max", .flags = flags}, [&](const HeadTrace& head) {
          return expected_steps(head,
                                oracle::decayed_max_oracle(16, 5, half_life, distance, 4, false),
                                GroupFusion::max);
        });
      }
    }
  });
}

TEST(ReplayPoliciesTest, MorphKVAsTheAuthorsCode) {
  for_each_trace([](const Trace& trace) {
    for (const std::size_t window : {1U, 2U, 8U}) {
      for (const std::string fusion : {"sum", "max"}) {
        for (const std::string evict_after : {"1", "1.5"}) {
          const Flags flags = {{"capacity", "16"},
                               {"window", std::to_string(window)},
                               {"fusion", fusion},
                               {"evict_after", evict_after}};
          expect_steps(trace, {.policy = "morphkv_compat", .flags = flags},
                       [&](const HeadTrace& head) {
                         replay::MorphKVCompat::Options options{.capacity = 16, .window = window};
                         options.fusion = fusion == "sum" ? Fusion::sum : Fusion::max;
                         options.evict_after = std::stod(evict_after);
                         return CompatSteps(head, options).run();
                       });
        }
      }
    }
  });
}

TEST(ReplayPoliciesTest, SnapKV) {
  for_each_trace([](const Trace& trace) {
    for (const std::string pooling : {"avg", "max"}) {
      for (const std::size_t kernel : {1U, 5U}) {
        const Flags flags = {{"capacity", "16"},
                             {"window", "5"},
                             {"pooling", pooling},
                             {"kernel", std::to_string(kernel)}};
        expect_steps(trace, {.policy = "snapkv", .flags = flags}, [&](const HeadTrace& head) {
          const Combine combine = pooling == "avg" ? Combine::sum : Combine::max;
          return expected_steps(head, oracle::snapkv_oracle(16, 5, kernel, combine, 4, false, 1000),
                                GroupFusion::mean);
        });
      }
    }
  });
}

TEST(ReplayPoliciesTest, H2O) {
  for_each_trace([](const Trace& trace) {
    for (const bool normalised : {false, true}) {
      Flags flags = {{"heavy", "8"}, {"recent", "8"}};
      if (normalised) flags["normalised"] = "true";
      expect_steps(trace, {.policy = "h2o", .flags = flags}, [&](const HeadTrace& head) {
        return expected_steps(head, oracle::h2o_oracle(8, 8, normalised, 4, false),
                              GroupFusion::mean);
      });
    }
  });
}

TEST(ReplayPoliciesTest, TheOthers) {
  for_each_trace([](const Trace& trace) {
    expect_steps(trace, {.policy = "streaming_llm", .flags = {{"capacity", "16"}}},
                 [](const HeadTrace& head) {
                   return expected_steps(head, oracle::streaming_llm_oracle(16, 4, false),
                                         GroupFusion::mean);
                 });
    expect_steps(
        trace, {.policy = "tova", .flags = {{"capacity", "16"}}}, [](const HeadTrace& head) {
          return expected_steps(head, oracle::tova_oracle(16, 1, 4, false), GroupFusion::mean);
        });
    expect_steps(trace, {.policy = "full"}, [](const HeadTrace& head) {
      return expected_steps(head, oracle::full_oracle(1000), GroupFusion::mean);
    });
  });
}

TEST(ReplayPoliciesTest, ProtectsThePrompt) {
  const Trace trace = random_trace(60, 10, 4);
  const Flags flags = {{"capacity", "16"}, {"window", "5"}, {"protect_prompt", "true"}};
  expect_steps(trace, {.policy = "morphkv", .flags = flags}, [](const HeadTrace& head) {
    return expected_steps(head, oracle::morphkv_oracle(16, 5, Combine::max, 4, true),
                          GroupFusion::max);
  });
}

TEST(ReplayPoliciesTest, TakesThePromptInChunks) {
  const Trace trace = random_trace(60, 37, 4);
  const Settings settings{
      .policy = "morphkv", .chunk = 10, .flags = {{"capacity", "16"}, {"window", "5"}}};
  expect_steps(trace, settings, [](const HeadTrace& head) {
    return expected_steps(head, oracle::morphkv_oracle(16, 5, Combine::max, 4, false),
                          GroupFusion::max, 10);
  });
  EXPECT_GT(run(trace, settings).losses[0][0].lost_mass, 0)
      << "the prompt's last token no longer sees all of it";
}

TEST(ReplayPoliciesTest, FullLosesNothing) {
  for (const std::string policy : {"full", "morphkv", "tova", "streaming_llm", "random"}) {
    const Trace trace = random_trace(60, 20, 4);
    const Outcome outcome = run(trace, {.policy = policy});  // the capacity is above the tokens
    for (const auto& step : outcome.losses) {
      for (const replay::Loss& loss : step) {
        EXPECT_EQ(loss.lost_mass, 0) << policy;
        EXPECT_LT(loss.output_error, 1e-5) << policy;
      }
    }
  }
}

TEST(ReplayPoliciesTest, RandomDependsOnItsSeedAlone) {
  const Trace trace = random_trace(60, 6, 2);
  const auto kept = [&](const std::string& seed) {
    return run(trace, {.policy = "random",
                       .flags = {{"capacity", "16"}, {"seed", seed}, {"protect_prompt", "true"}}})
        .kept;
  };
  EXPECT_EQ(kept("3"), kept("3"));
  EXPECT_NE(kept("3"), kept("4"));
  for (const auto& heads : kept("3")) {
    for (const auto& positions : heads) {
      EXPECT_LE(positions.size(), 16U);
      for (Position p = 0; p < 6; ++p) EXPECT_EQ(positions[static_cast<std::size_t>(p)], p);
    }
  }
}

TEST(ReplayPoliciesTest, SaysWhichTokenHasNoPlace) {
  const Trace trace = random_trace(60, 20, 1);
  const auto fails = [&](const Settings& settings) {
    return complaint([&] { (void)run(trace, settings); });
  };
  expect_words(
      fails({.policy = "random", .flags = {{"capacity", "20"}, {"protect_prompt", "true"}}}),
      {"token 20", "every token is protected"});
  expect_words(
      fails({.policy = "random", .flags = {{"capacity", "16"}, {"protect_prompt", "true"}}}),
      {"tokens 0 to 19 of the prompt", "every token is protected"});
  expect_words(fails({.policy = "full", .flags = {{"max_tokens", "30"}}}),
               {"token 30", "evicts nothing"});
}

TEST(ReplayPoliciesTest, LeavesTheComparisonOut) {
  const Trace trace = random_trace(40, 10, 2);
  Settings settings{.policy = "morphkv", .flags = {{"capacity", "16"}, {"window", "5"}}};
  const auto kept = run(trace, settings).kept;
  settings.compare = false;
  const Outcome outcome = run(trace, settings);
  EXPECT_EQ(outcome.kept, kept);
  EXPECT_TRUE(outcome.losses.empty());
}

TEST(ReplayPoliciesTest, AnOutputOfZerosHasNoRelativeError) {
  Trace trace = random_trace(20, 10, 1);
  std::fill(trace.values.begin(), trace.values.end(), 0.0F);
  EXPECT_EQ(run(trace, {.policy = "full"}).losses.back()[0].output_error, 0);
}

TEST(ReplayPoliciesTest, DividesABudget) {
  const Trace trace = random_trace(60, 40, 2);
  const auto capacities = [&](Flags budget) {
    budget.insert({{"capacity", "16"}, {"window", "4"}, {"sinks", "0"}});
    const auto session = replay::make_session<float>({.policy = "morphkv", .flags = budget}, trace);
    replay::Replay(trace, *session, false).run(0, [](std::size_t, const auto&) {});
    return std::vector{session->capacity(0), session->capacity(1)};
  };
  EXPECT_EQ(capacities({}), std::vector<std::size_t>(2, 16));
  // C = 12, beta = 4: from 21 down to 3, and the window.
  const Flags first = {{"budget", "pyramid"}, {"beta", "4"}, {"layer", "0"}, {"layers", "10"}};
  const Flags last = {{"budget", "pyramid"}, {"beta", "4"}, {"layer", "9"}, {"layers", "10"}};
  EXPECT_EQ(capacities(first), std::vector<std::size_t>(2, 25));
  EXPECT_EQ(capacities(last), std::vector<std::size_t>(2, 7));
  const auto adaptive = capacities({{"budget", "adaptive"}, {"floor", "0"}});
  EXPECT_EQ(adaptive[0] + adaptive[1], 32U);
  EXPECT_EQ(capacities({{"budget", "adaptive"}, {"floor", "1"}}), std::vector<std::size_t>(2, 16));
}

}  // namespace
}  // namespace morphkv::testing::policies_test
