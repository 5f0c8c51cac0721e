// SPDX-License-Identifier: Apache-2.0
// tokenizer.json against the tokens of Hugging Face's own library: stored ones, and live ones where
// it is installed (pip install tokenizers).
#include <gtest/gtest.h>

#if defined(MORPHKV_TOKENIZER_JSON)

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "llama/hub_tokenizer.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::hub_tokenizer_test { namespace {

using llama::HubTokenizer;
using nlohmann::json;

const std::filesystem::path folder = MORPHKV_SOURCE_DIR "/tests/tools/tokenizers";
const std::vector<std::string> names = {"digits", "llama3", "qwen2", "sentencepiece", "metaspace"};

void expect_tokens(const HubTokenizer& tokenizer, const json& texts, const json& tokens) {
  ASSERT_EQ(texts.size(), tokens.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(json(tokenizer.encode(texts[i].get<std::string>())), tokens[i]) << texts[i];
  }
}

TEST(HubTokenizer, GivesTheStoredTokens) {
  const json expected = json::parse(bytes_of(folder / "expected.json"));
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const HubTokenizer tokenizer(folder / (name + ".json"), 1000);
    expect_tokens(tokenizer, expected.at("texts"), expected.at("tokens").at(name));
  }
}

TEST(HubTokenizer, GivesTheTokensOfTheLibraryForRandomTexts) {
  const std::string script = "python3 '" + (folder / "make.py").string() + "' tokens '";
  if (std::system("python3 -c 'import tokenizers' > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "the Python package tokenizers is not installed";
  }
  std::vector<std::filesystem::path> files;
  for (const std::string& name : names) files.push_back(folder / (name + ".json"));
  const std::filesystem::path smollm2 = MORPHKV_SOURCE_DIR "/build/models/smollm2/tokenizer.json";
  if (std::filesystem::exists(smollm2)) files.push_back(smollm2);
  const TemporaryFolder output;
  for (const auto& file : files) {
    SCOPED_TRACE(file);
    const std::string command =
        script + file.string() + "' > '" + output.file("tokens.json").string() + "'";
    ASSERT_EQ(std::system(command.c_str()), 0);
    const json expected = json::parse(bytes_of(output.file("tokens.json")));
    const HubTokenizer tokenizer(file, 50000);
    expect_tokens(tokenizer, expected.at("texts"), expected.at("tokens"));
  }
}

TEST(HubTokenizer, DecodesWhatItEncodes) {
  const std::vector<std::string> texts = {"Hello world, two  spaces", "日本語 and 😀 emoji",
                                          "def f(x):\n\treturn x * 2\n", "tab\tand\r\nlines",
                                          "ends with a space "};
  for (const std::string& name : names) {
    const HubTokenizer tokenizer(folder / (name + ".json"), 1000);
    for (const std::string& text : texts) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << name;
    }
  }
}

TEST(HubTokenizer, NamesSpecialTokensInARenderedText) {
  const HubTokenizer tokenizer(folder / "digits.json", 1000);
  const std::vector<int> tokens = tokenizer.encode_rendered("<|im_start|>user<|im_end|>");
  ASSERT_GE(tokens.size(), 3U);
  EXPECT_EQ(tokens.front(), tokenizer.token_of("<|im_start|>"));
  EXPECT_EQ(tokens.back(), tokenizer.token_of("<|im_end|>"));
  EXPECT_EQ(tokenizer.decode(tokens), "user") << "special tokens are not part of the text";
  EXPECT_EQ(tokenizer.token_of("no such token"), -1);
}

/// Processor seconds to encode `count` copies of a text: the best of three.
double seconds_for(const HubTokenizer& tokenizer, const std::string& text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text;
  double best = 1e9;
  for (int run = 0; run < 3; ++run) {
    const std::clock_t start = std::clock();
    EXPECT_FALSE(tokenizer.encode(all).empty());
    const auto ticks = static_cast<double>(std::clock() - start);
    best = std::min(best, ticks / static_cast<double>(CLOCKS_PER_SEC));
  }
  return best;
}

TEST(HubTokenizer, TimeGrowsWithTheText) {
  for (const std::string& name : names) {
    const HubTokenizer tokenizer(folder / (name + ".json"), 1000);
    for (const std::string text : {"some words of English, ", "a", " ", "日本", "\n"}) {
      // Quadratic time would take 1024 times as long. Caches and a busy machine cost some of it.
      const double one = seconds_for(tokenizer, text, 200);
      const double many = seconds_for(tokenizer, text, 200 * 32);
      EXPECT_LT(many, 300 * (one + 1e-5)) << name << ", '" << text << "'";
    }
  }
}

TEST(HubTokenizer, RefusesWhatItDoesNotImplement) {
  const TemporaryFolder temporary;
  const auto changed = [&](const auto& change, std::size_t vocabulary = 1000) {
    json tokenizer = json::parse(bytes_of(folder / "digits.json"));
    change(tokenizer);
    const auto file = temporary.write("tokenizer.json", tokenizer.dump());
    return complaint([&] { HubTokenizer(file, vocabulary); });
  };
  const auto set = [&](const std::string& pointer, const json& value) {
    return changed([&](json& tokenizer) { tokenizer[json::json_pointer(pointer)] = value; });
  };
  const auto expect = [](const std::string& said, const std::string& part) {
    EXPECT_NE(said.find("tokenizer.json: "), std::string::npos) << said;
    EXPECT_NE(said.find(part), std::string::npos) << said;
  };
  EXPECT_EQ(changed([](json&) {}), "");
  expect(set("/model/type", "Unigram"), "tokenizer.model.type = \"Unigram\": must be BPE");
  expect(set("/model/type", 3), "tokenizer.model.type");
  expect(set("/model/dropout", 0.1), "tokenizer.model.dropout = 0.1");
  expect(set("/model/vocab/x y", 100000), "the token x y = 100000: must be below");
  expect(set("/model/vocab/x y", -1), "the token x y = -1");
  expect(set("/model/merges", json::array({"zz qq"})), "tokenizer.model.merges");
  expect(set("/model/merges", json::array({3})), "tokenizer.model.merges");
  expect(set("/model/merges", 3), "tokenizer.model.merges = 3");
  expect(set("/normalizer", {{"type", "NFKD"}}), "tokenizer.normalizer.type = \"NFKD\"");
  expect(set("/pre_tokenizer", {{"type", "Whitespace"}}), "tokenizer.pre_tokenizer.type");
  expect(set("/pre_tokenizer", 3), "tokenizer.pre_tokenizer");
  expect(set("/pre_tokenizer/pretokenizers", 3), "tokenizer.pre_tokenizer.pretokenizers = 3");
  expect(set("/pre_tokenizer", {{"type", "Split"},
                                {"pattern", {{"Regex", "(["}}},
                                {"behavior", "Isolated"},
                                {"invert", false}}),
         "the pattern '(['");
  expect(set("/pre_tokenizer", {{"type", "Split"},
                                {"pattern", {{"Regex", "x"}}},
                                {"behavior", "MergedWithNext"},
                                {"invert", false}}),
         "of behavior Isolated");
  expect(set("/post_processor", {{"type", "BertProcessing"}}), "tokenizer.post_processor.type");
  expect(set("/post_processor", {{"type", "TemplateProcessing"},
                                 {"single", {{{"SpecialToken", {{"id", "<nope>"}}}}}}}),
         "tokens of the vocabulary");
  expect(set("/added_tokens", {{{"content", ""}, {"id", 1}}}), "tokenizer.added_tokens");
  expect(set("/added_tokens", {{{"content", "x"}, {"id", 1}, {"single_word", true}}}),
         "without single_word");
  expect(changed([](json&) {}, 300), "must be below the model's vocabulary of 300");
}

TEST(HubTokenizer, RefusesTextThatIsNotUtf8) {
  const HubTokenizer tokenizer(folder / "digits.json", 1000);
  EXPECT_EQ(complaint([&] { (void)tokenizer.encode("ab\xFFxyz"); }),
            "the text is not valid UTF-8 at byte 2");
  EXPECT_EQ(complaint([&] { (void)tokenizer.encode("ab\xE6\x97"); }),
            "the text is not valid UTF-8 at byte 2");
}

}  // namespace
}  // namespace morphkv::testing::hub_tokenizer_test

#endif
