// SPDX-License-Identifier: Apache-2.0
// The program, with a real llama.cpp and a trained model: against llama.cpp alone, and against our
// own engine. Where no llama.cpp was found there is no program, and nothing to test.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "llama/load.hpp"
#include "llama/session.hpp"
#include "morphkv/morphkv.hpp"
#include "tasks/travel_log.hpp"
#include "tools/random_model.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::llama_cpp_program_test { namespace {

using nlohmann::json;

constexpr const char* program = MORPHKV_PROGRAM_DIR "/llama_cpp";
constexpr const char* converter = MORPHKV_PROGRAM_DIR "/to_gguf";
constexpr const char* model_folder = MORPHKV_SOURCE_DIR "/bench/models/three-tasks";

/// The model as GGUF, and a prompt of some 320 tokens.
class LlamaCppProgramTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(program)) return;
    folder = std::make_unique<TemporaryFolder>();
    convert(model_folder, gguf());
    const llama::ModelFiles files(model_folder);
    weights = std::make_unique<llama::Model>(files.load());
    tokenizer = files.load_tokenizer(weights->config);
    prompt = tasks::TravelLog().make(tasks::Options{}, 1000003).prompt;
  }
  static void TearDownTestSuite() {
    folder.reset();
    weights.reset();
    tokenizer.reset();
  }
  void SetUp() override {
    if (folder == nullptr) GTEST_SKIP() << "no llama.cpp was found when this was configured";
    ASSERT_TRUE(std::filesystem::exists(gguf())) << said();
  }

  /// What the program writes down of a run.
  static json generate(const std::string& options, const std::string& cache_type = "f32") {
    std::filesystem::remove(result_file());
    EXPECT_EQ(exit_code(options + " --cache-type " + cache_type), 0) << options << '\n' << said();
    json result = json::parse(bytes_of(result_file()), nullptr, false);
    EXPECT_FALSE(result.is_discarded()) << options;
    return result;
  }
  static int exit_code(const std::string& options, const std::string& model = gguf()) {
    return run(std::string("'") + program + "' --model '" + model + "' --json '" +
               result_file().string() + "' --threads 1 --ignore-end " + options + " > '" +
               folder->file("out").string() + "' 2> '" + said_file() + "'");
  }
  static int convert(const std::string& from, const std::string& to) {
    return run(std::string("'") + converter + "' --model '" + from + "' --output '" + to +
               "' 2> '" + said_file() + "'");
  }
  static std::string said() { return bytes_of(said_file()); }
  static std::string prompt_option() {
    const std::vector<int> words(prompt.begin() + 1, prompt.end());  // llama.cpp adds <bos>
    return "--prompt '" + tokenizer->decode(words) + "' ";
  }

  /// What our own engine writes, greedily.
  template <class Policy, class Stored = float>
  static std::vector<int> own_text(const typename Policy::Options& options, std::size_t tokens) {
    llama::Session<Policy, Stored> session(*weights, options);
    std::vector<int> written = {llama::most_likely(session.prefill(prompt))};
    while (written.size() < tokens) {
      written.push_back(llama::most_likely(session.step(written.back())));
    }
    return written;
  }

  /// Scope head, capacity 128: the same policy in the program and in our engine.
  template <class Policy>
  static void agree(const std::string& options, const typename Policy::Options& own) {
    const json result = generate(prompt_option() + "--capacity 128 --tokens 400 " + options);
    EXPECT_EQ(result.at("tokens"), json(own_text<Policy>(own, 400))) << options;
  }

  inline static std::unique_ptr<TemporaryFolder> folder;
  inline static std::unique_ptr<llama::Model> weights;
  inline static std::unique_ptr<llama::Tokenizer> tokenizer;
  inline static std::vector<int> prompt;

 private:
  static int run(const std::string& command) {
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static std::string gguf() { return folder->file("model.gguf").string(); }
  static std::string said_file() { return folder->file("said").string(); }
  static std::filesystem::path result_file() { return folder->file("result.json"); }
};

/// Cells that llama.cpp would write down if asked to save the sequence: its own count. A cell takes
/// some bytes more than keys and values, for its position and token.
std::size_t saved_cells(const json& result) {
  return result.at("state_bytes").get<std::size_t>() /
         result.at("cells").at("bytes_each").get<std::size_t>();
}

TEST_F(LlamaCppProgramTest, TheConvertedModelReadsAndWritesAsOurEngineDoes) {
  const json result = generate(prompt_option() + "--scope none --tokens 100");
  EXPECT_EQ(result.at("prompt_tokens"), json(prompt));
  EXPECT_EQ(result.at("tokens"), json(own_text<Full>({.max_tokens = 1024}, 100)));
}

TEST_F(LlamaCppProgramTest, FullWritesWhatLlamaCppWritesAlone) {
  const json alone = generate(prompt_option() + "--scope none --tokens 400");
  for (const char* scope : {"sequence", "layer", "head"}) {
    for (const char* block : {"512", "100"}) {
      const std::string options =
          std::string("--policy full --scope ") + scope + " --block " + block;
      const json full = generate(prompt_option() + options + " --tokens 400");
      EXPECT_EQ(full.at("tokens"), alone.at("tokens")) << options;
      EXPECT_EQ(full.at("cells").at("in_use"), prompt.size() + 399);
    }
  }
}

TEST_F(LlamaCppProgramTest, HeadsThatDecideAloneWriteWhatOurCacheWrites) {
  agree<MorphKV>("--policy morphkv --window 32", {.capacity = 128, .window = 32});
  agree<MorphKV>(
      "--policy morphkv --window 32 --fusion max --group mean",
      {.capacity = 128, .window = 32, .fusion = Fusion::max, .group = GroupFusion::mean});
  agree<DecayedMax>("--policy decayed_max --recent 32", {.capacity = 128, .recent = 32});
  agree<H2O>("--policy h2o", {.heavy = 64, .recent = 64});
  agree<SnapKV>("--policy snapkv --window 32", {.capacity = 128, .window = 32, .max_tokens = 1024});
  agree<TOVA>("--policy tova", {.capacity = 128});
  agree<StreamingLLM>("--policy streaming_llm", {.capacity = 128});
  agree<morphkv::Random>("--policy random --recent 32", {.capacity = 128, .recent = 32});
}

/// With binary16 llama.cpp rounds queries and weights too, so that no two engines agree on scores
/// for long. Who is drawn by lot does not depend on them, and heads copy more than ever.
TEST_F(LlamaCppProgramTest, HalfPrecisionKeysAndValuesAreCopiedWhole) {
  const json result =
      generate(prompt_option() + "--capacity 128 --tokens 400 --policy random --recent 32", "f16");
  EXPECT_EQ(result.at("tokens"),
            json(own_text<morphkv::Random, Eigen::half>({.capacity = 128, .recent = 32}, 400)));
}

TEST_F(LlamaCppProgramTest, NoPolicyHoldsMoreThanItsCapacityAndTheTokenThatAttends) {
  for (const char* policy : {"recommended", "morphkv --window 16", "decayed_max --recent 16", "h2o",
                             "streaming_llm", "tova", "random --recent 16 --no-protect-prompt"}) {
    for (const char* scope : {"sequence", "layer", "head"}) {
      const json result = generate(std::string("--prompt 'rules begin' --tokens 400 --capacity 64 "
                                               "--policy ") +
                                   policy + " --scope " + scope);
      const json& cells = result.at("cells");
      EXPECT_LE(cells.at("most_writing"), 65) << policy << ", " << scope;
      EXPECT_GE(cells.at("in_use"), 64) << policy << ", " << scope;
      EXPECT_EQ(cells.at("allocated"), 256) << "llama.cpp rounds up to 256";
      EXPECT_EQ(saved_cells(result), cells.at("in_use")) << policy << ", " << scope;
      EXPECT_EQ(result.at("tokens").size(), 400U);
    }
  }
}

TEST_F(LlamaCppProgramTest, APromptInBlocksNeverNeedsMoreThanTheCapacityAndABlock) {
  const json result = generate(prompt_option() + "--capacity 64 --block 32 --tokens 9");
  EXPECT_LE(result.at("cells").at("most_reading"), 96);
  EXPECT_EQ(result.at("cells").at("in_use"), 64);
  EXPECT_EQ(saved_cells(result), 64U);
}

TEST_F(LlamaCppProgramTest, DrawsTokensWithASeed) {
  const auto text = [](const std::string& options) {
    return generate(prompt_option() + "--capacity 64 --tokens 60 " + options).at("text");
  };
  const json drawn = text("--temperature 1.5 --seed 1");
  EXPECT_EQ(text("--temperature 1.5 --seed 1"), drawn);
  EXPECT_NE(text("--temperature 1.5 --seed 2"), drawn);
  EXPECT_EQ(text("--temperature 1.5 --top-p 0.000001 --seed 2"), text("")) << "one token is left";
  EXPECT_NE(text("--repetition-penalty 2"), text(""));
  EXPECT_EQ(exit_code("--temperature -1"), 2);
  EXPECT_NE(said().find("--temperature = -1"), std::string::npos) << said();
}

TEST_F(LlamaCppProgramTest, WhatMakesNoSenseIsSaidAndNothingIsRun) {
  EXPECT_NE(exit_code("--scope heads"), 0);
  EXPECT_NE(said().find("--scope"), std::string::npos) << said();
  EXPECT_NE(said().find("heads"), std::string::npos) << said();
  EXPECT_EQ(exit_code("--flash-attention --scope layer"), 2);
  EXPECT_NE(said().find("must be with --scope head or none"), std::string::npos) << said();
  EXPECT_EQ(exit_code("--policy morphkv --capacity 8 --window 16"), 2);
  EXPECT_NE(said().find("capacity = 8: must be above window = 16"), std::string::npos) << said();
  EXPECT_EQ(exit_code("", MORPHKV_SOURCE_DIR "/README.md"), 2);
  EXPECT_NE(said().find("README.md"), std::string::npos) << said();
}

#if defined(MORPHKV_TOKENIZER_JSON)
TEST_F(LlamaCppProgramTest, TheConverterRefusesAModelWithTokenizerJson) {
  const TemporaryFolder hub;
  llama::Config config = family_config("llama");
  config.vocabulary = 600;
  write_hugging_face(random_model(config, 3), hub.path(), support::TensorType::bf16);
  std::filesystem::copy(MORPHKV_SOURCE_DIR "/tests/tools/tokenizers/digits.json",
                        hub.file("tokenizer.json"));
  EXPECT_EQ(convert(hub.path().string(), hub.file("model.gguf").string()), 2);
  EXPECT_NE(said().find("a model with tokenizer.json is not converted"), std::string::npos)
      << said();
  EXPECT_FALSE(std::filesystem::exists(hub.file("model.gguf")));
}
#endif

}  // namespace
}  // namespace morphkv::testing::llama_cpp_program_test
