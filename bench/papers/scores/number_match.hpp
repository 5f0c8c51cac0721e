// SPDX-License-Identifier: Apache-2.0
/// \file
/// Retrieval and counting (LongBench, arXiv 2308.14508): which numbers a prediction contains.
#ifndef MORPHKV_BENCH_PAPERS_SCORES_NUMBER_MATCH_HPP
#define MORPHKV_BENCH_PAPERS_SCORES_NUMBER_MATCH_HPP

#include <algorithm>
#include <string>
#include <string_view>

#include "papers/text.hpp"

namespace morphkv::papers {

/// The share of the prediction's numbers that are `number`, digit by digit.
/// \return in [0, 1]; 0 without a number
[[nodiscard]] inline double number_match(std::string_view prediction, std::string_view number) {
  const auto numbers = runs(characters(prediction), is_digit);
  if (numbers.empty()) return 0;
  const auto right = std::count(numbers.begin(), numbers.end(), characters(number));
  return static_cast<double>(right) / static_cast<double>(numbers.size());
}

/// The ASCII digits after the first "<before>" that digits follow, such as "Paragraph "; empty if
/// there are none.
[[nodiscard]] inline std::string number_after(std::string_view text, std::string_view before) {
  for (std::size_t at = text.find(before); at != std::string_view::npos;
       at = text.find(before, at + 1)) {
    const std::string_view rest = text.substr(at + before.size());
    const std::size_t end = (std::min)(rest.find_first_not_of("0123456789"), rest.size());
    if (end > 0) return std::string(rest.substr(0, end));
  }
  return {};
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_SCORES_NUMBER_MATCH_HPP
