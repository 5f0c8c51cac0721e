// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "llama/tokenizer.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::tokenizer_test { namespace {

std::string bytes_of_number(auto number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

using ScoredWords = std::vector<std::pair<std::string, float>>;

/// The special words, the bytes, and then some letters and merges.
ScoredWords small_vocabulary() {
  ScoredWords words = {{"<unk>", 0}, {"<s>", 0}, {"</s>", 0}};
  const std::string digits = "0123456789ABCDEF";
  for (std::size_t byte = 0; byte < 256; ++byte) {
    words.emplace_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 0.0F);
  }
  for (const char* word : {" ", "a", "b", "c"}) words.emplace_back(word, -100.0F);
  words.insert(words.end(), {{"ab", -2}, {"bc", -1}, {"abc", -3}, {" a", -4}, {"\u00e9", -100}});
  return words;
}

std::string file_of(const ScoredWords& words) {
  std::string bytes = bytes_of_number(std::int32_t{6});
  for (const auto& [word, score] : words) {
    bytes +=
        bytes_of_number(score) + bytes_of_number(static_cast<std::int32_t>(word.size())) + word;
  }
  return bytes;
}

TEST(BytePairTokenizer, MergesTheBestPairFirst) {
  const TemporaryFolder folder;
  const ScoredWords words = small_vocabulary();
  const llama::BytePairTokenizer tokenizer(folder.write("tok.bin", file_of(words)), words.size());
  const int space = 259;  // then a, b, c, ab, bc, abc, " a", e acute
  // " abc": bc (-1) is merged before ab (-2); then abc (-3) before " a", which is gone.
  EXPECT_EQ(tokenizer.encode("abc"), (std::vector<int>{1, space, space + 6}));
  EXPECT_EQ(tokenizer.encode("aa"), (std::vector<int>{1, space + 7, space + 1}));
  EXPECT_EQ(tokenizer.encode(""), (std::vector<int>{1}));
}

TEST(BytePairTokenizer, AVocabularyWithoutAllBytesIsRefused) {
  const TemporaryFolder folder;
  ScoredWords words = small_vocabulary();
  words.resize(258);
  const auto file = folder.write("tok.bin", file_of(words));
  const std::string message = complaint([&] { llama::BytePairTokenizer(file, words.size()); });
  EXPECT_NE(message.find("tok.bin: the model's vocabulary = 258: must be at least 259"),
            std::string::npos)
      << message;
}

TEST(BytePairTokenizer, UnknownCharactersBecomeBytes) {
  const TemporaryFolder folder;
  const ScoredWords words = small_vocabulary();
  const llama::BytePairTokenizer tokenizer(folder.write("tok.bin", file_of(words)), words.size());
  EXPECT_EQ(tokenizer.encode("\u00e9"), (std::vector<int>{1, 259, 267}));
  EXPECT_EQ(tokenizer.encode("\n"), (std::vector<int>{1, 259, 3 + 10}));
  for (const std::string text : {"abcab", "a b c", "x\ny \u00e9\u00e8", "\xff\x80 broken"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(BytePairTokenizer, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const ScoredWords words = small_vocabulary();
  const std::string bytes = file_of(words);
  for (std::size_t size = 0; size < bytes.size(); size += 7) {
    const auto file = folder.write("tok.bin", bytes.substr(0, size));
    EXPECT_THROW(llama::BytePairTokenizer(file, words.size()), std::runtime_error) << size;
  }
  const auto file = folder.write("tok.bin", bytes);
  EXPECT_THROW(llama::BytePairTokenizer(file, words.size() - 1), std::runtime_error);
  EXPECT_THROW(llama::BytePairTokenizer(file, words.size() + 1), std::runtime_error);
}

TEST(WordTokenizer, SplitsAtWhiteSpace) {
  const TemporaryFolder folder;
  const auto file = folder.write("vocab.json", R"({"<bos>": 0, "day": 2, "one": 1})");
  const llama::WordTokenizer tokenizer(file, 3);
  EXPECT_EQ(tokenizer.encode("  day one\nday"), (std::vector<int>{0, 2, 1, 2}));
  EXPECT_EQ(tokenizer.encode("<bos> day"), (std::vector<int>{0, 2}));
  EXPECT_EQ(tokenizer.decode({2, 1}), "day one");
}

TEST(WordTokenizer, ComplaintsNameTheWord) {
  const TemporaryFolder folder;
  const auto file = folder.write("vocab.json", R"({"a": 0, "b": 1})");
  const llama::WordTokenizer tokenizer(file, 2);
  EXPECT_EQ(complaint([&] { (void)tokenizer.encode("a z"); }),
            "the prompt's word 'z' is not in the model's vocabulary");
  EXPECT_THROW(llama::WordTokenizer(file, 1), std::runtime_error);
  EXPECT_THROW(llama::WordTokenizer(folder.write("v.json", R"({"a": -1})"), 2), std::runtime_error);
  EXPECT_THROW(llama::WordTokenizer(folder.write("v.json", "[]"), 2), std::runtime_error);
}

}  // namespace
}  // namespace morphkv::testing::tokenizer_test
