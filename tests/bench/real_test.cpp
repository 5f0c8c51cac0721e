// SPDX-License-Identifier: Apache-2.0
// The parts of the benchmark on a real model: measures, look-ups, equal bytes, rows, the page.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "llama/session.hpp"
#include "real/accuracy_rows.hpp"
#include "real/contenders.hpp"
#include "real/kvpress.hpp"
#include "real/language.hpp"
#include "real/lookup.hpp"
#include "real/lookup_tasks.hpp"
#include "real/page.hpp"
#include "real/presses.hpp"
#include "real/report.hpp"
#include "real/response_study.hpp"
#include "real/rows.hpp"
#include "real/side_by_side.hpp"
#include "real/study.hpp"
#include "real/written_text.hpp"
#include "support/output_file.hpp"
#include "tools/random_model.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::real_test { namespace {

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

/// The text of some tokens.
std::string text_of(const std::vector<int>& tokens, std::size_t begin, std::size_t end) {
  return {tokens.begin() + static_cast<std::ptrdiff_t>(begin),
          tokens.begin() + static_cast<std::ptrdiff_t>(end)};
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(RealLookup, StatesTheFactAtItsDepthAndAsksAtTheEnd) {
  const real::Fact fact{.statement = "The fact.",
                        .mentions = 1,
                        .question = "The question?",
                        .lead = "It is",
                        .answer = " a 7-B."};
  const std::vector<int> filler(1000, '#');
  for (const double depth : {0.0, 0.3, 1.0}) {
    const real::Lookup lookup = real::make_lookup(Characters(), filler, depth, fact);
    const std::string text = text_of(lookup.tokens, 0, lookup.tokens.size());
    EXPECT_EQ(text,
              "<|im_start|>user\nRead this text.\n\n" +
                  std::string(static_cast<std::size_t>(1000 * depth), '#') + "\n\nThe fact.\n\n" +
                  std::string(1000 - static_cast<std::size_t>(1000 * depth), '#') +
                  "<|im_end|>\n<|im_start|>assistant\nI have read the text.<|im_end|>\n"
                  "<|im_start|>user\nThe question?<|im_end|>\n<|im_start|>assistant\nIt is a 7-B.");
    EXPECT_EQ(lookup.depth, depth);
    EXPECT_EQ(lookup.prompt(Question::in_prompt), text.find(" a 7-B."));
    EXPECT_EQ(lookup.prompt(Question::later_turn), text.rfind("<|im_start|>user\n"));
    std::string answer;
    for (const std::size_t index : lookup.answer) answer += text[index];
    EXPECT_EQ(answer, "a7B") << "neither spaces nor punctuation";
    for (std::size_t i = 0; i < text.size(); ++i) {
      EXPECT_EQ(lookup.is_answer(i),
                std::find(lookup.answer.begin(), lookup.answer.end(), i) != lookup.answer.end());
    }
  }
}

TEST(RealLookup, SpreadsMentionsBeforeTheLastOne) {
  const real::Fact fact{.statement = "@", .mentions = 3, .question = "", .lead = "", .answer = "a"};
  const std::vector<int> filler(1000, '#');
  const real::Lookup lookup = real::make_lookup(Characters(), filler, 0.9, fact);
  const std::string text = text_of(lookup.tokens, 0, lookup.tokens.size());
  std::vector<std::ptrdiff_t> before;
  for (std::size_t at = text.find('@'); at != std::string::npos; at = text.find('@', at + 1)) {
    before.push_back(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '#'));
  }
  EXPECT_EQ(before, (std::vector<std::ptrdiff_t>{300, 600, 900}));
  EXPECT_EQ(count_of(text, "#"), 1000U) << "all of the filler, once";
}

TEST(RealLookup, EveryTaskStatesWhatItAsksFor) {
  const std::vector<int> filler(100, '#');
  std::set<std::string> answers;
  for (const real::LookupTask& task : real::lookup_tasks) {
    std::mt19937_64 random(7);
    for (int k = 0; k < 50; ++k) {
      const real::Fact fact = task.make(random);
      const std::string said = fact.lead + fact.answer;
      EXPECT_EQ(count_of(fact.statement, said), 1U) << task.name << ": " << fact.statement;
      EXPECT_EQ(fact.question.find(fact.answer), std::string::npos) << task.name;
      EXPECT_EQ(fact.mentions, std::string(task.name).ends_with("x 3") ? 3U : 1U);
      const real::Lookup lookup = real::make_lookup(Characters(), filler, 0.5, fact);
      ASSERT_FALSE(lookup.answer.empty());
      if (std::string(task.name).starts_with("passkey")) {
        EXPECT_EQ(lookup.answer.size(), real::passkey_digits);
      }
      answers.insert(fact.answer);
    }
  }
  EXPECT_GT(answers.size(), 110U) << "the answers differ";
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
  const llama::Model model = testing::random_model(testing::small_config(true), 3);
  const CacheShape shape = model.shape();
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
    reading.watch = [&, t](const comparison::AnyCache&, std::size_t, std::size_t) { ++watched[t]; };
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

TEST(RealSideBySide, ReadsWhatEachCacheWrites) {
  const llama::Model model = testing::random_model(testing::small_config(true), 3);
  const std::vector<real::Contender> caches(2, real::full_cache(model.shape()));
  const std::vector<int> prompt = {1, 5, 9};
  const std::vector<std::vector<int>> written = {{1, 5, 9, 4, 7, 2}, {1, 5, 9, 6, 6, 30}};
  std::vector<std::vector<std::vector<float>>> seen(2);
  std::vector<real::Reading> readings;
  readings.push_back(real::make_reading(caches, {1, 5, 9, 0, 0, 0}, prompt.size()));
  readings[0].judge = [&](std::size_t cache, std::size_t, std::span<const float> logits) {
    seen[cache].emplace_back(logits.begin(), logits.end());
  };
  readings[0].next = [&](std::size_t cache, std::size_t index) { return written[cache][index]; };
  real::SideBySide(model, 1).read(readings, [](std::size_t) {});
  for (std::size_t c = 0; c < 2; ++c) {
    const auto expected = session_logits<Full>(model, {.max_tokens = 32}, written[c], 3);
    ASSERT_EQ(seen[c].size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      for (std::size_t j = 0; j < expected[i].size(); ++j) {
        EXPECT_NEAR(seen[c][i][j], expected[i][j], 1e-4) << c << ' ' << i;
      }
    }
  }
}

TEST(RealPresses, CutThePromptAndKeepTheResponse) {
  const CacheShape shape{.layers = 1, .query_heads = 2, .kv_heads = 1, .head_dim = 16};
  constexpr std::size_t prompt = 100;
  constexpr std::size_t kept = 50;
  constexpr std::size_t response = 70;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const auto numbers = [&](std::size_t tokens, std::size_t heads) {
    std::vector<float> result(tokens * heads * 16);
    for (float& x : result) x = normal(random);
    return result;
  };
  const auto presses = real::presses(shape, kept);
  ASSERT_FALSE(presses.empty());
  for (const real::Contender& press : presses) {
    const auto cache = press.make(prompt + response);
    ASSERT_EQ(cache->prefill(0, numbers(prompt, 2), numbers(prompt, 1), numbers(prompt, 1), {}),
              Status::ok);
    std::vector<float> output(32);
    for (std::size_t t = prompt; t < prompt + response; ++t) {
      ASSERT_EQ(cache->step(0, static_cast<Position>(t), numbers(1, 2), numbers(1, 1),
                            numbers(1, 1), output),
                Status::ok)
          << press.policy;
    }
    comparison::Lifetimes held(shape, prompt + response);
    cache->record(held, 1);
    const auto& last = held.last().front();
    const auto end = last.begin() + prompt;
    EXPECT_EQ(std::count(last.begin(), end, 1), static_cast<std::ptrdiff_t>(kept));
    EXPECT_EQ(std::count(end, last.end(), 1), static_cast<std::ptrdiff_t>(response));
  }
}

TEST(RealWrittenText, FindsNamesWithinSentences) {
  EXPECT_EQ(real::names_of("Then Mara saw Tobias. The sea was grey, Mara thought.\nWhen Al\n"
                           "\"Where is Oskar's dog?\" asked Freya"),
            (std::set<std::string>{"Mara", "Tobias", "Oskar", "Freya"}))
      << "no first words of sentences, lines and quotations; no Al, which is short";
  EXPECT_TRUE(real::names_of("").empty());
}

TEST(RealWrittenText, CountsNamesThatReturnInTheLastQuarter) {
  const std::string middle(200, '.');
  const std::string early = "he met Mara and Tobias " + std::string(77, '.');
  EXPECT_EQ(real::names_reused(early + middle + std::string(60, '.') +
                               " for Mara and Freya, but not " + std::string(12, '.')),
            1U);
  EXPECT_EQ(real::names_reused(early + middle + std::string(100, '.')), 0U);
  EXPECT_EQ(real::names_reused(""), 0U);
}

TEST(RealResponses, FullNllIsThatOfTheLogits) {
  const llama::Model model = testing::random_model(testing::small_config(false), 5);
  std::vector<int> tokens;
  std::mt19937 random(2);
  for (int t = 0; t < 300; ++t) tokens.push_back(static_cast<int>(random() % 31));
  constexpr std::size_t begin = 7;
  const auto logits = session_logits<Full>(model, {.max_tokens = 300}, tokens, begin);
  double expected = 0;
  for (std::size_t t = begin; t < tokens.size(); ++t) {
    double sum = 0;
    for (const float x : logits[t - begin]) sum += std::exp(static_cast<double>(x));
    expected +=
        std::log(sum) - static_cast<double>(logits[t - begin][static_cast<std::size_t>(tokens[t])]);
  }
  std::size_t read = 0;
  EXPECT_NEAR(real::full_nll(model, tokens, begin, 1, [&](std::size_t count) { read += count; }),
              expected / static_cast<double>(tokens.size() - begin), 1e-3)
      << "in more than one block";
  EXPECT_EQ(read, tokens.size() - 1);
}

/// Two texts and two look-ups per task, question and depth under seven policies.
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
  results.writers = results.contenders;
  results.presses = {
      {"full", 0, 0, 0, {}}, {"snapkv", 256, 256, 0, {}}, {"other", 256, 256, 0, {}}};
  const std::vector<double> kl = {0, 0.03, 0.07, 0.05, 0.09, 0.1, 0.08, 0.2};
  for (const char* name : {"a", "b"}) {
    real::TextResult text{name, 3.0, {}};
    for (const double value : kl) text.caches.push_back({value, value, 0.9});
    results.texts.push_back(text);
    results.cut_texts.push_back(
        {name, 3.0, {{0, 0, 1}, {0.04, 0.03, 0.9}, {name[0] == 'a' ? 0.01 : 0.05, 0.02, 0.9}}});
  }
  results.long_texts = {results.texts.front()};
  for (const Question question : real::questions) {
    for (const real::LookupTask& task : real::lookup_tasks) {
      for (const double depth : {0.1, 0.9}) {
        for (int k = 0; k < 2; ++k) {
          // H2O finds one digit more than recommended at depth 0.9 of a later turn.
          const bool worse = question == Question::later_turn && depth > 0.5;
          results.lookups.push_back(
              {task.name, depth, question, 5, {5, worse ? 4 : 5, 0, worse ? 5 : 1, 0, 0, 0, 0}});
        }
      }
    }
  }
  real::ResponseResult response{"Write.", {}};
  for (std::size_t c = 0; c < results.writers.size(); ++c) {
    response.caches.push_back({"A text.", 1.5 + 0.1 * static_cast<double>(c), 0.9, c});
  }
  results.responses = {response};
  return results;
}

real::Plan some_plan() {
  real::Plan plan;
  plan.capacities = {512};
  plan.depths = {0.1, 0.9};
  plan.lookups = 2;
  return plan;
}

TEST(RealRows, SayWhatTheResultsSay) {
  const auto rows = real::target_rows(some_results(), some_plan());
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_NEAR(rows[0].value.mean, 100 * (1 - 0.03 / 0.05), 1e-9) << "H2O is the best of the others";
  EXPECT_NEAR(rows[0].value.low, rows[0].value.mean, 1e-9) << "both texts are equal";
  EXPECT_TRUE(rows[0].met.value());
  EXPECT_NEAR(rows[1].value.mean, 100 * (1 - 0.07 / 0.08), 1e-9);
  EXPECT_FALSE(rows[1].met.value());
  EXPECT_NEAR(rows[2].value.mean, 5, 1e-9);
  EXPECT_TRUE(rows[2].met.value());
  EXPECT_NEAR(rows[3].value.mean, 4.5, 1e-9);
  EXPECT_TRUE(rows[3].met.value());
  EXPECT_NEAR(rows[4].value.mean, -1, 1e-9) << "the worst depth";
  EXPECT_FALSE(rows[4].met.value());
}

TEST(RealRows, OnlyOfWhatWasMeasured) {
  Results results = some_results();
  results.lookups.clear();
  EXPECT_EQ(real::target_rows(results, some_plan()).size(), 2U);
  results.texts.clear();
  EXPECT_TRUE(real::target_rows(results, some_plan()).empty());
}

TEST(RealRows, NeverTakeTheFullCacheForAMissingPolicy) {
  for (std::size_t c = 1; c < some_results().contenders.size(); ++c) {
    Results results = some_results();
    const std::string name = std::exchange(results.contenders[c].policy, "other");
    EXPECT_NE(testing::complaint([&] { (void)real::target_rows(results, some_plan()); }).find(name),
              std::string::npos);
  }
}

TEST(RealKvpress, ComparesTheBestOfBoth) {
  const Results results = some_results();
  const real::Row open = real::prompt_cut_row(results, {});
  EXPECT_NEAR(open.value.mean, 0.03, 1e-12) << "of `other`, which is better than snapkv";
  EXPECT_FALSE(open.met.has_value());

  const testing::TemporaryFolder folder;
  const auto file = folder.path() / "kvpress.json";
  const auto row_of = [&](const std::string& json) {
    support::write_file(file, json);
    return real::prompt_cut_row(results, real::read_press_figures(file, 256));
  };
  const std::string one = R"({"press": "One", "text": "a", "nll_lost": 0.05},
      {"press": "One", "text": "b", "nll_lost": 0.03})";
  const real::Row met = row_of("[" + one + R"(, {"press": "Two", "text": "a", "nll_lost": 0.001},
      {"press": "full", "capacity": null, "text": "a", "nll_lost": 0.0},
      {"press": "full", "capacity": null, "text": "b", "nll_lost": 0.0}])");
  EXPECT_TRUE(met.met.value());
  EXPECT_NE(met.target.find("0.0400, One"), std::string::npos)
      << "Two has one text alone, and full has another capacity";
  const real::Row not_met = row_of("[" + one + R"(,
      {"press": "Three", "capacity": 256, "text": "a", "nll_lost": 0.02},
      {"press": "Three", "capacity": 256, "text": "b", "nll_lost": 0.02}])");
  EXPECT_FALSE(not_met.met.value());
  EXPECT_NE(not_met.target.find("Three"), std::string::npos);

  for (const char* wrong :
       {"{}", "[]", "[1]", R"([{"press": "One", "text": "a", "nll_lost": "b"}])", "nothing",
        R"([{"press": "One", "capacity": 99, "text": "a", "nll_lost": 0.1}])"}) {
    EXPECT_NE(testing::complaint([&] { (void)row_of(wrong); }).find("kvpress.json"),
              std::string::npos)
        << wrong;
  }
  EXPECT_NE(testing::complaint([&] {
              (void)row_of(R"([{"press": "One", "text": "a", "nll_lost": 0.1}])");
            }).find("--kvpress"),
            std::string::npos)
      << "no press has figures of all texts";
}

TEST(RealAccuracyRows, CompareLengthsAndVersions) {
  const testing::TemporaryFolder folder;
  const auto write = [&](const char* name, double ours, double late) {
    const auto result = [](const char* policy, double accuracy) {
      return comparison::Json{
          {"policy", policy}, {"budget", 0.25}, {"accuracies", {accuracy, accuracy}}};
    };
    comparison::Json json;
    json["families"].push_back(
        {{"family", "f"}, {"results", {result("full", 1.0), result("recommended", ours)}}});
    json["lengths"].push_back(
        {{"length", 1000}, {"results", {result("full", 1.0), result("recommended", 0.9)}}});
    json["lengths"].push_back(
        {{"length", 12000}, {"results", {result("full", 0.98), result("recommended", late)}}});
    support::write_file(folder.path() / name, json.dump());
    return folder.path() / name;
  };
  const auto now = write("now.json", 0.8, 0.86);
  const auto rows = real::accuracy_rows(now, write("before.json", 0.85, 0.9));
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_NEAR(rows[0].value.mean, 4 - 2, 1e-9);
  EXPECT_TRUE(rows[0].met.value());
  EXPECT_NEAR(rows[1].value.mean, -5, 1e-9);
  EXPECT_FALSE(rows[1].met.value());
  EXPECT_EQ(real::accuracy_rows(now, {}).size(), 1U);
  EXPECT_FALSE(real::accuracy_rows(write("late.json", 0.8, 0.84), {})[0].met.value());
  for (const char* wrong : {"{}", R"({"lengths": [{"length": 1}, {"length": 2}]})"}) {
    support::write_file(folder.path() / "wrong.json", wrong);
    EXPECT_NE(testing::complaint([&] {
                (void)real::accuracy_rows(folder.path() / "wrong.json", {});
              }).find("wrong.json"),
              std::string::npos);
  }
}

/// The study of the smallest model takes every measure.
TEST(RealStudy, TakesEveryMeasureAndCountsItsTokens) {
  llama::Config config = testing::small_config(true);
  config.vocabulary = 128;
  config.context = 2000;
  config.stop_tokens = {3};
  const llama::Model model = testing::random_model(config, 3);
  const Characters tokenizer;
  std::mt19937 random(1);
  std::vector<real::Text> texts;
  for (const char* name : {"a", "b"}) {
    texts.push_back({name, {}});
    for (int t = 0; t < 330; ++t)
      texts.back().tokens.push_back(32 + static_cast<int>(random() % 90));
  }
  real::Plan plan;
  plan.capacities = {128};
  plan.prompt = 300;
  plan.response = 20;
  plan.long_prompt = 310;
  plan.long_response = 10;
  plan.depths = {0.5};
  plan.lookups = 1;
  plan.lookup_tokens = 100;
  plan.stories = 2;
  plan.story_tokens = 30;
  for (const bool all : {true, false}) {
    if (!all) plan.measures = {real::Measure::prompt_cut};
    real::Study study(model, tokenizer, texts, texts.front(), plan);
    const std::size_t total = study.total_tokens();
    std::size_t tokens = 0;
    const Results results =
        std::move(study).run([&](std::size_t count, const std::string&) { tokens += count; });
    EXPECT_EQ(tokens, total);
    EXPECT_EQ(results.cut_texts.size(), 2U);
    EXPECT_EQ(results.texts.size(), all ? 2U : 0U);
    EXPECT_EQ(results.long_texts.size(), all ? 1U : 0U);
    EXPECT_EQ(results.lookups.size(), all ? 2 * std::size(real::lookup_tasks) : 0U);
    EXPECT_EQ(results.responses.size(), all ? 2U : 0U);
    EXPECT_EQ(results.trails.tokens.size(), all ? 320U : 0U);
    for (const real::ResponseResult& response : results.responses) {
      ASSERT_EQ(response.caches.size(), results.writers.size());
      for (const real::Written& written : response.caches) {
        EXPECT_EQ(written.text.size(), plan.story_tokens);
        EXPECT_EQ(count_of(written.text, "\x03"), 0U) << "a stop token";
        EXPECT_GT(written.full_nll, 0);
      }
    }
    const auto report = real::report_json(results, plan, real::target_rows(results, plan));
    EXPECT_FALSE(real::make_page(report, real::trails_json(results, tokenizer)).empty());
  }
}

TEST(RealPage, HoldsTheResultsAndLoadsNothing) {
  Results results = some_results();
  results.texts.front().name = "</script><script>alert(1)</script>";
  const real::Plan plan = some_plan();
  std::vector<real::Row> rows = real::target_rows(results, plan);
  rows.push_back(real::prompt_cut_row(results, {}));
  const auto report = real::report_json(results, plan, rows);
  ASSERT_EQ(report["rows"].size(), 6U);
  EXPECT_EQ(report["rows"][0]["met"], true);
  EXPECT_EQ(report["rows"][1]["met"], false);
  EXPECT_TRUE(report["rows"][5]["met"].is_null());
  EXPECT_EQ(report["caches"].size(), 8U);
  EXPECT_NEAR(report["caches"][1]["kl"]["mean"].get<double>(), 0.03, 1e-12);
  EXPECT_EQ(report["caches"][1]["lookups"].size(), 2 * std::size(real::lookup_tasks));
  EXPECT_EQ(report["caches"][1]["lookups"][1]["depths"], (std::vector<double>{1.0, 0.8}));
  EXPECT_EQ(report["long"].size(), 8U);
  EXPECT_EQ(report["prompt_cut"].size(), 3U);
  EXPECT_NEAR(report["responses"][2]["full_nll"]["mean"].get<double>(), 1.7, 1e-12);
  const std::string page = real::make_page(report, {});
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  for (const char* loads : {"src=", "@import", "url(", "fetch(", "<link"}) {
    EXPECT_EQ(page.find(loads), std::string::npos) << loads;
  }
}

}  // namespace
}  // namespace morphkv::testing::real_test
