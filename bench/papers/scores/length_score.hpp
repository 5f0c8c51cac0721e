// SPDX-License-Identifier: Apache-2.0
/// \file
/// Length score S_l (LongWriter, arXiv 2408.07055, section 2.2).
#ifndef MORPHKV_BENCH_PAPERS_SCORES_LENGTH_SCORE_HPP
#define MORPHKV_BENCH_PAPERS_SCORES_LENGTH_SCORE_HPP

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "papers/text.hpp"

namespace morphkv::papers {

/// Chinese characters and English words: words of ASCII letters alone.
[[nodiscard]] inline std::size_t count_words(std::string_view text) {
  const std::u32string all = characters(text);
  const auto is_letter = [](char32_t c) {
    return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z');
  };
  std::size_t count = static_cast<std::size_t>(
      std::count_if(all.begin(), all.end(), [](char32_t c) { return c >= 0x4E00 && c <= 0x9FFF; }));
  for (const std::u32string& word : runs(all, is_word_character)) {
    count += std::all_of(word.begin(), word.end(), is_letter) ? 1U : 0U;
  }
  return count;
}

/// How near a written length is to the one asked for. It falls linearly, to 0 at 4 times the length
/// and at a third of it.
/// \return in [0, 1]
/// \pre asked > 0
[[nodiscard]] inline double length_score(std::size_t asked, std::size_t written) {
  if (written == 0) return 0;
  const auto x = static_cast<double>(asked);
  const auto y = static_cast<double>(written);
  return (std::max)(0.0, y > x ? 1 - (y / x - 1) / 3 : 1 - (x / y - 1) / 2);
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_SCORES_LENGTH_SCORE_HPP
