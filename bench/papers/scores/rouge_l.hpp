// SPDX-License-Identifier: Apache-2.0
/// \file
/// ROUGE-L of a summary (Lin 2004, section 3.2), as LongBench computes it.
#ifndef MORPHKV_BENCH_PAPERS_SCORES_ROUGE_L_HPP
#define MORPHKV_BENCH_PAPERS_SCORES_ROUGE_L_HPP

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "papers/text.hpp"

namespace morphkv::papers {

namespace detail {

using Sentence = std::vector<std::u32string>;

/// The parts between full stops. A part of white space alone is a sentence of one empty word, as in
/// the library that LongBench uses (rouge 1.0).
[[nodiscard]] inline std::vector<Sentence> sentences(std::string_view text) {
  std::vector<Sentence> result;
  for (const std::string_view part : split(text, ".")) {
    if (part.empty()) continue;
    Sentence sentence = words(characters(part));
    if (sentence.empty()) sentence.emplace_back();
    result.push_back(std::move(sentence));
  }
  return result;
}

/// Adds the words of a longest common subsequence. Of several, the one that a walk from the ends
/// finds which skips a word of `b` where both skips are as good.
inline void add_common_subsequence(const Sentence& a, const Sentence& b,
                                   std::set<std::u32string>& common) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> lengths((a.size() + 1) * width, 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      lengths[i * width + j] = a[i - 1] == b[j - 1] ? lengths[(i - 1) * width + j - 1] + 1
                                                    : (std::max)(lengths[(i - 1) * width + j],
                                                                 lengths[i * width + j - 1]);
    }
  }
  for (std::size_t i = a.size(), j = b.size(); i > 0 && j > 0;) {
    if (a[i - 1] == b[j - 1]) {
      common.insert(a[i - 1]);
      --i;
      --j;
    } else if (lengths[(i - 1) * width + j] > lengths[i * width + j - 1]) {
      --i;
    } else {
      --j;
    }
  }
}

[[nodiscard]] inline std::size_t different_words(const std::vector<Sentence>& text) {
  std::set<std::u32string> words;
  for (const Sentence& sentence : text) words.insert(sentence.begin(), sentence.end());
  return words.size();
}

}  // namespace detail

/// F of the different words in the longest common subsequences of all pairs of sentences, over the
/// different words of the prediction and of the reference.
/// \return in [0, 1]; 0 if one of the texts has no sentence
/// Complexity: words of the prediction x words of the reference.
[[nodiscard]] inline double rouge_l(std::string_view prediction, std::string_view reference) {
  const auto predicted = detail::sentences(prediction);
  const auto expected = detail::sentences(reference);
  if (predicted.empty() || expected.empty()) return 0;
  std::set<std::u32string> common;
  for (const auto& a : expected) {
    for (const auto& b : predicted) detail::add_common_subsequence(a, b, common);
  }
  const auto count = static_cast<double>(common.size());
  const double precision = count / static_cast<double>(detail::different_words(predicted));
  const double recall = count / static_cast<double>(detail::different_words(expected));
  return 2 * precision * recall / (precision + recall + 1e-8);
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_SCORES_ROUGE_L_HPP
