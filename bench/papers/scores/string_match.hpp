// SPDX-License-Identifier: Apache-2.0
/// \file
/// Strings that a response contains (RULER, arXiv 2404.06654).
#ifndef MORPHKV_BENCH_PAPERS_SCORES_STRING_MATCH_HPP
#define MORPHKV_BENCH_PAPERS_SCORES_STRING_MATCH_HPP

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "papers/text.hpp"

namespace morphkv::papers {

namespace detail {

/// How many of the strings a prediction contains, in any case.
[[nodiscard]] inline std::size_t strings_found(std::string_view prediction,
                                               std::span<const std::string> strings) {
  std::u32string text = stripped(characters(prediction));
  std::replace_if(
      text.begin(), text.end(), [](char32_t c) { return c < 0x20; }, U'\n');
  text = lower_case(stripped(text));
  return static_cast<std::size_t>(
      std::count_if(strings.begin(), strings.end(), [&](const std::string& string) {
        return text.find(lower_case(characters(string))) != std::u32string::npos;
      }));
}

}  // namespace detail

/// The share of the strings that a prediction contains. \pre there is at least one
[[nodiscard]] inline double match_all(std::string_view prediction,
                                      std::span<const std::string> strings) {
  return static_cast<double>(detail::strings_found(prediction, strings)) /
         static_cast<double>(strings.size());
}

/// 1 if a prediction contains one of the strings, 0 otherwise.
[[nodiscard]] inline double match_part(std::string_view prediction,
                                       std::span<const std::string> strings) {
  return detail::strings_found(prediction, strings) > 0 ? 1 : 0;
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_SCORES_STRING_MATCH_HPP
