// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "llama/sampler.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::sampler_test { namespace {

using llama::Sampler;
using llama::SamplingOptions;

/// Logits of these probabilities.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));
  return logits;
}

/// How often each token is drawn.
std::vector<double> shares(SamplingOptions options, const std::vector<float>& logits) {
  constexpr int draws = 20000;
  Sampler sampler(options);
  std::vector<double> result(logits.size());
  for (int i = 0; i < draws; ++i) result[static_cast<std::size_t>(sampler(logits))] += 1.0 / draws;
  return result;
}

void expect_shares(const SamplingOptions& options, const std::vector<double>& expected) {
  const auto found = shares(options, logits_of({0.1, 0.4, 0.2, 0.3}));
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 0.015) << i;
}

TEST(Sampler, WithoutTemperatureTheMostLikely) {
  Sampler sampler({});
  EXPECT_EQ(sampler(logits_of({0.1, 0.4, 0.2, 0.3})), 1);
  EXPECT_EQ(sampler(std::vector<float>{2, 5, 5, 1}), 1) << "of equal ones the first";
}

TEST(Sampler, DrawsByProbability) {
  expect_shares({.temperature = 1}, {0.1, 0.4, 0.2, 0.3});
  const double total = 0.01 + 0.16 + 0.04 + 0.09;
  expect_shares({.temperature = 0.5}, {0.01 / total, 0.16 / total, 0.04 / total, 0.09 / total});
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  expect_shares({.temperature = 1, .top_p = 0.69}, {0, 4.0 / 7, 0, 3.0 / 7});
  expect_shares({.temperature = 1, .top_p = 0.71}, {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
  expect_shares({.temperature = 1, .top_p = 0.01}, {0, 1, 0, 0});
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  expect_shares({.temperature = 1, .min_p = 0.49}, {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
  expect_shares({.temperature = 1, .min_p = 0.51}, {0, 4.0 / 7, 0, 3.0 / 7});
  expect_shares({.temperature = 1, .min_p = 1}, {0, 1, 0, 0});
}

TEST(Sampler, ThePenaltyIsForTokensThatOccurred) {
  Sampler sampler({.repetition_penalty = 2});
  const std::vector<float> logits = {3, 4, 2.5F, -1};
  EXPECT_EQ(sampler(logits), 1);
  EXPECT_EQ(sampler(logits), 0) << "4 / 2 is below 3";
  EXPECT_EQ(sampler(logits), 2) << "3 / 2 is below 2.5";
  Sampler negative({.repetition_penalty = 2});
  negative.add(0);
  EXPECT_EQ(negative(std::vector<float>{-1, -1.5F}), 1) << "-1 * 2 is below -1.5";
}

TEST(Sampler, TheSeedDecides) {
  const std::vector<float> logits(50, 0.0F);
  const auto text = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<int> tokens;
    for (int i = 0; i < 30; ++i) tokens.push_back(sampler(logits));
    return tokens;
  };
  EXPECT_EQ(text(5), text(5));
  EXPECT_NE(text(5), text(6));
}

TEST(Sampler, OptionsThatAreNotValid) {
  const auto said = [](const SamplingOptions& options) {
    return complaint([&] { Sampler{options}; });
  };
  EXPECT_NE(said({.repetition_penalty = 0}).find("--repetition-penalty = 0"), std::string::npos);
  EXPECT_NE(said({.temperature = -1}).find("--temperature = -1"), std::string::npos);
  EXPECT_NE(said({.top_p = 0}).find("--top-p = 0"), std::string::npos);
  EXPECT_NE(said({.min_p = 1.5}).find("--min-p = 1.5"), std::string::npos);
}

}  // namespace
}  // namespace morphkv::testing::sampler_test
