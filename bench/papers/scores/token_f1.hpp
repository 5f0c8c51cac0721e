// SPDX-License-Identifier: Apache-2.0
/// \file
/// F1 of words (LongBench, arXiv 2308.14508, for question answering in English).
#ifndef MORPHKV_BENCH_PAPERS_SCORES_TOKEN_F1_HPP
#define MORPHKV_BENCH_PAPERS_SCORES_TOKEN_F1_HPP

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "papers/text.hpp"

namespace morphkv::papers {

/// The words of an answer in lower case, without ASCII punctuation and without a, an and the.
[[nodiscard]] inline std::vector<std::u32string> answer_words(std::string_view answer) {
  std::u32string kept;
  for (const char32_t c : lower_case(characters(answer))) {
    if (!is_ascii_punctuation(c)) kept.push_back(c);
  }
  std::u32string text;
  for (std::size_t at = 0; at < kept.size();) {
    std::size_t end = at;
    while (end < kept.size() && is_word_character(kept[end])) ++end;
    const std::u32string word = kept.substr(at, end - at);
    text += word == U"a" || word == U"an" || word == U"the" ? U" " : word;
    if (end < kept.size()) text.push_back(kept[end]);
    at = end + 1;
  }
  return words(text);
}

/// The harmonic mean of the share of the prediction's words that the answer has and the share of
/// the answer's words that the prediction has. A word counts as often as both have it.
/// \return in [0, 1]; 0 without a common word
[[nodiscard]] inline double token_f1(std::string_view prediction, std::string_view answer) {
  const auto predicted = answer_words(prediction);
  const auto expected = answer_words(answer);
  std::map<std::u32string, std::size_t> left;
  for (const auto& word : expected) ++left[word];
  std::size_t common = 0;
  for (const auto& word : predicted) {
    const auto found = left.find(word);
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++common;
  }
  if (common == 0) return 0;
  const double precision = static_cast<double>(common) / static_cast<double>(predicted.size());
  const double recall = static_cast<double>(common) / static_cast<double>(expected.size());
  return 2 * precision * recall / (precision + recall);
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_SCORES_TOKEN_F1_HPP
