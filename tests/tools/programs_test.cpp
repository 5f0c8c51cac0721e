// SPDX-License-Identifier: Apache-2.0
// How the programs end: what they refuse, and that lost output is an error.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/random_model.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::programs_test { namespace {

constexpr const char* generate_program = MORPHKV_PROGRAM_DIR "/generate";
constexpr const char* memory_program = MORPHKV_PROGRAM_DIR "/memory";
constexpr const char* model = MORPHKV_SOURCE_DIR "/bench/models/three-tasks";

class ProgramsTest : public ::testing::Test {
 protected:
  /// \return the exit code, -1 if a signal ended the program
  int run(const std::string& program, const std::string& arguments,
          const std::string& output = "") {
    const std::string out = output.empty() ? folder_.file("out").string() : output;
    const std::string command = "'" + program + "' " + arguments + " > '" + out + "' 2> '" +
                                folder_.file("err").string() + "'";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int generate(const std::string& arguments, const std::string& output = "") {
    return run(generate_program,
               std::string("--model '") + model + "' --prompt 'rules begin' " + arguments, output);
  }
  [[nodiscard]] std::string out() const { return bytes_of(folder_.file("out")); }
  void expect_said(const std::string& text) const {
    const std::string said = bytes_of(folder_.file("err"));
    EXPECT_NE(said.find(text), std::string::npos) << said;
  }

  TemporaryFolder folder_;
};

TEST_F(ProgramsTest, GenerateRunsEveryPolicy) {
  ASSERT_EQ(generate("--tokens 30 --policy full"), 0);
  const std::string text = out();
  EXPECT_GT(text.size(), 60U) << text;
  for (const std::string policy :
       {"recommended", "recommended_for_prompts", "morphkv", "decayed_max", "snapkv", "h2o",
        "streaming_llm", "tova", "random --no-protect-prompt"}) {
    ASSERT_EQ(generate("--tokens 30 --capacity 64 --policy " + policy), 0) << policy;
    EXPECT_EQ(out(), text) << policy << ": nothing is evicted from 64 slots";
    ASSERT_EQ(generate("--tokens 30 --capacity 40 --policy " + policy), 0) << policy;
  }
}

TEST_F(ProgramsTest, GenerateRefusesWhatItCannotDo) {
  EXPECT_EQ(generate("--policy streaming_llm --window 64"), 2);
  expect_said("--window: --policy streaming_llm has no such option");
  EXPECT_EQ(generate("--capacity -1"), 2);
  expect_said("--capacity = -1: must be an integer from 0");
  EXPECT_EQ(generate("--capacity 1000000000000"), 2);
  expect_said("--capacity = 1000000000000: must be an integer from 0");
  EXPECT_EQ(generate("--capacity 2000000000"), 2);
  expect_said("2000000000 slots per head needs");
  EXPECT_EQ(generate("--nonsense"), 2);
  expect_said("--nonsense");
  EXPECT_EQ(run(generate_program, "--model '" + folder_.file("none").string() + "'"), 2);
  expect_said("there is no model");
}

#if defined(MORPHKV_TOKENIZER_JSON)
TEST_F(ProgramsTest, GenerateRunsAHuggingFaceFolderWithItsTokenizerAndChat) {
  llama::Config config = family_config("qwen2");
  config.vocabulary = 600;
  write_hugging_face(random_model(config, 3), folder_.path(), support::TensorType::bf16);
  std::filesystem::copy(MORPHKV_SOURCE_DIR "/tests/tools/tokenizers/digits.json",
                        folder_.file("tokenizer.json"));
  const auto hello = [&](const std::string& arguments) {
    return run(generate_program, "--model '" + folder_.path().string() + "' --prompt 'Hello 42' " +
                                     "--tokens 30 " + arguments);
  };
  ASSERT_EQ(hello("--threads 2"), 0);
  const std::string greedy = out();
  EXPECT_EQ(greedy.rfind("Hello 42", 0), 0U) << greedy;
  ASSERT_EQ(hello("--threads 1"), 0);
  EXPECT_EQ(out(), greedy) << "threads do not change a text";
  const auto drawn = [&](const std::string& seed) {
    EXPECT_EQ(hello("--temperature 2 --top-p 0.95 --min-p 0.01 --seed " + seed), 0);
    return out();
  };
  EXPECT_EQ(drawn("5"), drawn("5"));
  EXPECT_NE(drawn("5"), drawn("6"));
  ASSERT_EQ(hello("--repetition-penalty 1000"), 0);
  EXPECT_EQ(hello("--top-p 2"), 2);
  expect_said("--top-p = 2");
  EXPECT_EQ(hello("--chat"), 2);
  expect_said("the model has no chat template");
  (void)folder_.write("tokenizer_config.json",
                      R"({"chat_template": "<|im_start|>user\n<|im_end|>"})");
  EXPECT_EQ(hello("--chat"), 0);
  EXPECT_EQ(hello("--system x"), 2);
  expect_said("--system: needs --chat");
}
#endif

TEST_F(ProgramsTest, MemoryPrintsTablesAndRefusesArguments) {
  EXPECT_EQ(run(memory_program, ""), 0);
  EXPECT_NE(out().find("| Llama-3.1-8B |"), std::string::npos);
  EXPECT_EQ(run(memory_program, "--nonsense"), 2);
  expect_said("--nonsense");
}

TEST_F(ProgramsTest, MemoryAnswersForAConfig) {
  const std::string config =
      "--config '" +
      folder_
          .write("config.json", R"({"num_hidden_layers": 2, "num_attention_heads": 4,
                                    "num_key_value_heads": 2, "head_dim": 64})")
          .string() +
      "' ";
  ASSERT_EQ(run(memory_program, config + "--tokens 4096 --capacity 256 --memory 1MiB --json"), 0);
  const auto json = nlohmann::json::parse(out());
  EXPECT_EQ(json.at("full_cache").at("bytes"), 4096 * 2 * 2 * 2 * 64 * 2);
  EXPECT_EQ(json.at("memory"), 1 << 20);
  ASSERT_EQ(run(memory_program, config + "--tokens 4096 --policy h2o --bits 32 --batch 2"), 0);
  EXPECT_NE(out().find("| cache | a sequence | batch of 2 |"), std::string::npos) << out();
  EXPECT_EQ(run(memory_program, config + "--tokens 4096", "/dev/full"), 1);

  const auto expect_refused = [&](const std::string& arguments, const std::string& text) {
    EXPECT_EQ(run(memory_program, arguments), 2) << arguments;
    expect_said(text);
  };
  expect_refused(config, "--config requires --tokens");
  expect_refused("--tokens 4096", "--tokens requires --config");
  expect_refused("--capacity 256", "--config");
  expect_refused(config + "--tokens 0", "--tokens: Value 0 not in range");
  expect_refused(config + "--tokens 4096 --bits 8", "--bits: 8 not in {16,32}");
  expect_refused(config + "--tokens 4096 --memory 24x", "--memory: x unit not recognized");
  expect_refused(config + "--tokens 4096 --policy lru", "--policy = lru: must be one of");
  expect_refused(config + "--tokens 4096 --capacity x", "--capacity = x: must be an integer");
  expect_refused(config + "--tokens 4096 --policy h2o --window 3", "--window: --policy h2o has no");
  expect_refused("--tokens 4096 --config '" + folder_.file("none").string() + "'", "none");
}

TEST_F(ProgramsTest, OutputThatIsLostIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  EXPECT_EQ(generate("--tokens 5", "/dev/full"), 1);
  expect_said("generate: the standard output cannot be written");
  EXPECT_EQ(run(memory_program, "", "/dev/full"), 1);
  expect_said("memory: the standard output cannot be written");
  EXPECT_EQ(run(memory_program, "--help", "/dev/full"), 1);
  EXPECT_EQ(generate("--tokens 5 --trace /dev/full"), 1);
  expect_said("/dev/full: the file cannot be written");
}

TEST_F(ProgramsTest, ATraceIsCompleteOrAbsent) {
  EXPECT_EQ(generate("--tokens 5 --trace '" + folder_.file("trace").string() + "'"), 0);
  EXPECT_TRUE(std::filesystem::exists(folder_.file("trace")));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("trace.part")));
}

}  // namespace
}  // namespace morphkv::testing::programs_test
