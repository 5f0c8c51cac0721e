// SPDX-License-Identifier: Apache-2.0
/// \file
/// Similarity of lines of code (LongBench, arXiv 2308.14508).
#ifndef MORPHKV_BENCH_PAPERS_SCORES_EDIT_SIMILARITY_HPP
#define MORPHKV_BENCH_PAPERS_SCORES_EDIT_SIMILARITY_HPP

#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "papers/text.hpp"

namespace morphkv::papers {

namespace detail {

/// Ratcliff and Obershelp's matching (1988), as Python's difflib has it: the longest common
/// substring, and the same on the left and on the right of it.
class SubstringMatcher {
 public:
  SubstringMatcher(std::u32string_view a, std::u32string_view b) : a_(a), b_(b) {
    for (std::size_t j = 0; j < b.size(); ++j) places_[b[j]].push_back(j);
    if (b.size() < long_text) return;
    // A character that makes more than 1 % of a long text starts no match.
    std::erase_if(places_,
                  [&](const auto& entry) { return entry.second.size() > b.size() / 100 + 1; });
  }

  /// How many characters match.
  [[nodiscard]] std::size_t matches() const {
    std::size_t sum = 0;
    std::vector<Range> open = {{0, a_.size(), 0, b_.size()}};
    while (!open.empty()) {
      const Range range = open.back();
      open.pop_back();
      const Match match = longest(range);
      if (match.size == 0) continue;
      sum += match.size;
      open.push_back({range.a_begin, match.a, range.b_begin, match.b});
      open.push_back({match.a + match.size, range.a_end, match.b + match.size, range.b_end});
    }
    return sum;
  }

 private:
  static constexpr std::size_t long_text = 200;

  struct Range {
    std::size_t a_begin, a_end, b_begin, b_end;
  };
  struct Match {
    std::size_t a, b, size;
  };

  /// Of equally long ones the first in `a`, then the first in `b`.
  [[nodiscard]] Match longest(const Range& range) const {
    Match best{range.a_begin, range.b_begin, 0};
    std::map<std::size_t, std::size_t> ending;  // at a place of b: the length of the match
    for (std::size_t i = range.a_begin; i < range.a_end; ++i) {
      std::map<std::size_t, std::size_t> next;
      const auto places = places_.find(a_[i]);
      if (places != places_.end()) {
        for (const std::size_t j : places->second) {
          if (j < range.b_begin) continue;
          if (j >= range.b_end) break;
          const auto before = j == 0 ? ending.end() : ending.find(j - 1);
          const std::size_t size = (before == ending.end() ? 0 : before->second) + 1;
          next[j] = size;
          if (size > best.size) best = {i + 1 - size, j + 1 - size, size};
        }
      }
      ending = std::move(next);
    }
    while (best.a > range.a_begin && best.b > range.b_begin && a_[best.a - 1] == b_[best.b - 1]) {
      --best.a;
      --best.b;
      ++best.size;
    }
    while (best.a + best.size < range.a_end && best.b + best.size < range.b_end &&
           a_[best.a + best.size] == b_[best.b + best.size]) {
      ++best.size;
    }
    return best;
  }

  std::u32string_view a_;
  std::u32string_view b_;
  std::map<char32_t, std::vector<std::size_t>> places_;  ///< of each character in b, ascending
};

}  // namespace detail

/// Twice the matching characters divided by all, in whole per cent: the ratio of fuzzywuzzy, on
/// difflib.
/// \return in [0, 1]; 0 if one of two different texts is empty
[[nodiscard]] inline double text_similarity(std::string_view a, std::string_view b) {
  if (a == b) return 1;
  if (a.empty() || b.empty()) return 0;
  const std::u32string left = characters(a);
  const std::u32string right = characters(b);
  const auto matches = static_cast<double>(detail::SubstringMatcher(left, right).matches());
  const double ratio = 2 * matches / static_cast<double>(left.size() + right.size());
  return std::nearbyint(100 * ratio) / 100;  // halves go to the even number, as in Python
}

/// The first line of a prediction that is code (no comment, no mark of a code block) beside the
/// expected line.
[[nodiscard]] inline double edit_similarity(std::string_view prediction, std::string_view line) {
  for (const std::string_view written : split(without_leading_newlines(prediction), "\n")) {
    const auto has = [&](std::string_view mark) {
      return written.find(mark) != std::string_view::npos;
    };
    if (!has("`") && !has("#") && !has("//")) return text_similarity(written, line);
  }
  return text_similarity("", line);
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_SCORES_EDIT_SIMILARITY_HPP
