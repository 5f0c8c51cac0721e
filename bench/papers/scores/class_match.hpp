// SPDX-License-Identifier: Apache-2.0
/// \file
/// Classification (LongBench, arXiv 2308.14508): which class names a prediction contains.
#ifndef MORPHKV_BENCH_PAPERS_SCORES_CLASS_MATCH_HPP
#define MORPHKV_BENCH_PAPERS_SCORES_CLASS_MATCH_HPP

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace morphkv::papers {

/// One divided by the number of classes that the prediction names, if `answer` is among them. Names
/// that are a part of the answer's name do not count.
/// \return in [0, 1]
[[nodiscard]] inline double class_match(std::string_view prediction, std::string_view answer,
                                        std::span<const std::string> classes) {
  std::vector<std::string_view> named;
  for (const std::string& name : classes) {
    if (prediction.find(name) != std::string_view::npos) named.emplace_back(name);
  }
  // The authors remove from the list that they walk, so the name after a removed one stays.
  for (std::size_t i = 0; i < named.size(); ++i) {
    const std::string_view name = named[i];
    if (name != answer && answer.find(name) != std::string_view::npos) {
      named.erase(std::find(named.begin(), named.end(), name));
    }
  }
  const bool right = std::find(named.begin(), named.end(), answer) != named.end();
  return right ? 1 / static_cast<double>(named.size()) : 0;
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_SCORES_CLASS_MATCH_HPP
