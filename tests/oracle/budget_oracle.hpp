// SPDX-License-Identifier: Apache-2.0
/// \file
/// How layers and heads share a budget, from the papers' formulas.
#ifndef MORPHKV_TESTS_ORACLE_BUDGET_ORACLE_HPP
#define MORPHKV_TESTS_ORACLE_BUDGET_ORACLE_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace morphkv::oracle {

/// PyramidKV: min = C / beta, max = 2 C - min; layer l gets max - l (max - min) / (layers - 1).
inline double pyramid_share(double distant, double beta, std::size_t layer, std::size_t layers) {
  const double least = distant / beta;
  const double most = 2 * distant - least;
  return most - static_cast<double>(layer) * (most - least) / static_cast<double>(layers - 1);
}

/// AdaKV: the best heads x C scores of a layer are counted; a head with n of them gets
/// round(n (1 - floor) + floor C), and at least 1. No two scores must be equal.
inline std::vector<std::size_t> adaptive_shares(const std::vector<std::vector<double>>& scores,
                                                std::size_t distant, double floor) {
  std::vector<std::pair<double, std::size_t>> all;
  for (std::size_t head = 0; head < scores.size(); ++head) {
    for (const double score : scores[head]) all.emplace_back(score, head);
  }
  std::sort(all.rbegin(), all.rend());
  std::vector<double> count(scores.size(), 0.0);
  for (std::size_t i = 0; i < std::min(all.size(), scores.size() * distant); ++i) {
    count[all[i].second] += 1;
  }
  std::vector<std::size_t> shares;
  for (const double n : count) {
    const double share = std::floor(n * (1 - floor) + floor * static_cast<double>(distant) + 0.5);
    shares.push_back(static_cast<std::size_t>(std::max(share, 1.0)));
  }
  return shares;
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_BUDGET_ORACLE_HPP
