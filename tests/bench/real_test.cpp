// SPDX-License-Identifier: Apache-2.0
// The parts of the benchmark on a real model: measures, passkeys, equal bytes, rows, the page.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "llama/session.hpp"
#include "real/contenders.hpp"
#include "real/language.hpp"
#include "real/page.hpp"
#include "real/passkey.hpp"
#include "real/report.hpp"
#include "real/rows.hpp"
#include "real/side_by_side.hpp"
#include "real/study.hpp"
#include "tools/random_model.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::real_test { namespace {

using real::PasskeyResult;
using real::Question;
using real::Results;

/// A token per character.
class Characters final : public llama::Tokenizer {
 public:
  [[nodiscard]] std::vector<int> encode(const std::string& text) const override {
    return encode_rendered(text);
  }
  [[nodiscard]] std::vector<int> encode_rendered(const std::string& text) const override {
    return {text.begin(), text.end()};
  }
  [[nodiscard]] std::string piece(int, int token) const override {
    return {static_cast<char>(token)};
  }
};

TEST(RealLanguage, AgreesWithDoublePrecision) {
  constexpr std::size_t vocabulary = 300;
  constexpr std::size_t tokens = 20;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  real::Language language(2);
  double kl = 0;
  double lost = 0;
  double full_nll = 0;
  std::size_t agreed = 0;
  for (std::size_t t = 0; t < tokens; ++t) {
    std::vector<float> full(vocabulary);
    for (float& x : full) x = normal(random);
    std::vector<float> other = full;
    for (float& x : other) x += normal(random) / 8;
    const int token = static_cast<int>(random() % vocabulary);
    language.add(0, token, full);
    language.add(1, token, other);

    const auto log_p = [](const std::vector<float>& logits) {
      double sum = 0;
      for (const float x : logits) sum += std::exp(static_cast<double>(x));
      std::vector<double> result;
      for (const float x : logits) result.push_back(static_cast<double>(x) - std::log(sum));
      return result;
    };
    const std::vector<double> p = log_p(full);
    const std::vector<double> q = log_p(other);
    for (std::size_t i = 0; i < vocabulary; ++i) kl += std::exp(p[i]) * (p[i] - q[i]);
    lost += p[static_cast<std::size_t>(token)] - q[static_cast<std::size_t>(token)];
    full_nll -= p[static_cast<std::size_t>(token)];
    agreed += std::max_element(p.begin(), p.end()) - p.begin() ==
                      std::max_element(q.begin(), q.end()) - q.begin()
                  ? 1U
                  : 0U;
  }
  EXPECT_NEAR(language.mean(1).kl, kl / tokens, 1e-4);
  EXPECT_NEAR(language.mean(1).nll_lost, lost / tokens, 1e-4);
  EXPECT_NEAR(language.mean(1).agreement, static_cast<double>(agreed) / tokens, 1e-12);
  EXPECT_NEAR(language.full_nll(), full_nll / tokens, 1e-4);
  EXPECT_EQ(language.mean(0).kl, 0);
  EXPECT_EQ(language.mean(0).nll_lost, 0);
  EXPECT_EQ(language.mean(0).agreement, 1);
}

TEST(RealPasskey, StatesTheNumberOnceAtItsDepth) {
  const Characters tokenizer;
  const std::vector<int> filler(1000, 'x');
  std::mt19937_64 random(1);
  const real::Passkey passkey = real::make_passkey(tokenizer, filler, 0.3, random);
  const std::string text = tokenizer.decode(passkey.tokens);

  ASSERT_EQ(passkey.digits.size(), real::passkey_digits);
  std::string number;
  for (const std::size_t index : passkey.digits) number += text[index];
  EXPECT_EQ(text.find(number), text.find("pass key is ") + 12);
  EXPECT_EQ(text.find(number, text.find(number) + 1), passkey.digits.front()) << "the answer";
  EXPECT_EQ(
      std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(text.find(number)), 'x'),
      300 + 1)
      << "the filler before it, and the x of 'text'";
  EXPECT_EQ(text.substr(passkey.question_end - 3, 3), " is");
  EXPECT_EQ(text.substr(passkey.text_end - 11),
            text.substr(text.find("<|im_end|>\n<|im_start|>user")))
      << "a later turn begins with the question";
  EXPECT_LT(passkey.prompt(Question::later_turn), passkey.prompt(Question::in_prompt));
  for (std::size_t i = 0; i < passkey.tokens.size(); ++i) {
    EXPECT_EQ(passkey.is_digit(i),
              std::find(passkey.digits.begin(), passkey.digits.end(), i) != passkey.digits.end());
  }
}

TEST(RealContenders, TakeNoMoreBytesThanRecommendedAndHardlyLess) {
  const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 64};
  const auto contenders = real::contenders(shape, 200);
  ASSERT_GE(contenders.size(), 7U);
  EXPECT_EQ(contenders.front().policy, "recommended");
  EXPECT_EQ(contenders.front().capacity, 200U);
  const auto bytes = static_cast<double>(contenders.front().bytes);
  for (const real::Contender& contender : contenders) {
    const auto own = static_cast<double>(contender.make(1)->memory().total());
    EXPECT_EQ(own, static_cast<double>(contender.bytes)) << contender.policy;
    EXPECT_LE(own, bytes) << contender.policy;
    EXPECT_GE(own, 0.9 * bytes) << contender.policy;
  }
}

/// The logits of each token that a session predicts.
template <class Policy>
std::vector<std::vector<float>> session_logits(const llama::Model& model,
                                               const typename Policy::Options& options,
                                               const std::vector<int>& tokens, std::size_t prompt) {
  llama::Session<Policy, comparison::Stored> session(model, options);
  std::vector<std::vector<float>> result;
  const auto add = [&](std::span<const float> logits) {
    result.emplace_back(logits.begin(), logits.end());
  };
  add(session.prefill({tokens.data(), prompt}));
  for (std::size_t t = prompt; t + 1 < tokens.size(); ++t) add(session.step(tokens[t]));
  return result;
}

TEST(RealSideBySide, ReadsAsSessionsDo) {
  const llama::Model model = test::random_model(test::small_config(true), 3);
  const CacheShape shape = model.config.shape();
  const std::vector<std::vector<int>> texts = {{1, 5, 9, 2, 8, 7, 3, 11, 30, 4, 6, 2, 1, 19},
                                               {7, 7, 12, 3, 25, 14, 2, 9, 10, 21}};
  const std::vector<std::size_t> prompts = {9, 6};
  const StreamingLLM::Options small{.capacity = 5, .sinks = 1};

  std::vector<std::vector<std::vector<std::vector<float>>>> seen(
      texts.size(), std::vector<std::vector<std::vector<float>>>(2));
  std::vector<std::size_t> watched(texts.size(), 0);
  std::vector<real::Reading> readings(texts.size());
  for (std::size_t t = 0; t < texts.size(); ++t) {
    real::Reading& reading = readings[t];
    reading.tokens = texts[t];
    reading.prompt = prompts[t];
    reading.caches.push_back(real::full_cache(shape).make(texts[t].size()));
    reading.caches.push_back(
        std::make_unique<comparison::CacheOf<KVCache<comparison::Stored, StreamingLLM>>>(shape,
                                                                                         small));
    reading.judge = [&, t](std::size_t cache, std::size_t index, std::span<const float> logits) {
      EXPECT_EQ(index, prompts[t] + seen[t][cache].size());
      seen[t][cache].emplace_back(logits.begin(), logits.end());
    };
    reading.watch = [&, t](std::size_t, std::size_t) { ++watched[t]; };
  }
  std::size_t tokens = 0;
  real::SideBySide(model, 2).read(readings, [&](std::size_t count) { tokens += count; });

  for (std::size_t t = 0; t < texts.size(); ++t) {
    const auto full = session_logits<Full>(model, {.max_tokens = 32}, texts[t], prompts[t]);
    const auto streaming = session_logits<StreamingLLM>(model, small, texts[t], prompts[t]);
    for (const auto& [expected, cache] : {std::pair(full, 0), std::pair(streaming, 1)}) {
      const auto& own = seen[t][static_cast<std::size_t>(cache)];
      ASSERT_EQ(own.size(), texts[t].size() - prompts[t]);
      ASSERT_EQ(own.size(), expected.size());
      for (std::size_t i = 0; i < own.size(); ++i) {
        for (std::size_t j = 0; j < own[i].size(); ++j) {
          EXPECT_NEAR(own[i][j], expected[i][j], 1e-4) << t << ' ' << cache << ' ' << i;
        }
      }
    }
    EXPECT_EQ(watched[t], 2 * (texts[t].size() - prompts[t]));
  }
  EXPECT_EQ(tokens, 9U + 6U + 2 * (4 + 3)) << "each prompt once, the others once per cache";
}

/// Two texts and two passkeys per question and depth under four policies.
Results some_results() {
  Results results;
  results.contenders = {{"full", 0, 0, 0, {}},
                        {"recommended", 512, 512, 1, {}},
                        {"morphkv", 512, 500, 1, {}},
                        {"h2o", 512, 510, 1, {}},
                        {"snapkv_recent", 512, 510, 1, {}},
                        {"tova", 512, 510, 1, {}},
                        {"streaming_llm", 512, 520, 1, {}},
                        {"random", 512, 510, 1, {}}};
  const std::vector<double> kl = {0, 0.03, 0.07, 0.05, 0.09, 0.1, 0.08, 0.2};
  for (const char* name : {"a", "b"}) {
    real::TextResult text{name, 3.0, {}};
    for (const double value : kl) text.caches.push_back({value, value, 0.9});
    results.texts.push_back(text);
  }
  for (const Question question : real::questions) {
    for (const double depth : {0.1, 0.9}) {
      for (int k = 0; k < 2; ++k) {
        // H2O finds one digit more than recommended at depth 0.9 of a later turn.
        const bool worse = question == Question::later_turn && depth > 0.5;
        results.passkeys.push_back(
            {depth, question, {5, worse ? 4 : 5, 0, worse ? 5 : 1, 0, 0, 0, 0}});
      }
    }
  }
  return results;
}

real::Plan some_plan() {
  real::Plan plan;
  plan.capacities = {512};
  plan.depths = {0.1, 0.9};
  plan.passkeys = 2;
  return plan;
}

TEST(RealRows, SayWhatTheResultsSay) {
  const auto rows = real::target_rows(some_results(), some_plan());
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_NEAR(rows[0].value.mean, 100 * (1 - 0.03 / 0.05), 1e-9) << "H2O is the best of the others";
  EXPECT_NEAR(rows[0].value.low, rows[0].value.mean, 1e-9) << "both texts are equal";
  EXPECT_TRUE(rows[0].met);
  EXPECT_NEAR(rows[1].value.mean, 100 * (1 - 0.07 / 0.08), 1e-9);
  EXPECT_FALSE(rows[1].met);
  EXPECT_NEAR(rows[2].value.mean, 5, 1e-9);
  EXPECT_TRUE(rows[2].met);
  EXPECT_NEAR(rows[3].value.mean, 4.5, 1e-9);
  EXPECT_TRUE(rows[3].met);
  EXPECT_NEAR(rows[4].value.mean, -1, 1e-9) << "the worst depth";
  EXPECT_FALSE(rows[4].met);
}

TEST(RealRows, NeverTakeTheFullCacheForAMissingPolicy) {
  for (std::size_t c = 1; c < some_results().contenders.size(); ++c) {
    Results results = some_results();
    const std::string name = std::exchange(results.contenders[c].policy, "other");
    EXPECT_NE(test::complaint([&] { (void)real::target_rows(results, some_plan()); }).find(name),
              std::string::npos);
  }
}

TEST(RealPage, HoldsTheResultsAndLoadsNothing) {
  Results results = some_results();
  results.texts.front().name = "</script><script>alert(1)</script>";
  const auto report = real::report_json(results, some_plan());
  EXPECT_EQ(report["rows"].size(), 5U);
  EXPECT_EQ(report["caches"].size(), 8U);
  EXPECT_NEAR(report["caches"][1]["kl"]["mean"].get<double>(), 0.03, 1e-12);
  EXPECT_EQ(report["caches"][1]["passkeys"][1]["depths"].size(), 2U);
  const std::string page = real::make_page(report, {});
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  for (const char* loads : {"src=", "@import", "url(", "fetch(", "<link"}) {
    EXPECT_EQ(page.find(loads), std::string::npos) << loads;
  }
}

}  // namespace
}  // namespace morphkv::testing::real_test
