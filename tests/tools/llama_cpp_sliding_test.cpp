// SPDX-License-Identifier: Apache-2.0
// llama_cpp on a random model of Gemma 2's kind, half of whose layers slide: the policies evict
// from the others. The loss of a given text is that of our own engine, whose sliding layers hold
// their window. Where no llama.cpp was found there is no program, and nothing to test.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "llama/hugging_face.hpp"
#include "llama/session.hpp"
#include "morphkv/morphkv.hpp"
#include "tools/random_families.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::llama_cpp_sliding_test { namespace {

using nlohmann::json;

constexpr const char* program = MORPHKV_PROGRAM_DIR "/llama_cpp";
constexpr const char* converter = MORPHKV_PROGRAM_DIR "/to_gguf";
constexpr std::size_t window = 20;
constexpr std::size_t prompt = 150;
constexpr std::size_t tokens = 450;

class LlamaCppSlidingTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(program)) return;
    folder = std::make_unique<TemporaryFolder>();
    RandomFamily family = random_gemma2();
    family.config["max_position_embeddings"] = 4096;
    family.config["sliding_window"] = window;
    family.write(folder->path(), support::TensorType::f32);
    json words;
    for (int i = 0; i < 31; ++i) {
      words[i == 0 ? "<pad>" : i == 1 ? "<bos>" : "w" + std::to_string(i)] = i;
    }
    (void)folder->write("vocab.json", words.dump());
    model = std::make_unique<llama::Model>(llama::load_hugging_face(folder->path()));
    std::string line;
    text = {1};
    for (std::size_t t = 1; t < tokens; ++t) {
      text.push_back(2 + static_cast<int>((t * t / 7 + 3 * t) % 29));
      line += "w" + std::to_string(text.back()) + " ";
    }
    (void)folder->write("text", line);
    (void)run(std::string("'") + converter + "' --model '" + folder->path().string() +
              "' --output '" + gguf() + "'");
  }
  static void TearDownTestSuite() {
    folder.reset();
    model.reset();
  }
  void SetUp() override {
    if (folder == nullptr) GTEST_SKIP() << "no llama.cpp was found when this was configured";
    ASSERT_TRUE(std::filesystem::exists(gguf())) << said();
  }

  static int run(const std::string& command) {
    const int status =
        std::system((command + " > '" + file("out") + "' 2> '" + file("err") + "'").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static int exit_code(const std::string& options) {
    return run(std::string("'") + program + "' --model '" + gguf() +
               "' --threads 1 --cache-type f32 --ignore-end --json '" + file("result.json") + "' " +
               options);
  }
  static json result_of(const std::string& options) {
    EXPECT_EQ(exit_code(options), 0) << options << '\n' << said();
    json result = json::parse(bytes_of(file("result.json")), nullptr, false);
    EXPECT_FALSE(result.is_discarded()) << options;
    return result;
  }
  /// Of the text after the prompt, per token.
  static json loss_of(const std::string& options) {
    return result_of("--evaluate '" + file("text") + "' --prompt-length " + std::to_string(prompt) +
                     " " + options);
  }
  /// The same of our own engine.
  template <class Policy>
  static double own_loss(const typename Policy::Options& options) {
    llama::Session<Policy> session(*model, options);
    std::span<const float> logits = session.prefill(std::span(text).first(prompt));
    double sum = 0;
    for (std::size_t t = prompt; t < tokens; ++t) {
      double total = 0;
      for (const float logit : logits) total += std::exp(static_cast<double>(logit));
      const float logit = logits[static_cast<std::size_t>(text[t])];
      sum += std::log(total) - static_cast<double>(logit);
      if (t + 1 < tokens) logits = session.step(text[t]);
    }
    return sum / static_cast<double>(tokens - prompt);
  }

  static std::string said() { return bytes_of(file("err")); }
  static std::string file(const std::string& name) { return folder->file(name).string(); }
  static std::string gguf() { return file("model.gguf"); }

  inline static std::unique_ptr<TemporaryFolder> folder;
  inline static std::unique_ptr<llama::Model> model;
  inline static std::vector<int> text;
};

constexpr double tolerance = 1e-4;

TEST_F(LlamaCppSlidingTest, WithoutEvictionTheLossIsThatOfLlamaCppAlone) {
  const double own = own_loss<Full>({.max_tokens = tokens});
  const double alone = loss_of("--scope none").at("nll");
  EXPECT_NEAR(alone, own, tolerance);
  for (const char* scope : {"head", "layer", "sequence"}) {
    for (const char* block : {"512", "60"}) {
      const json full =
          loss_of(std::string("--policy full --scope ") + scope + " --block " + block);
      EXPECT_NEAR(full.at("nll").get<double>(), alone, tolerance) << scope << ' ' << block;
    }
  }
}

TEST_F(LlamaCppSlidingTest, TheFullLayersAreEvictedAsInOurOwnEngine) {
  const double full = own_loss<Full>({.max_tokens = tokens});
  const auto expect = [&](const std::string& options, double own, double allowed = tolerance) {
    const json result = loss_of(options);
    EXPECT_NEAR(result.at("nll").get<double>(), own, allowed) << options;
    EXPECT_LE(result.at("cells").at("in_use"), 41) << options;
    EXPECT_GT(std::abs(own - full), 3 * allowed) << "it makes no difference: " << options;
  };
  expect("--policy decayed_max --recent 20 --half-life 30 --capacity 40",
         own_loss<DecayedMax>({.capacity = 40, .recent = 20, .half_life = 30}));
  expect("--policy tova --recent 20 --capacity 40", own_loss<TOVA>({.capacity = 40, .recent = 20}));
  expect("--policy h2o --recent 20 --heavy 20", own_loss<H2O>({.heavy = 20, .recent = 20}));
  // A window rounds weights to binary16, so the two engines may part at a near tie.
  expect("--policy morphkv --window 20 --capacity 40",
         own_loss<MorphKV>({.capacity = 40, .window = 20}), 1e-3);
}

TEST_F(LlamaCppSlidingTest, EveryScopeKeepsItsCapacity) {
  for (const std::string scope : {"head", "layer", "sequence"}) {
    for (const std::string block : {"512", "60", "1"}) {
      const json result = loss_of("--policy morphkv --window 20 --capacity 40 --scope " + scope +
                                  " --block " + block);
      EXPECT_EQ(result.at("cells").at("in_use"), 40) << scope;
      EXPECT_LT(result.at("nll").get<double>(), 6) << scope;
    }
  }
}

TEST_F(LlamaCppSlidingTest, APolicyThatMayEvictFromTheWindowIsRefused) {
  for (const char* options : {"--policy decayed_max --recent 19 --capacity 40",
                              "--policy snapkv --window 19 --capacity 40"}) {
    EXPECT_EQ(exit_code(std::string("--prompt 'w2 w3' ") + options), 2) << options;
    EXPECT_NE(said().find("recent tokens of the policy = 19: must be at least 20"),
              std::string::npos)
        << said();
  }
  EXPECT_EQ(exit_code("--prompt 'w2 w3' --tokens 5 --policy full --trace '" + file("trace") +
                      "' --layers 0"),
            2);
  EXPECT_NE(said().find("--layers = 0: must be a layer whose attention does not slide"),
            std::string::npos)
      << said();
}

TEST_F(LlamaCppSlidingTest, SequencesAndSavedStatesGoOn) {
  const std::string policy = " --policy morphkv --window 20 --capacity 40 ";
  const auto words = [](std::size_t begin, std::size_t end) {
    std::string all = " --prompt '";
    for (std::size_t t = begin; t < end; ++t) all += "w" + std::to_string(text[t]) + " ";
    return all + "' ";
  };
  const std::string first = words(1, 60);
  const std::string second = words(100, 170);
  const json together = result_of("--tokens 60" + policy + first + second);
  EXPECT_EQ(together.at("sequences")[0].at("tokens"),
            result_of("--tokens 60" + policy + first).at("tokens"));
  EXPECT_EQ(together.at("sequences")[1].at("tokens"),
            result_of("--tokens 60" + policy + second).at("tokens"));
  const json whole = result_of("--tokens 110" + policy + first);
  json tokens_of_both =
      result_of("--tokens 70" + policy + first + " --save-state '" + file("state") + "'")
          .at("tokens");
  const json rest = result_of("--tokens 40 --load-state '" + file("state") + "'");
  for (const json& token : rest.at("tokens")) tokens_of_both.push_back(token);
  EXPECT_EQ(tokens_of_both, whole.at("tokens"));
}

}  // namespace
}  // namespace morphkv::testing::llama_cpp_sliding_test
