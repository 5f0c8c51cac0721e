// SPDX-License-Identifier: Apache-2.0
/// \file
/// Characters and words of UTF-8 text as Python sees them: the authors' scores are defined by it.
#ifndef MORPHKV_BENCH_PAPERS_TEXT_HPP
#define MORPHKV_BENCH_PAPERS_TEXT_HPP

#include <utf8proc.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace morphkv::papers {

/// The characters of a text. A byte that is not UTF-8 becomes U+FFFD.
[[nodiscard]] inline std::u32string characters(std::string_view text) {
  std::u32string result;
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t character = 0;
    const utf8proc_ssize_t length =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                         static_cast<utf8proc_ssize_t>(text.size() - at), &character);
    result.push_back(length > 0 ? static_cast<char32_t>(character) : U'\uFFFD');
    at += length > 0 ? static_cast<std::size_t>(length) : 1;
  }
  return result;
}

[[nodiscard]] inline std::string utf8(std::u32string_view text) {
  std::string result;
  for (const char32_t character : text) {
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t length =
        utf8proc_encode_char(static_cast<utf8proc_int32_t>(character), bytes);
    result.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length));
  }
  return result;
}

/// The text with U+FFFD in place of what is not UTF-8: a model may write half a character.
[[nodiscard]] inline std::string valid_utf8(std::string_view text) {
  return utf8(characters(text));
}

/// What str.split() separates words by.
[[nodiscard]] inline bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

/// \w of a regular expression: letters, numbers and the underscore.
[[nodiscard]] inline bool is_word_character(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return c == U'_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
         (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

/// \d of a regular expression.
[[nodiscard]] inline bool is_digit(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

/// string.punctuation.
[[nodiscard]] inline bool is_ascii_punctuation(char32_t c) {
  return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) ||
         (c >= 0x7B && c <= 0x7E);
}

/// str.lower(), character by character.
[[nodiscard]] inline std::u32string lower_case(std::u32string text) {
  for (char32_t& c : text) {
    c = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  }
  return text;
}

/// The longest runs of characters that `belongs` accepts.
[[nodiscard]] std::vector<std::u32string> runs(std::u32string_view text, auto&& belongs) {
  std::vector<std::u32string> result;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && belongs(text[end])) ++end;
    if (end > at) result.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return result;
}

/// str.split()
[[nodiscard]] inline std::vector<std::u32string> words(std::u32string_view text) {
  return runs(text, [](char32_t c) { return !is_space(c); });
}

/// str.strip()
[[nodiscard]] inline std::u32string stripped(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return std::u32string(text);
}

/// str.split(separator), which keeps empty parts.
[[nodiscard]] inline std::vector<std::string_view> split(std::string_view text,
                                                         std::string_view separator) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0;;) {
    const std::size_t end = text.find(separator, at);
    parts.push_back(text.substr(at, end - at));
    if (end == std::string_view::npos) return parts;
    at = end + separator.size();
  }
}

/// The text after its leading line ends.
[[nodiscard]] inline std::string_view without_leading_newlines(std::string_view text) {
  return text.substr((std::min)(text.find_first_not_of('\n'), text.size()));
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_TEXT_HPP
