// SPDX-License-Identifier: Apache-2.0
// The registry: every program takes its policies and options from it.
#include <gtest/gtest.h>

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "morphkv/morphkv.hpp"
#include "policies/command_line.hpp"
#include "policies/registry.hpp"
#include "support/available_memory.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::policies_test { namespace {

using policies::OptionTexts;
using policies::PolicyChoice;
using policies::PolicyEntry;

/// The message about a policy's options.
std::string complaint_about(const std::string& policy, const OptionTexts& options) {
  return complaint([&] {
    policies::with_entry(policy,
                         [&](const auto& entry) { (void)policies::options_of(entry, options); });
  });
}

void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << text;
}

TEST(PolicyRegistry, EveryPolicyRunsAtACapacity) {
  std::set<std::string_view> names;
  policies::each_policy([&]<class P>(const PolicyEntry<P>& entry) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    const P policy(entry.at_capacity(64));
    if (policies::has_capacity<P>) {
      EXPECT_GE(policy.slots(), 64U) << entry.name;
    }
  });
  EXPECT_TRUE(names.contains(policies::default_policy));
}

TEST(PolicyRegistry, AGivenOptionReplacesItsDefaultAndIsDescribed) {
  policies::each_policy([]<class P>(const PolicyEntry<P>& entry) {
    for (const std::string& name : policies::option_names<P>()) {
      if (name == "capacity" && std::same_as<P, H2O>) continue;  // heavy and recent follow from it
      OptionTexts given;
      if (policies::has_capacity<P>) given["capacity"] = "64";
      const nlohmann::json before = policies::describe(policies::options_of(entry, given)).at(name);
      given[name] = before.is_boolean() ? "true" : before.is_string() ? "max" : "17";
      if (before == true) given[name] = "false";
      const nlohmann::json after = policies::describe(policies::options_of(entry, given)).at(name);
      EXPECT_EQ(after.is_string()   ? after.get<std::string>()
                : after.is_number() ? std::to_string(after.get<int>())
                                    : after.dump(),
                given[name])
          << entry.name << ", " << name;
    }
  });
}

TEST(PolicyRegistry, ACapacityImpliesTheOtherOptions) {
  policies::with_policy({"recommended", {{"capacity", "100"}}}, 10, 10,
                        []<class P>(const typename P::Options& options) {
                          EXPECT_EQ(policies::describe(options),
                                    policies::describe(recommended(100)));
                        });
  policies::with_policy({"h2o", {{"capacity", "101"}}}, 10, 10,
                        []<class P>(const typename P::Options& options) {
                          const auto fields = policies::describe(options);
                          EXPECT_EQ(fields.at("heavy"), 50);
                          EXPECT_EQ(fields.at("recent"), 51);
                        });
}

TEST(PolicyRegistry, CachesThatGrowHaveTheSlotsOfTheTokens) {
  const auto max_tokens = [](const PolicyChoice& choice) {
    std::size_t result = 0;
    policies::with_policy(choice, 300, 40, [&]<class P>(const typename P::Options& options) {
      result = policies::describe(options).at("max_tokens").template get<std::size_t>();
    });
    return result;
  };
  EXPECT_EQ(max_tokens({"full", {}}), 340U);
  EXPECT_EQ(max_tokens({"snapkv", {{"capacity", "100"}}}), 140U);
  EXPECT_EQ(max_tokens({"snapkv", {{"capacity", "400"}}}), 340U);
  EXPECT_EQ(max_tokens({"snapkv", {{"capacity", "100"}, {"protect_prompt", "true"}}}), 340U);
  EXPECT_EQ(max_tokens({"full", {{"max_tokens", "7"}}}), 7U);
}

TEST(PolicyRegistry, AnOptionThatAPolicyLacksIsRefusedByName) {
  expect_words(complaint_about("streaming_llm", {{"window", "64"}}),
               {"--window", "--policy streaming_llm has no such option", "--capacity, --sinks"});
  expect_words(complaint_about("full", {{"capacity", "64"}}), {"--capacity", "--max-tokens"});
  expect_words(complaint_about("lru", {}), {"--policy = lru", "recommended", "morphkv", "full"});
}

TEST(PolicyRegistry, AnInvalidValueIsRefusedByName) {
  for (const std::string text : {"", "-1", "1e3", "5x", "1000000000000", "2147483647"}) {
    expect_words(complaint_about("tova", {{"capacity", text}}),
                 {"--capacity = " + text + ": must be an integer from 0 to 2147483646"});
  }
  expect_words(complaint_about("morphkv", {{"fusion", "mean"}}), {"--fusion = mean", "sum, max"});
  expect_words(complaint_about("decayed_max", {{"half_life", "x"}}), {"--half-life = x"});
  expect_words(complaint_about("random", {{"seed", "-1"}}), {"--seed = -1", "64-bit"});
  EXPECT_EQ(complaint_about("random", {{"seed", "18446744073709551615"}}), "");
}

TEST(PolicyRegistry, ACacheThatNoMachineHoldsIsRefused) {
  const CacheShape shape{.layers = 32, .query_heads = 32, .kv_heads = 8, .head_dim = 128};
  const auto refusal = [&](const PolicyChoice& choice) {
    return complaint([&] {
      policies::with_policy(choice, 10, 10, [&]<class P>(const typename P::Options& options) {
        policies::require_cache_memory<float>(shape, options);
      });
    });
  };
  EXPECT_EQ(refusal({"recommended", {{"capacity", "64"}}}), "");
  for (const std::string policy : {"recommended", "morphkv", "snapkv", "h2o", "tova"}) {
    const OptionTexts options = policy == "snapkv" ? OptionTexts{{"max_tokens", "2000000000"}}
                                                   : OptionTexts{{"capacity", "2000000000"}};
    expect_words(refusal({policy, options}), {"2000000000 slots per head", "GiB"});
  }
}

/// Two layers of 2 KiB per slot with values and 1 KiB without; slots of this machine's memory.
TEST(PolicyRegistry, OnlyWhatACacheHoldsIsCounted) {
  CacheShape shape{.layers = 2, .head_dim = 128};
  const auto slots = static_cast<std::size_t>(support::total_memory() / 1500);
  const auto refusal = [&] {
    return complaint([&] {
      policies::require_cache_memory<float>(shape, StreamingLLM::Options{.capacity = slots});
    });
  };
  expect_words(refusal(), {std::to_string(slots) + " slots per head", "GiB"});
  shape.values_in_keys = true;
  EXPECT_EQ(refusal(), "");
  shape.values_in_keys = false;
  const std::vector<std::size_t> windows = {64, 0};
  shape.windows = windows.data();
  EXPECT_EQ(refusal(), "") << "a layer that slides holds its window";
}

TEST(PolicyCommandLine, TakesTheOptionsOfAllPolicies) {
  CLI::App app;
  PolicyChoice choice;
  policies::add_policy_options(app, choice);
  const std::vector<const char*> words = {"program", "--policy", "tova", "--capacity",
                                          "64",      "--window", "8",    "--no-protect-prompt"};
  app.parse(static_cast<int>(words.size()), words.data());
  EXPECT_EQ(choice.policy, "tova");
  EXPECT_EQ(choice.options,
            (OptionTexts{{"capacity", "64"}, {"window", "8"}, {"protect_prompt", "false"}}));
  expect_words(app.help(), {"--policy recommended", "--half-life x", "--pooling avg|max"});
}

}  // namespace
}  // namespace morphkv::testing::policies_test
