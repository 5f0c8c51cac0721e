// SPDX-License-Identifier: Apache-2.0
/// \file
/// tokenizer.json, the format of Hugging Face's tokenizers library: byte-pair encoding on bytes (as
/// GPT-2, Llama 3, Qwen and SmolLM have it) or on characters (as SentencePiece, Llama 2 and Mistral
/// have it). A part that is not implemented is refused by name.
#ifndef MORPHKV_TOOLS_LLAMA_HUB_TOKENIZER_HPP
#define MORPHKV_TOOLS_LLAMA_HUB_TOKENIZER_HPP

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "llama/config.hpp"
#include "llama/merge_pairs.hpp"
#include "llama/tokenizer.hpp"
#include "llama/unicode_text.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama {

namespace detail {

/// SentencePiece's character for a space.
inline constexpr const char* space_mark = "\xe2\x96\x81";

/// GPT-2's pattern of words, which ByteLevel implies.
inline constexpr const char* gpt2_words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  std::size_t end = 0;
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, end)) {
    result.append(text, end, at - end).append(to);
    end = at + from.size();
  }
  text = result.append(text, end);
}

[[nodiscard]] inline std::string utf8(std::uint32_t character) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(character), bytes.data());
  return {reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size)};
}

/// Byte-level vocabularies write each byte as a character: itself if it is printable, otherwise one
/// from U+0100 on.
[[nodiscard]] inline std::array<std::string, 256> byte_characters() {
  std::array<std::string, 256> result;
  std::uint32_t next = 256;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    result[byte] = utf8(printable ? byte : next++);
  }
  return result;
}

/// Where a tokenizer's JSON is read, for messages.
struct JsonPart {
  const std::filesystem::path& file;
  std::string name;
  const nlohmann::json& value;

  [[nodiscard]] JsonPart at(const std::string& field) const {
    const auto found = value.is_object() ? value.find(field) : value.end();
    if (!value.is_object() || found == value.end()) {
      support::fail(file, name + "." + field + " is missing");
    }
    return {file, name + "." + field, *found};
  }
  [[nodiscard]] bool has(const std::string& field) const {
    return value.is_object() && value.contains(field) && !value.at(field).is_null();
  }
  [[nodiscard]] std::string text() const {
    if (!value.is_string()) refuse("a text");
    return value.get<std::string>();
  }
  [[nodiscard]] bool flag(const std::string& field) const {
    return has(field) && value.at(field) == true;
  }
  [[nodiscard]] std::string type() const { return at("type").text(); }
  /// The elements of a list, or the thing itself.
  [[nodiscard]] std::vector<JsonPart> sequence(const std::string& list) const {
    if (value.is_null()) return {};
    if (type() != "Sequence") return {*this};
    std::vector<JsonPart> parts;
    const JsonPart all = at(list);
    if (!all.value.is_array()) all.refuse("a list");
    for (const nlohmann::json& part : all.value) parts.push_back({file, all.name, part});
    return parts;
  }
  [[noreturn]] void refuse(const std::string& allowed) const {
    const std::string given = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    support::fail(file, name + " = " + given.substr(0, 200) + ": must be " + allowed);
  }
};

}  // namespace detail

/// Thread safety: none.
class HubTokenizer : public Tokenizer {
 public:
  /// \param path       of tokenizer.json
  /// \param vocabulary words of the model's embedding
  /// \throws std::runtime_error naming the part that is not valid or not supported
  HubTokenizer(const std::filesystem::path& path, std::size_t vocabulary) {
    const support::JsonFile file(path);
    const detail::JsonPart root{path, "tokenizer", file.object()};
    words_.resize(vocabulary);
    special_.resize(vocabulary);
    read_pre_tokenizer(root);
    read_normalizer(root);
    read_model(root.at("model"));
    read_added_tokens(root);
    read_post_processor(root);
  }

  [[nodiscard]] std::vector<int> encode(const std::string& text) const override {
    std::vector<int> tokens = first_;
    const std::vector<int> own = encode_rendered(text);
    tokens.insert(tokens.end(), own.begin(), own.end());
    tokens.insert(tokens.end(), last_.begin(), last_.end());
    return tokens;
  }

  [[nodiscard]] std::vector<int> encode_rendered(const std::string& text) const override {
    require_utf8(text);
    std::vector<int> tokens;
    if (!added_) {
      encode_segment(text, true, tokens);
      return tokens;
    }
    const std::vector<Regex::Piece> pieces = added_->split(text);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].matched) {
        tokens.push_back(added_ids_.at(std::string(trimmed(pieces[i].text))));
      } else {
        encode_segment(std::string(pieces[i].text), i == 0, tokens);
      }
    }
    return tokens;
  }

  [[nodiscard]] std::string piece(int previous, int token) const override {
    const auto index = static_cast<std::size_t>(token);
    if (special_.at(index)) return {};
    const std::string& word = words_.at(index);
    const bool first = previous < 0 || special_.at(static_cast<std::size_t>(previous));
    return !byte_level_ && first && word.starts_with(' ') ? word.substr(1) : word;
  }

  [[nodiscard]] int token_of(const std::string& word) const override {
    const auto added = added_ids_.find(word);
    if (added != added_ids_.end()) return added->second;
    const auto found = ids_.find(word);
    return found == ids_.end() ? -1 : found->second;
  }

 private:
  // ---- reading

  void read_pre_tokenizer(const detail::JsonPart& root) {
    if (!root.has("pre_tokenizer")) return;
    for (const detail::JsonPart& part : root.at("pre_tokenizer").sequence("pretokenizers")) {
      const std::string type = part.type();
      if (type == "ByteLevel") {
        if (part.flag("add_prefix_space")) part.refuse("without add_prefix_space");
        byte_level_ = true;
        if (!part.has("use_regex") || part.flag("use_regex")) add_split(detail::gpt2_words, false);
      } else if (type == "Digits") {
        add_split(part.flag("individual_digits") ? "\\p{N}" : "\\p{N}+", false);
      } else if (type == "Split") {
        read_split(part);
      } else if (type == "Metaspace") {
        read_metaspace(part);
      } else {
        part.at("type").refuse("ByteLevel, Digits, Split or Metaspace");
      }
    }
  }

  void read_split(const detail::JsonPart& part) {
    const std::string behavior = part.at("behavior").text();
    const bool inverted = part.flag("invert");
    const bool isolated = behavior == "Isolated" && !inverted;
    if (!isolated && !(behavior == "Removed" && inverted)) {
      part.refuse("of behavior Isolated, or Removed and inverted");
    }
    const detail::JsonPart pattern = part.at("pattern");
    if (!pattern.has("Regex")) pattern.refuse("a Regex");
    try {
      add_split(pattern.at("Regex").text(), !isolated);
    } catch (const std::invalid_argument& error) {
      support::fail(part.file, pattern.name + ": " + error.what());
    }
  }

  void read_metaspace(const detail::JsonPart& part) {
    const std::string mark = part.has("replacement") ? part.at("replacement").text() : "";
    const std::string scheme = part.has("prepend_scheme")      ? part.at("prepend_scheme").text()
                               : part.flag("add_prefix_space") ? "always"
                                                               : "never";
    if (mark != detail::space_mark || part.flag("split") || !splits_.empty()) {
      part.refuse("with the replacement U+2581, without split, and alone");
    }
    if (scheme != "first" && scheme != "always" && scheme != "never") {
      part.at("prepend_scheme").refuse("first, always or never");
    }
    metaspace_ = scheme;
  }

  void add_split(const std::string& pattern, bool only_matches) {
    splits_.push_back({Regex(pattern), only_matches});
  }

  void read_normalizer(const detail::JsonPart& root) {
    if (!root.has("normalizer")) return;
    for (const detail::JsonPart& part : root.at("normalizer").sequence("normalizers")) {
      const std::string type = part.type();
      if (type == "NFC") {
        normalizers_.push_back({Normalizer::Kind::nfc, {}, {}});
      } else if (type == "Prepend") {
        normalizers_.push_back({Normalizer::Kind::prepend, {}, part.at("prepend").text()});
      } else if (type == "Replace") {
        const detail::JsonPart pattern = part.at("pattern");
        if (!pattern.has("String") || pattern.at("String").text().empty()) {
          pattern.refuse("a String");
        }
        normalizers_.push_back(
            {Normalizer::Kind::replace, pattern.at("String").text(), part.at("content").text()});
      } else {
        part.at("type").refuse("NFC, Prepend or Replace");
      }
    }
  }

  void read_model(const detail::JsonPart& model) {
    if (!model.has("type") || model.type() != "BPE") model.at("type").refuse("BPE");
    for (const char* field : {"continuing_subword_prefix", "end_of_word_suffix", "dropout"}) {
      // NOLINTNEXTLINE(readability-container-size-empty): a value of JSON
      if (model.has(field) && model.value.at(field) != "") model.at(field).refuse("null");
    }
    const detail::JsonPart vocab = model.at("vocab");
    if (!vocab.value.is_object()) vocab.refuse("an object");
    for (const auto& [word, id] : vocab.value.items()) {
      ids_.emplace(word, checked_id({vocab.file, "the token " + word, id}));
    }
    ignore_merges_ = model.flag("ignore_merges");
    byte_fallback_ = model.flag("byte_fallback");
    fuse_unknown_ = model.flag("fuse_unk");
    if (model.has("unk_token")) unknown_ = known_word(model.at("unk_token"));
    read_bytes();
    for (const auto& [word, id] : ids_) words_[static_cast<std::size_t>(id)] = decoded(word);
    read_merges(model.at("merges"));
  }

  /// The tokens of single bytes.
  void read_bytes() {
    const std::array<std::string, 256> characters = detail::byte_characters();
    const char* digits = "0123456789ABCDEF";
    for (std::size_t byte = 0; byte < 256; ++byte) {
      std::string word = characters[byte];
      if (!byte_level_) word = std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">";
      const auto found = ids_.find(word);
      bytes_[byte] = found == ids_.end() ? -1 : found->second;
      if (byte_level_) byte_of_.emplace(characters[byte], static_cast<char>(byte));
    }
  }

  void read_merges(const detail::JsonPart& merges) {
    if (!merges.value.is_array()) merges.refuse("a list");
    for (const nlohmann::json& merge : merges.value) {
      std::string left;
      std::string right;
      if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
      } else if (merge.is_string()) {
        const auto text = merge.get<std::string>();
        const std::size_t at = text.find(' ');
        left = text.substr(0, at);
        right = at == std::string::npos ? "" : text.substr(at + 1);
      }
      const detail::JsonPart part{merges.file, merges.name, merge};
      const auto a = ids_.find(left);
      const auto b = ids_.find(right);
      const auto both = ids_.find(left + right);
      if (a == ids_.end() || b == ids_.end() || both == ids_.end()) {
        part.refuse("two words of the vocabulary whose concatenation is one too");
      }
      merges_.emplace(pair(a->second, b->second),
                      Merge{static_cast<double>(merges_.size()), both->second});
    }
  }

  void read_added_tokens(const detail::JsonPart& root) {
    if (!root.has("added_tokens")) return;
    std::vector<std::string> patterns;
    const detail::JsonPart list = root.at("added_tokens");
    if (!list.value.is_array()) list.refuse("a list");
    for (const nlohmann::json& entry : list.value) {
      const detail::JsonPart part{list.file, list.name, entry};
      const std::string content = part.at("content").text();
      if (content.empty()) part.refuse("of a content that is not empty");
      if (part.flag("single_word")) part.refuse("without single_word");
      const int id = checked_id(part.at("id"));
      added_ids_[content] = id;
      words_[static_cast<std::size_t>(id)] = content;
      special_[static_cast<std::size_t>(id)] = part.flag("special");
      std::string pattern;
      for (const char c : content) {
        const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || (c & 0x80) != 0;
        pattern += plain ? std::string(1, c) : std::string("\\") + c;
      }
      if (part.flag("lstrip")) pattern = "\\s*" + pattern;
      if (part.flag("rstrip")) pattern += "\\s*";
      patterns.push_back(pattern);
    }
    // Where several match, the longest does.
    std::stable_sort(patterns.begin(), patterns.end(),
                     [](const auto& a, const auto& b) { return a.size() > b.size(); });
    std::string all;
    for (const std::string& pattern : patterns) all += (all.empty() ? "" : "|") + pattern;
    if (!all.empty()) added_.emplace(all);
  }

  void read_post_processor(const detail::JsonPart& root) {
    if (!root.has("post_processor")) return;
    for (const detail::JsonPart& part : root.at("post_processor").sequence("processors")) {
      const std::string type = part.type();
      if (type == "ByteLevel") continue;  // changes offsets, not tokens
      if (type != "TemplateProcessing") part.at("type").refuse("ByteLevel or TemplateProcessing");
      bool before = true;
      const detail::JsonPart single = part.at("single");
      if (!single.value.is_array()) single.refuse("a list");
      for (const nlohmann::json& item : single.value) {
        const detail::JsonPart entry{single.file, single.name, item};
        if (entry.has("Sequence")) {
          before = false;
        } else {
          const std::string word = entry.at("SpecialToken").at("id").text();
          const int token = token_of(word);
          if (token < 0) entry.refuse("tokens of the vocabulary");
          (before ? first_ : last_).push_back(token);
        }
      }
    }
  }

  [[nodiscard]] int checked_id(const detail::JsonPart& id) const {
    const bool valid = id.value.is_number_unsigned() && id.value.get<std::size_t>() < words_.size();
    if (!valid) id.refuse("below the model's vocabulary of " + std::to_string(words_.size()));
    return id.value.get<int>();
  }
  [[nodiscard]] int known_word(const detail::JsonPart& word) const {
    const auto found = ids_.find(word.text());
    if (found == ids_.end()) word.refuse("a word of the vocabulary");
    return found->second;
  }

  /// The text that a word of the vocabulary stands for.
  [[nodiscard]] std::string decoded(const std::string& word) const {
    if (!byte_level_) {
      if (byte_fallback_ && word.size() == 6 && word.starts_with("<0x") && word.back() == '>') {
        unsigned byte = 0;
        std::from_chars(word.data() + 3, word.data() + 5, byte, 16);
        return {static_cast<char>(byte)};
      }
      std::string text = word;
      detail::replace_all(text, detail::space_mark, " ");
      return text;
    }
    std::string text;
    for (std::size_t at = 0; at < word.size();) {
      std::size_t length = 1;
      while (at + length < word.size() &&
             (static_cast<unsigned char>(word[at + length]) & 0xC0U) == 0x80U) {
        ++length;
      }
      const auto found = byte_of_.find(word.substr(at, length));
      if (found == byte_of_.end()) return word;
      text += found->second;
      at += length;
    }
    return text;
  }

  // ---- encoding

  [[nodiscard]] static std::uint64_t pair(int left, int right) {
    return (static_cast<std::uint64_t>(left) << 32U) | static_cast<std::uint32_t>(right);
  }

  /// An added token without the space that its match may include.
  [[nodiscard]] std::string_view trimmed(std::string_view text) const {
    constexpr std::string_view spaces = " \t\n\r\f\v";
    if (added_ids_.contains(std::string(text))) return text;
    const std::size_t begin = text.find_first_not_of(spaces);
    return text.substr(begin, text.find_last_not_of(spaces) - begin + 1);
  }

  /// Text without added tokens. \param first whether the whole text begins with it
  void encode_segment(std::string text, bool first, std::vector<int>& tokens) const {
    if (text.empty()) return;
    for (const Normalizer& normalizer : normalizers_) {
      if (normalizer.kind == Normalizer::Kind::nfc) text = nfc(text);
      if (normalizer.kind == Normalizer::Kind::prepend) text = normalizer.to + text;
      if (normalizer.kind == Normalizer::Kind::replace) {
        detail::replace_all(text, normalizer.from, normalizer.to);
      }
    }
    if (!metaspace_.empty()) {
      detail::replace_all(text, " ", detail::space_mark);
      const bool prepend = metaspace_ == "always" || (metaspace_ == "first" && first);
      if (prepend && !text.starts_with(detail::space_mark)) text = detail::space_mark + text;
    }
    std::vector<std::string_view> pieces = {text};
    for (const Split& split : splits_) {
      std::vector<std::string_view> smaller;
      for (const std::string_view piece : pieces) {
        for (const Regex::Piece& part : split.pattern.split(piece)) {
          if (part.matched || !split.only_matches) smaller.push_back(part.text);
        }
      }
      pieces = std::move(smaller);
    }
    for (const std::string_view piece : pieces) encode_piece(piece, tokens);
  }

  void encode_piece(std::string_view piece, std::vector<int>& tokens) const {
    std::vector<int> own;
    if (byte_level_) {
      if (ignore_merges_) {
        if (const int whole = whole_word(piece); whole >= 0) {
          tokens.push_back(whole);
          return;
        }
      }
      for (const char byte : piece) add_symbol(bytes_[static_cast<unsigned char>(byte)], own);
    } else {
      add_characters(piece, own);
    }
    merge_pairs(own, [&](int left, int right) -> std::optional<Merge> {
      const auto found = merges_.find(pair(left, right));
      if (found == merges_.end()) return std::nullopt;
      return found->second;
    });
    tokens.insert(tokens.end(), own.begin(), own.end());
  }

  [[nodiscard]] int whole_word(std::string_view piece) const {
    static const std::array<std::string, 256> characters = detail::byte_characters();
    std::string word;
    for (const char byte : piece) word += characters[static_cast<unsigned char>(byte)];
    const auto found = ids_.find(word);
    return found == ids_.end() ? -1 : found->second;
  }

  void add_characters(std::string_view piece, std::vector<int>& tokens) const {
    for (std::size_t at = 0; at < piece.size();) {
      std::size_t length = 1;
      while (at + length < piece.size() &&
             (static_cast<unsigned char>(piece[at + length]) & 0xC0U) == 0x80U) {
        ++length;
      }
      const std::string_view character = piece.substr(at, length);
      const auto found = ids_.find(std::string(character));
      const bool all_bytes =
          byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char byte) {
            return bytes_[static_cast<unsigned char>(byte)] >= 0;
          });
      if (found == ids_.end() && all_bytes) {
        for (const char byte : character) {
          tokens.push_back(bytes_[static_cast<unsigned char>(byte)]);
        }
      } else {
        add_symbol(found == ids_.end() ? -1 : found->second, tokens);
      }
      at += length;
    }
  }

  /// A symbol outside of the vocabulary becomes the unknown token; without one it is left out.
  void add_symbol(int token, std::vector<int>& tokens) const {
    if (token < 0) {
      if (fuse_unknown_ && !tokens.empty() && tokens.back() == unknown_) return;
      token = unknown_;
    }
    if (token >= 0) tokens.push_back(token);
  }

  struct Normalizer {
    enum class Kind { nfc, prepend, replace } kind;
    std::string from;
    std::string to;
  };
  struct Split {
    Regex pattern;
    bool only_matches;
  };

  std::vector<Normalizer> normalizers_;
  std::vector<Split> splits_;
  std::string metaspace_;  ///< when a space is prepended; empty: spaces stay
  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool fuse_unknown_ = false;
  int unknown_ = -1;
  std::array<int, 256> bytes_{};
  std::unordered_map<std::string, char> byte_of_;
  std::unordered_map<std::string, int> ids_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::unordered_map<std::string, int> added_ids_;
  std::optional<Regex> added_;
  std::vector<int> first_;  ///< what begins every sequence
  std::vector<int> last_;
  std::vector<std::string> words_;  ///< of every token, as text
  std::vector<bool> special_;       ///< of every token: not part of the text
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_HUB_TOKENIZER_HPP
