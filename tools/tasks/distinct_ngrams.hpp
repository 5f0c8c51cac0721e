// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_TOOLS_TASKS_DISTINCT_NGRAMS_HPP
#define MORPHKV_TOOLS_TASKS_DISTINCT_NGRAMS_HPP

#include <cstddef>
#include <set>
#include <span>
#include <vector>

namespace morphkv::tasks {

/// The share of the runs of `n` tokens that are different: 1 if nothing is repeated, or there is no
/// run.
[[nodiscard]] inline double distinct_ngrams(std::span<const int> text, std::size_t n) {
  if (n == 0 || text.size() < n) return 1;
  const std::size_t runs = text.size() - n + 1;
  std::set<std::vector<int>> distinct;
  for (std::size_t i = 0; i < runs; ++i) {
    const auto run = text.subspan(i, n);
    distinct.emplace(run.begin(), run.end());
  }
  return static_cast<double>(distinct.size()) / static_cast<double>(runs);
}

}  // namespace morphkv::tasks

#endif  // MORPHKV_TOOLS_TASKS_DISTINCT_NGRAMS_HPP
