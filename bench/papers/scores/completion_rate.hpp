// SPDX-License-Identifier: Apache-2.0
/// \file
/// Completion rate (LongGenBench, arXiv 2409.02076).
#ifndef MORPHKV_BENCH_PAPERS_SCORES_COMPLETION_RATE_HPP
#define MORPHKV_BENCH_PAPERS_SCORES_COMPLETION_RATE_HPP

#include <charconv>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "papers/scores/number_match.hpp"
#include "papers/text.hpp"

namespace morphkv::papers {

/// What the prompts demand before each entry.
inline constexpr const char* entry_mark = "#*#";

/// The share of the entries 1 to `number` that a text has. The number of an entry is the first that
/// follows its type, as in "#*# Week 12 (...)".
/// \param text the response after the prompt's own beginning of entry 1
/// \return in [0, 1]
/// \pre number > 0
[[nodiscard]] inline double completion_rate(std::string_view text, const std::string& type,
                                            std::size_t number) {
  std::set<std::size_t> written;
  for (const std::string_view entry : split(text, entry_mark)) {
    const std::string digits = number_after(entry, type + " ");
    std::size_t index = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (result.ec == std::errc{} && index >= 1 && index <= number) written.insert(index);
  }
  return static_cast<double>(written.size()) / static_cast<double>(number);
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_SCORES_COMPLETION_RATE_HPP
