// SPDX-License-Identifier: Apache-2.0
// The program itself: exit codes, and the result that a reader finds.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "morphkv/version.hpp"
#include "replay/traces.hpp"

namespace morphkv::testing::program_test { namespace {

using nlohmann::json;

class ReplayProgramTest : public TraceFiles {
 protected:
  void SetUp() override {
    TraceFiles::SetUp();
    ASSERT_TRUE(std::filesystem::exists(program)) << "the program replay is not built";
  }

  /// \return whether it ended with 0
  bool run(const std::string& arguments) { return run_program(program, arguments); }
  bool run_program(const std::string& name, const std::string& arguments) {
    const std::string command = "'" + name + "' " + arguments + " > '" + path("out").string() +
                                "' 2> '" + path("err").string() + "'";
    status_ = std::system(command.c_str());
    return status_ == 0;
  }
  [[nodiscard]] std::string trace_and_output(const replay::Trace& trace) const {
    return "--trace '" + write(trace).string() + "' --output '" + path("kept.json").string() + "' ";
  }
  void expect_code(const std::string& arguments, int code) {
    run(arguments);
    EXPECT_TRUE(WIFEXITED(status_)) << arguments;
    EXPECT_EQ(WEXITSTATUS(status_), code) << arguments;
  }
  [[nodiscard]] std::string said() const { return read_bytes(path("err")); }
  [[nodiscard]] json result() const { return json::parse(read_bytes(path("kept.json"))); }

 private:
  static constexpr const char* program = MORPHKV_PROGRAM_DIR "/replay";
  int status_ = 0;
};

TEST_F(ReplayProgramTest, WritesWhatTheDocumentSays) {
  const replay::Trace trace = random_trace(50, 30, 4);
  ASSERT_TRUE(run(trace_and_output(trace) +
                  "--policy morphkv --capacity 16 --window 4 --fusion max --group mean "
                  "--sinks 2 --panes 2"))
      << said();
  const json written = result();
  EXPECT_EQ(written.at("format"), "morphkv-replay-2");
  EXPECT_EQ(written.at("library_version"), MORPHKV_VERSION_STRING);
  EXPECT_EQ(written.at("policy"), "morphkv");
  EXPECT_EQ(written.at("options"), json({{"capacity", 16},
                                         {"window", 4},
                                         {"fusion", "max"},
                                         {"group", "mean"},
                                         {"sinks", 2},
                                         {"protect_prompt", false},
                                         {"panes", 2}}));
  EXPECT_EQ(written.at("budget"), json({{"kind", "uniform"}}));
  EXPECT_EQ(written.at("scalar"), "float");
  EXPECT_EQ(written.at("chunk"), 0);
  EXPECT_EQ(written.at("shape"),
            json({{"tokens", 50}, {"query_heads", 8}, {"kv_heads", 2}, {"head_dim", 8}}));
  EXPECT_EQ(written.at("prompt_length"), 30);
  EXPECT_EQ(written.at("capacities"), json({16, 16}));
  EXPECT_EQ(written.at("memory").at("keys"), 2 * 16 * 8 * 4);
  std::size_t total = 0;
  for (const auto& [kind, bytes] : written.at("memory").items()) {
    if (kind != "total") total += bytes.get<std::size_t>();
  }
  EXPECT_EQ(written.at("memory").at("total"), total);
  for (const char* name : {"kept", "lost_mass", "output_error"}) {
    ASSERT_EQ(written.at(name).size(), 21U) << name;
    for (const json& step : written.at(name)) EXPECT_EQ(step.size(), 2U) << name;
  }
  expect_words(said(), {"replay: morphkv, ", "50 tokens", "mean lost mass", "mean output error",
                        "bytes", " s"});
}

TEST_F(ReplayProgramTest, MeansAreOverTheStepsAfterThePrompt) {
  const replay::Trace trace = random_trace(40, 20, 2);
  ASSERT_TRUE(run(trace_and_output(trace) + "--policy tova --capacity 8")) << said();
  const json written = result();
  double sum = 0;
  for (std::size_t step = 1; step <= 20; ++step) {
    for (const json& loss : written.at("lost_mass")[step]) sum += loss.get<double>();
  }
  EXPECT_NEAR(written.at("mean_lost_mass").get<double>(), sum / 40, 1e-12);
}

TEST_F(ReplayProgramTest, WritesToTheStandardOutput) {
  const replay::Trace trace = random_trace(20, 20, 2);
  ASSERT_TRUE(run("--trace '" + write(trace).string() + "' --output - --policy full --no-compare"))
      << said();
  const json written = json::parse(read_bytes(path("out")));
  EXPECT_EQ(written.at("kept").size(), 1U) << "no token follows the prompt";
  EXPECT_TRUE(written.at("lost_mass").is_null());
  EXPECT_TRUE(written.at("mean_output_error").is_null());
}

TEST_F(ReplayProgramTest, StoresHalfAndBfloat16) {
  const replay::Trace trace = random_trace(60, 30, 2);
  double previous = 1e-6;
  for (const std::string scalar : {"half", "bfloat16"}) {
    ASSERT_TRUE(run(trace_and_output(trace) + "--policy full --scalar " + scalar)) << said();
    const json written = result();
    EXPECT_EQ(written.at("scalar"), scalar);
    EXPECT_EQ(written.at("memory").at("keys"), 2 * 60 * 8 * 2);
    const auto error = written.at("mean_output_error").get<double>();
    EXPECT_GT(error, 3 * previous) << scalar;
    EXPECT_LT(error, 0.05) << scalar;
    previous = error;
  }
}

TEST_F(ReplayProgramTest, TheSameInputGivesTheSameBytes) {
  const std::string arguments = trace_and_output(random_trace(60, 10, 2)) +
                                "--policy random --capacity 16 --seed 5 --progress";
  ASSERT_TRUE(run(arguments)) << said();
  const std::string first = read_bytes(path("kept.json"));
  expect_words(said(), {"100 %"});
  ASSERT_TRUE(run(arguments));
  EXPECT_EQ(first, read_bytes(path("kept.json")));
}

TEST_F(ReplayProgramTest, BadInputEndsWithTwoAndLeavesNoResult) {
  const std::string arguments = trace_and_output(random_trace(30, 20, 2));
  for (const std::string wrong :
       {"--policy lru", "--kernel 5", "--capacity x", "--policy morphkv --capacity 3",
        "--scalar int8", "--capacity 2000000000", "--policy random --capacity 20 --protect-prompt",
        "--nonsense", "--budget pyramid"}) {
    expect_code(arguments + wrong, 2);
    expect_words(said(), {"replay: "});
    EXPECT_FALSE(std::filesystem::exists(path("kept.json"))) << wrong;
    EXPECT_FALSE(std::filesystem::exists(path("kept.json.part"))) << wrong;
  }
  expect_code("--trace '" + path("nothing").string() + "' --output -", 2);
  expect_words(said(), {"nothing: there is no such file"});
}

TEST_F(ReplayProgramTest, AnOldResultSurvivesABadRun) {
  std::ofstream(path("kept.json")) << "precious";
  expect_code(
      trace_and_output(random_trace(30, 20, 2)) + "--policy random --capacity 20 --protect-prompt",
      2);
  EXPECT_EQ(read_bytes(path("kept.json")), "precious");
}

TEST_F(ReplayProgramTest, AResultThatCannotBeWrittenEndsWithOne) {
  const std::string trace = "--trace '" + write(random_trace(30, 20, 2)).string() + "' ";
  expect_code(trace + "--output '" + path("no/such/folder").string() + "'", 1);
  expect_words(said(), {"cannot be written"});
  if (std::filesystem::exists("/dev/full")) expect_code(trace + "--output /dev/full", 1);
}

/// A trace with the notes that a page shows.
class ReplayPageTest : public ReplayProgramTest {
 protected:
  [[nodiscard]] std::string trace_with(const nlohmann::json& words) const {
    const replay::Trace trace = random_trace(40, 20, 2);
    const auto file = write(
        tensors_of(trace),
        {{"prompt_length", "20"}, {"layer", "7"}, {"model", "</script>"}, {"words", words.dump()}});
    return "--trace '" + file.string() + "' --html '" + path("page.html").string() + "' ";
  }
  [[nodiscard]] std::string page() const { return read_bytes(path("page.html")); }
};

TEST_F(ReplayPageTest, IsOneFileWithEveryPolicy) {
  const std::string arguments = trace_with(std::vector<std::string>(40, "<b>word"));
  ASSERT_TRUE(run(arguments + "--capacity 16 --policy tova --beside h2o,streaming_llm")) << said();
  EXPECT_FALSE(std::filesystem::exists(path("kept.json"))) << "--output was not given";
  const std::string text = page();
  expect_words(text, {"\"policy\":\"tova\"", "\"policy\":\"h2o\"", "\"policy\":\"streaming_llm\"",
                      "capacity 16", "\\u003cb>word", "\"layer\":7", "headsPicture"});
  EXPECT_EQ(text.find("<b>word"), std::string::npos) << "a word is no markup";
  for (std::size_t at = text.find("://"); at != std::string::npos; at = text.find("://", at + 1)) {
    EXPECT_EQ(text.substr(at, 13), "://www.w3.org") << "the page refers to nothing";
  }
  ASSERT_TRUE(run(arguments + "--capacity 16 --beside all")) << said();
  expect_words(page(), {"\"policy\":\"recommended\"", "\"policy\":\"random\""});
  expect_words(said(), {"replay: decayed_max is left out: ", "capacity = 16"});
  ASSERT_TRUE(run(arguments + "--capacity 16 --no-compare --chunk 5 --beside all")) << said();
  expect_words(said(), {"replay: morphkv_compat is left out: --chunk"});
  expect_code(arguments + "--capacity 16 --beside decayed_max", 2);
}

TEST_F(ReplayPageTest, RefusesWhatItCannotShow) {
  const std::string arguments = trace_with(std::vector<std::string>(40, "word"));
  expect_code(arguments + "--beside lru", 2);
  expect_words(said(), {"--beside = lru: must be one of"});
  expect_code(arguments + "--policy tova --beside h2o,tova", 2);
  expect_words(said(), {"--beside = tova: must be other policies"});
  expect_code(trace_and_output(random_trace(30, 20, 2)) + "--beside h2o", 2);
  expect_words(said(), {"--beside requires --html"});
  expect_code("--trace '" + path("trace").string() + "'", 2);
  expect_words(said(), {"--output or --html is required"});
  expect_code(trace_with({"one", "two"}), 2);
  expect_words(said(), {"__metadata__.words", "2 words", "40 texts"});
  EXPECT_FALSE(std::filesystem::exists(path("page.html")));
}

TEST_F(ReplayPageTest, APolicyOfOnesOwnRunsLikeTheOthers) {
  const std::string example = MORPHKV_PROGRAM_DIR "/replay_example";
  const std::string arguments = trace_with(std::vector<std::string>(40, "word"));
  ASSERT_TRUE(run_program(example, arguments + "--policy fading_memory --capacity 16 --recent 4 " +
                                       "--decay 0.5 --beside recommended --output '" +
                                       path("kept.json").string() + "'"))
      << said();
  EXPECT_EQ(result().at("policy"), "fading_memory");
  EXPECT_EQ(result().at("options").at("decay"), 0.5);
  EXPECT_EQ(result().at("kept").back()[0].size(), 16U);
  expect_words(page(), {"--fading_memory: #"});
  ASSERT_TRUE(run_program(example, "--help"));
  expect_words(read_bytes(path("out")),
               {"--policy fading_memory: a maximum that fades", "--decay"});
}

TEST_F(ReplayProgramTest, ExplainsItself) {
  ASSERT_TRUE(run("--help"));
  expect_words(read_bytes(path("out")), {"--policy morphkv_compat", "--evict-after",
                                         "--pooling avg|max", "--budget pyramid"});
  ASSERT_TRUE(run("--version"));
  expect_words(read_bytes(path("out")), {MORPHKV_VERSION_STRING});
}

}  // namespace
}  // namespace morphkv::testing::program_test
