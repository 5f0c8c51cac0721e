// SPDX-License-Identifier: Apache-2.0
/// \file
/// Text to tokens and back.
#ifndef MORPHKV_TOOLS_LLAMA_TOKENIZER_HPP
#define MORPHKV_TOOLS_LLAMA_TOKENIZER_HPP

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "llama/config.hpp"
#include "llama/merge_pairs.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama {

class Tokenizer {
 public:
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  virtual ~Tokenizer() = default;

  /// The tokens of a prompt, with the one that begins a sequence.
  [[nodiscard]] virtual std::vector<int> encode(const std::string& text) const = 0;
  /// The tokens of a text that names its own special tokens, such as a rendered chat.
  /// \throws std::invalid_argument if special tokens have no names in this tokenizer's texts
  [[nodiscard]] virtual std::vector<int> encode_rendered(const std::string& /*text*/) const {
    throw std::invalid_argument("this model's tokenizer has no special tokens for a chat");
  }
  /// The token of a word of the vocabulary, -1 if there is none.
  [[nodiscard]] virtual int token_of(const std::string& /*word*/) const { return -1; }
  /// What `token` adds to a text whose last token is `previous`.
  [[nodiscard]] virtual std::string piece(int previous, int token) const = 0;

  [[nodiscard]] std::string decode(const std::vector<int>& tokens) const {
    std::string text;
    int previous = -1;
    for (const int token : tokens) {
      text += piece(previous, token);
      previous = token;
    }
    return text;
  }
};

/// The byte-pair tokenizer of llama2.c: of all neighbours that make a word of the vocabulary, those
/// with the highest score are merged first.
class BytePairTokenizer : public Tokenizer {
 public:
  /// \throws std::runtime_error if the file's length does not match its fields.
  BytePairTokenizer(const std::filesystem::path& path, std::size_t vocabulary) {
    support::InputFile file(path);
    support::expect(vocabulary >= min_vocabulary, path, "the model's vocabulary", vocabulary,
                    "at least " + std::to_string(min_vocabulary) +
                        ": <unk>, <s>, </s> and a word for each byte");
    (void)file.read_one<std::int32_t>("the length of the longest word");
    for (std::size_t token = 0; token < vocabulary; ++token) {
      const std::string name = "word " + std::to_string(token);
      scores_.push_back(file.read_one<float>(name));
      const auto length = file.read_one<std::int32_t>(name);
      support::expect(length >= 0, path, name + ": length", length, "at least 0");
      words_.push_back(file.read_text(static_cast<std::uint64_t>(length), name));
      ids_.emplace(words_.back(), static_cast<int>(token));
    }
    if (file.left() != 0) support::fail(path, "more words than the model's vocabulary has");
  }

  [[nodiscard]] std::vector<int> encode(const std::string& text) const override {
    std::vector<int> tokens = {begin_token};
    if (text.empty()) return tokens;
    if (ids_.contains(" ")) tokens.push_back(ids_.at(" "));  // sentencepiece's dummy prefix
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = character_length(text, at);
      add_character(std::string_view(text).substr(at, length), tokens);
      at += length;
    }
    merge_pairs(tokens, [&](int left, int right) -> std::optional<Merge> {
      const auto found = ids_.find(word(left) + word(right));
      if (found == ids_.end()) return std::nullopt;
      return Merge{-static_cast<double>(scores_[static_cast<std::size_t>(found->second)]),
                   found->second};
    });
    return tokens;
  }

  [[nodiscard]] std::string piece(int previous, int token) const override {
    const std::string& word = words_.at(static_cast<std::size_t>(token));
    if (token == begin_token || token == begin_token + 1) return {};
    if (word.size() == 6 && word.starts_with("<0x") && word.back() == '>') {
      unsigned byte = 0;
      std::from_chars(word.data() + 3, word.data() + 5, byte, 16);
      return {static_cast<char>(byte)};
    }
    const bool first = previous == begin_token || previous < 0;
    return first && word.starts_with(' ') ? word.substr(1) : word;
  }

  /// Of every token, as the file has them.
  [[nodiscard]] const std::vector<std::string>& words() const noexcept { return words_; }
  [[nodiscard]] const std::vector<float>& scores() const noexcept { return scores_; }

 private:
  static constexpr int begin_token = 1;
  static constexpr int first_byte = 3;  ///< after <unk>, <s>, </s>
  static constexpr std::size_t min_vocabulary = first_byte + 256;

  /// The bytes of the UTF-8 character that begins at `at`.
  static std::size_t character_length(const std::string& text, std::size_t at) {
    std::size_t length = 1;
    while (length < 4 && at + length < text.size() &&
           (static_cast<unsigned char>(text[at + length]) & 0xC0U) == 0x80U) {
      ++length;
    }
    return length;
  }

  void add_character(std::string_view character, std::vector<int>& tokens) const {
    const auto found = ids_.find(std::string(character));
    if (found != ids_.end()) {
      tokens.push_back(found->second);
      return;
    }
    for (const char byte : character) {
      tokens.push_back(first_byte + static_cast<int>(static_cast<unsigned char>(byte)));
    }
  }

  [[nodiscard]] const std::string& word(int token) const {
    return words_.at(static_cast<std::size_t>(token));
  }

  std::vector<std::string> words_;
  std::vector<float> scores_;
  std::unordered_map<std::string, int> ids_;
};

/// One token per word, from a vocab.json of {"word": token}. Words are separated by white space.
class WordTokenizer : public Tokenizer {
 public:
  /// \throws std::runtime_error if a token is not below `vocabulary`.
  WordTokenizer(const std::filesystem::path& path, std::size_t vocabulary) : words_(vocabulary) {
    const support::JsonFile json(path);
    for (const auto& [word, token] : json.object().items()) {
      const bool valid = token.is_number_unsigned() && token.get<std::size_t>() < vocabulary;
      support::expect(valid, path, word, token.dump(), "below " + std::to_string(vocabulary));
      words_[token.get<std::size_t>()] = word;
      ids_.emplace(word, token.get<int>());
    }
    const auto begin = ids_.find("<bos>");
    if (begin != ids_.end()) begin_token_ = begin->second;
  }

  /// \throws std::invalid_argument for a word that is not in the vocabulary.
  [[nodiscard]] std::vector<int> encode(const std::string& text) const override {
    std::vector<int> tokens;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
      const auto found = ids_.find(word);
      if (found == ids_.end()) {
        throw std::invalid_argument("the prompt's word '" + word +
                                    "' is not in the model's vocabulary");
      }
      tokens.push_back(found->second);
    }
    if (begin_token_ >= 0 && (tokens.empty() || tokens.front() != begin_token_)) {
      tokens.insert(tokens.begin(), begin_token_);
    }
    return tokens;
  }

  [[nodiscard]] std::string piece(int previous, int token) const override {
    const std::string& word = words_.at(static_cast<std::size_t>(token));
    return previous < 0 ? word : " " + word;
  }

  /// Of every token.
  [[nodiscard]] const std::vector<std::string>& words() const noexcept { return words_; }

 private:
  std::vector<std::string> words_;
  std::unordered_map<std::string, int> ids_;
  int begin_token_ = -1;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_TOKENIZER_HPP
