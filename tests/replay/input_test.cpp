// SPDX-License-Identifier: Apache-2.0
// What replay says of traces and options that are wrong.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "replay/command_line.hpp"
#include "replay/sessions.hpp"
#include "replay/traces.hpp"

namespace morphkv::testing::input_test { namespace {

using nlohmann::json;

class ReplayTraceTest : public TraceFiles {
 protected:
  /// The file of a good trace with another header.
  [[nodiscard]] std::filesystem::path with_header(const std::function<void(json&)>& change) const {
    const std::string bytes = read_bytes(write(random_trace(6, 3, 2)));
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof(length));
    json header = json::parse(bytes.substr(sizeof(length), length));
    change(header);
    const std::string text = header.dump();
    const std::string data = bytes.substr(sizeof(length) + length);
    length = text.size();
    std::string result(sizeof(length), '\0');
    std::memcpy(result.data(), &length, sizeof(length));
    return write_bytes(result + text + data);
  }

  static void expect_complaint(const std::filesystem::path& file,
                               const std::vector<std::string>& words) {
    const std::string text = complaint([&] { (void)replay::read_trace(file); });
    expect_words(text, {file.string()});
    expect_words(text, words);
  }
};

TEST_F(ReplayTraceTest, ReadsWhatWasWritten) {
  const replay::Trace trace = random_trace(9, 4, 3);
  const replay::Trace read = replay::read_trace(write(trace));
  EXPECT_EQ(read.shape, trace.shape);
  EXPECT_EQ(read.tokens, 9U);
  EXPECT_EQ(read.prompt_length, 4U);
  EXPECT_EQ(read.steps(), 6U);
  EXPECT_EQ(read.queries, trace.queries);
  EXPECT_EQ(read.keys, trace.keys);
  EXPECT_EQ(read.values, trace.values);
}

TEST_F(ReplayTraceTest, FilesThatAreNoTraces) {
  expect_complaint(path("nothing"), {"no such file"});
  expect_complaint(write_bytes(""), {"header's length"});
  expect_complaint(write_bytes(std::string(8, '\xff')), {"header length", "at most 0"});
  expect_complaint(write_bytes(std::string("\x02\0\0\0\0\0\0\0{]", 10)), {"JSON object"});
  expect_complaint(write_bytes(std::string("\x02\0\0\0\0\0\0\0{}", 10)),
                   {"no tensor q", "has none"});
}

TEST_F(ReplayTraceTest, AnyTruncationIsNoticed) {
  const std::string bytes = read_bytes(write(random_trace(5, 2, 2)));
  for (std::size_t size = 0; size < bytes.size(); size += 7) {
    EXPECT_NE(complaint([&] { (void)replay::read_trace(write_bytes(bytes.substr(0, size))); }), "")
        << size << " bytes of " << bytes.size();
  }
}

TEST_F(ReplayTraceTest, AnyByteMayBeWrong) {
  const std::string bytes = read_bytes(write(random_trace(3, 2, 1)));
  Random random(7);
  for (int attempt = 0; attempt < 500; ++attempt) {
    std::string broken = bytes;
    for (int i = 0; i < 3; ++i) {
      broken[random.below(broken.size())] = static_cast<char>(random.below(256));
    }
    const std::filesystem::path file = write_bytes(broken);
    const std::string text = complaint([&] { (void)replay::read_trace(file); });
    if (!text.empty()) expect_words(text, {file.string() + ": "});
  }
}

TEST_F(ReplayTraceTest, TensorsThatDoNotFit) {
  const auto shape = [&](const std::string& name, const std::vector<std::size_t>& sizes) {
    return with_header([&](json& header) { header[name]["shape"] = sizes; });
  };
  expect_complaint(shape("q", {6, 32}), {"q.shape = [6, 32]", "[tokens, query_heads, head_dim]"});
  expect_complaint(shape("k", {2, 6, 8}), {"k.shape = [2, 6, 8]", "[6, a divisor of 4, 8]"});
  expect_complaint(shape("k", {6, 4, 4}), {"k.shape = [6, 4, 4]", "q.shape = [6, 4, 8]"});
  expect_complaint(shape("v", {6, 1, 16}), {"v.shape = [6, 1, 16]", "that of k: [6, 2, 8]"});
  expect_complaint(shape("v", {6, 2, 9}), {"v.data_offsets", "432 bytes"});
  expect_complaint(shape("q", {0, 4, 8}), {"q"});
  support::Tensors tensors = tensors_of(random_trace(6, 3, 2));
  tensors.erase("k");
  expect_complaint(write(tensors, {{"prompt_length", "3"}}), {"no tensor k", "has q, v"});
  expect_complaint(with_header([](json& header) { header.erase("k"); }),
                   {"data_offsets begin = 384", "the end of the header"});  // a gap in its place
  expect_complaint(with_header([](json& header) {
                     header["v"]["dtype"] = "F64";
                     header["v"]["data_offsets"] = {header["v"]["data_offsets"][0], 1536};
                   }),
                   {"v.dtype = F64", "F32"});
}

TEST_F(ReplayTraceTest, OffsetsThatLie) {
  const auto offsets = [&](const std::string& name, std::uint64_t begin, std::uint64_t end) {
    return with_header([&](json& header) { header[name]["data_offsets"] = {begin, end}; });
  };
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  expect_complaint(offsets("q", 0, most), {"q.data_offsets"});
  expect_complaint(offsets("q", most, most), {"q.data_offsets"});
  expect_complaint(offsets("q", 768, 0), {"q.data_offsets"});
  expect_complaint(offsets("v", 0, 384), {"data_offsets", "the end of the tensor"});
}

TEST_F(ReplayTraceTest, PromptLengthsThatAreNone) {
  const auto prompt = [&](const json& metadata) {
    return with_header([&](json& header) { header["__metadata__"] = metadata; });
  };
  for (const std::string length :
       {"", "0", "7", "-1", "+3", "3 ", "3.0", "three", "99999999999999999999"}) {
    expect_complaint(prompt({{"prompt_length", length}}),
                     {"__metadata__.prompt_length = \"" + length + "\"", "from 1 to the 6 tokens"});
  }
  expect_complaint(prompt(json::object()), {"__metadata__.prompt_length = (missing)"});
  expect_complaint(prompt({{"prompt_length", 3}}), {"__metadata__.prompt_length = 3", "text"});
  expect_complaint(prompt(3), {"__metadata__"});
}

TEST_F(ReplayTraceTest, NumbersThatAreNone) {
  replay::Trace trace = random_trace(6, 3, 2);
  trace.values[(4 * 2 + 1) * 8 + 5] = std::numeric_limits<float>::quiet_NaN();
  expect_complaint(write(trace), {"v[4, 1, 5] = nan", "finite"});
  trace.queries[(2 * 4 + 3) * 8 + 7] = -std::numeric_limits<float>::infinity();
  expect_complaint(write(trace), {"q[2, 3, 7] = -inf", "finite"});
}

std::string complaint_of(const replay::Settings& settings) {
  const replay::Trace trace = random_trace(20, 8, 2);
  return complaint([&] { (void)replay::make_session<float>(settings, trace); });
}

TEST(ReplaySettingsTest, OptionsOfOtherPolicies) {
  expect_words(complaint_of({.policy = "morphkv", .flags = {{"kernel", "5"}}}),
               {"--kernel: --policy morphkv has no such option", "--panes"});
  expect_words(complaint_of({.policy = "morphkv_compat", .flags = {{"sinks", "4"}}}),
               {"--sinks: --policy morphkv_compat", "--evict-after"});
  expect_words(complaint_of({.policy = "random", .flags = {{"budget", "uniform"}}}),
               {"--budget: --policy random"});
  expect_words(complaint_of({.policy = "morphkv_compat", .chunk = 4}), {"--chunk"});
}

TEST(ReplaySettingsTest, ValuesThatMeanNothing) {
  expect_words(
      complaint_of({.policy = "lru"}),
      {"--policy = lru", "recommended, morphkv, decayed_max, recommended_for_prompts, snapkv",
       "morphkv_compat"});
  for (const std::string text : {"", "-1", "1e3", "5x", "99999999999999999999", "2147483647"}) {
    expect_words(complaint_of({.policy = "morphkv", .flags = {{"capacity", text}}}),
                 {"--capacity = " + text, "from 0 to 2147483646"});
  }
  expect_words(complaint_of({.policy = "morphkv", .flags = {{"fusion", "mean"}}}),
               {"--fusion = mean", "sum, max"});
  expect_words(complaint_of({.policy = "morphkv_compat", .flags = {{"evict_after", "often"}}}),
               {"--evict-after = often"});
  expect_words(complaint_of({.policy = "morphkv_compat", .flags = {{"evict_after", "nan"}}}),
               {"evict_after", "from 1"});
  expect_words(complaint_of({.policy = "random", .flags = {{"seed", "x"}}}), {"--seed = x"});
  // What the library knows better.
  expect_words(complaint_of({.policy = "morphkv", .flags = {{"capacity", "32"}, {"window", "32"}}}),
               {"capacity = 32"});
  expect_words(complaint_of({.policy = "snapkv", .flags = {{"window", "0"}}}), {"window = 0"});
  expect_words(complaint_of({.policy = "snapkv", .flags = {{"kernel", "4"}}}), {"kernel = 4"});
}

TEST(ReplaySettingsTest, Budgets) {
  expect_words(complaint_of({.policy = "morphkv", .flags = {{"budget", "fair"}}}),
               {"--budget = fair", "adaptive"});
  expect_words(complaint_of({.policy = "morphkv", .flags = {{"beta", "3"}}}),
               {"--beta", "--budget pyramid"});
  expect_words(
      complaint_of({.policy = "morphkv", .flags = {{"budget", "pyramid"}, {"floor", "0.1"}}}),
      {"--floor"});
  expect_words(complaint_of({.policy = "morphkv", .flags = {{"budget", "pyramid"}}}), {"--layer"});
  expect_words(complaint_of({.policy = "morphkv",
                             .flags = {{"budget", "pyramid"}, {"layer", "4"}, {"layers", "4"}}}),
               {"--layer = 4", "below --layers = 4"});
  expect_words(
      complaint_of({.policy = "morphkv", .flags = {{"budget", "adaptive"}, {"floor", "2"}}}),
      {"floor = 2"});
}

TEST(ReplaySettingsTest, TheCommandLine) {
  const std::vector<const char*> words = {
      "replay",       "--trace",  "t",   "--output", "-", "--policy",
      "random",       "--seed",   "7",   "--chunk",  "5", "--no-protect-prompt",
      "--no-compare", "--scalar", "half"};
  const auto line = replay::parse_command_line(static_cast<int>(words.size()), words.data());
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->trace, "t");
  EXPECT_EQ(line->output, "-");
  EXPECT_EQ(line->settings.policy, "random");
  EXPECT_EQ(line->settings.scalar, "half");
  EXPECT_EQ(line->settings.chunk, 5U);
  EXPECT_FALSE(line->settings.compare);
  EXPECT_EQ(line->settings.flags, (replay::Flags{{"seed", "7"}, {"protect_prompt", "false"}}));
}

TEST(ReplaySettingsTest, CommandLinesThatMakeNoSense) {
  const auto fails = [](std::vector<const char*> words) {
    words.insert(words.begin(), "replay");
    return complaint(
        [&] { (void)replay::parse_command_line(static_cast<int>(words.size()), words.data()); });
  };
  expect_words(fails({"--output", "o"}), {"--trace"});
  expect_words(fails({"--trace", "t"}), {"--output"});
  expect_words(fails({"--trace", "t", "--output", "o", "--kernal", "5"}), {"--kernal"});
  expect_words(fails({"--trace", "t", "--output", "o", "--scalar", "int8"}), {"--scalar = int8"});
  expect_words(fails({"--trace", "t", "--output", "o", "--chunk", "x"}), {"--chunk = x"});
  expect_words(fails({"--trace", "t", "--output", "o", "--window"}), {"--window"});
}

}  // namespace
}  // namespace morphkv::testing::input_test
