// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which experts a token takes.
#ifndef MORPHKV_TOOLS_LLAMA_ROUTER_HPP
#define MORPHKV_TOOLS_LLAMA_ROUTER_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

#include "llama/config.hpp"

namespace morphkv::llama {

struct ChosenExpert {
  std::size_t expert = 0;
  float weight = 0;
};

/// Keeps its lists, so that a step does not allocate.
class Router {
 public:
  /// The experts of one token, those with the largest logits first; of equal ones the first.
  /// \param logits [experts]
  std::span<const ChosenExpert> operator()(const Mixture& mixture, std::span<const float> logits) {
    find_candidates(mixture, logits);
    keep_largest(candidates_, mixture.per_token, [&](std::size_t e) { return logits[e]; });
    const float highest = *std::max_element(logits.begin(), logits.end());
    const auto exponential = [&](std::size_t e) { return std::exp(logits[e] - highest); };
    std::vector<std::size_t>& summed = mixture.softmax_of_the_chosen ? candidates_ : all_;
    float total = 0;
    for (const std::size_t expert : summed) total += exponential(expert);
    chosen_.clear();
    for (const std::size_t expert : candidates_) {
      chosen_.push_back({expert, static_cast<float>(mixture.scale) * exponential(expert) / total});
    }
    return chosen_;
  }

 private:
  /// The experts of the groups whose best one is best.
  void find_candidates(const Mixture& mixture, std::span<const float> logits) {
    all_.resize(logits.size());
    std::iota(all_.begin(), all_.end(), std::size_t{0});
    candidates_ = all_;
    if (mixture.groups_per_token == mixture.groups) return;
    const std::size_t size = logits.size() / mixture.groups;
    groups_.resize(mixture.groups);
    std::iota(groups_.begin(), groups_.end(), std::size_t{0});
    keep_largest(groups_, mixture.groups_per_token, [&](std::size_t group) {
      const std::span<const float> own = logits.subspan(group * size, size);
      return *std::max_element(own.begin(), own.end());
    });
    candidates_.clear();
    for (const std::size_t group : groups_) {
      for (std::size_t e = 0; e < size; ++e) candidates_.push_back(group * size + e);
    }
  }

  template <class Value>
  static void keep_largest(std::vector<std::size_t>& indices, std::size_t count,
                           const Value& value) {
    const auto middle = indices.begin() + static_cast<std::ptrdiff_t>(count);
    std::partial_sort(indices.begin(), middle, indices.end(), [&](std::size_t a, std::size_t b) {
      return value(a) != value(b) ? value(a) > value(b) : a < b;
    });
    indices.erase(middle, indices.end());
  }

  std::vector<std::size_t> all_;
  std::vector<std::size_t> groups_;
  std::vector<std::size_t> candidates_;
  std::vector<ChosenExpert> chosen_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_ROUTER_HPP
