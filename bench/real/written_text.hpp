// SPDX-License-Identifier: Apache-2.0
/// \file
/// Figures of a text that a model has written.
#ifndef MORPHKV_BENCH_REAL_WRITTEN_TEXT_HPP
#define MORPHKV_BENCH_REAL_WRITTEN_TEXT_HPP

#include <cctype>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>

namespace morphkv::real {

/// Words of at least three letters that begin with a capital letter within a sentence: names of
/// persons and places, mostly. ASCII letters; a word ends at the first other byte.
[[nodiscard]] inline std::set<std::string> names_of(std::string_view text) {
  const auto is_letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
  std::set<std::string> names;
  bool in_sentence = false;
  for (std::size_t i = 0; i < text.size();) {
    if (!is_letter(text[i])) {
      // A line, a quotation or a list item begins as a sentence does.
      if (text[i] != ' ' && text[i] != ',' && text[i] != '\'') in_sentence = false;
      ++i;
      continue;
    }
    const std::size_t begin = i;
    while (i < text.size() && is_letter(text[i])) ++i;
    const std::string_view word = text.substr(begin, i - begin);
    const bool capital = std::isupper(static_cast<unsigned char>(word.front())) != 0;
    if (capital && in_sentence && word.size() >= 3) names.emplace(word);
    in_sentence = true;
  }
  return names;
}

/// The number of names in the first quarter of a text that occur in its last quarter.
[[nodiscard]] inline std::size_t names_reused(std::string_view text) {
  const std::size_t quarter = text.size() / 4;
  const std::set<std::string> late = names_of(text.substr(text.size() - quarter));
  std::size_t count = 0;
  for (const std::string& name : names_of(text.substr(0, quarter))) count += late.count(name);
  return count;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_WRITTEN_TEXT_HPP
