// SPDX-License-Identifier: Apache-2.0
/// \file
/// Unicode: regular expressions (PCRE2) and normalisation (utf8proc) of UTF-8 text.
#ifndef MORPHKV_TOOLS_LLAMA_UNICODE_TEXT_HPP
#define MORPHKV_TOOLS_LLAMA_UNICODE_TEXT_HPP

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace morphkv::llama {

/// \throws std::invalid_argument if `text` is not UTF-8, naming the byte
inline void require_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t character = 0;
    const utf8proc_ssize_t length =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                         static_cast<utf8proc_ssize_t>(text.size() - at), &character);
    if (length <= 0) {
      throw std::invalid_argument("the text is not valid UTF-8 at byte " + std::to_string(at));
    }
    at += static_cast<std::size_t>(length);
  }
}

/// Unicode's normalisation form C. \pre `text` is UTF-8
[[nodiscard]] inline std::string nfc(std::string_view text) {
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(result, &std::free);
  if (length < 0) throw std::runtime_error(utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(result), static_cast<std::size_t>(length)};
}

/// A compiled pattern, in which \s, \d and \p{...} are those of Unicode.
class Regex {
 public:
  /// \throws std::invalid_argument with PCRE2's message if the pattern is not valid
  explicit Regex(const std::string& pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    if (!code_) {
      std::string message(256, '\0');
      const int length = pcre2_get_error_message(
          error, reinterpret_cast<PCRE2_UCHAR*>(message.data()), message.size());
      message.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
      throw std::invalid_argument("the pattern '" + pattern + "': " + message);
    }
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // slower where there is none
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  }

  struct Piece {
    std::string_view text;
    bool matched;
  };

  /// The matches, and what lies between them, in order. \pre `text` is UTF-8
  [[nodiscard]] std::vector<Piece> split(std::string_view text) const {
    std::vector<Piece> pieces;
    std::size_t end = 0;
    for (std::size_t at = 0; at < text.size();) {
      const int count = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                    text.size(), at, PCRE2_NO_UTF_CHECK, match_.get(), nullptr);
      if (count == PCRE2_ERROR_NOMATCH) break;
      if (count < 0) throw std::runtime_error("PCRE2: error " + std::to_string(count));
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_.get());
      if (range[1] == range[0]) {  // an empty match: the next character
        at = range[1] + 1;
        while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) ++at;
        continue;
      }
      if (range[0] > end) pieces.push_back({text.substr(end, range[0] - end), false});
      pieces.push_back({text.substr(range[0], range[1] - range[0]), true});
      at = end = range[1];
    }
    if (end < text.size()) pieces.push_back({text.substr(end), false});
    return pieces;
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const noexcept { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const noexcept { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_UNICODE_TEXT_HPP
