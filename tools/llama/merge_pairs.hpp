// SPDX-License-Identifier: Apache-2.0
/// \file
/// The merges of byte-pair encoding (arXiv 1508.07909).
#ifndef MORPHKV_TOOLS_LLAMA_MERGE_PAIRS_HPP
#define MORPHKV_TOOLS_LLAMA_MERGE_PAIRS_HPP

#include <cstddef>
#include <optional>
#include <queue>
#include <tuple>
#include <vector>

namespace morphkv::llama {

/// What two neighbouring tokens become.
struct Merge {
  double order = 0;  ///< the lowest is done first; of equal ones the leftmost
  int token = 0;
};

/// Merges neighbouring tokens until none can be merged, in O(n log n).
/// \param find (left, right) -> std::optional<Merge>
template <class Find>
void merge_pairs(std::vector<int>& tokens, const Find& find) {
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  struct Candidate {
    double order;
    std::size_t at;
    int left;
    int right;
    int merged;
    bool operator<(const Candidate& other) const {  // the top of the queue is the largest
      return std::tie(order, at) > std::tie(other.order, other.at);
    }
  };
  const std::size_t count = tokens.size();
  std::vector<std::size_t> before(count);
  std::vector<std::size_t> after(count);
  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::size_t at) {
    if (at == none || after[at] == none) return;
    const int left = tokens[at];
    const int right = tokens[after[at]];
    if (const std::optional<Merge> merge = find(left, right)) {
      queue.push({merge->order, at, left, right, merge->token});
    }
  };
  for (std::size_t i = 0; i < count; ++i) {
    before[i] = i == 0 ? none : i - 1;
    after[i] = i + 1 == count ? none : i + 1;
  }
  for (std::size_t i = 0; i < count; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    const std::size_t right = after[best.at];
    if (tokens[best.at] != best.left || right == none || tokens[right] != best.right) continue;
    tokens[best.at] = best.merged;
    tokens[right] = -1;
    after[best.at] = after[right];
    if (after[right] != none) before[after[right]] = best.at;
    consider(before[best.at]);
    consider(best.at);
  }
  std::size_t kept = 0;
  for (const int token : tokens) {
    if (token >= 0) tokens[kept++] = token;
  }
  tokens.resize(kept);
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_MERGE_PAIRS_HPP
