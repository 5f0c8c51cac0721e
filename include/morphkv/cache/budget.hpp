// SPDX-License-Identifier: Apache-2.0
/// \file
/// How a cache's tokens are divided between layers and heads.
#ifndef MORPHKV_CACHE_BUDGET_HPP
#define MORPHKV_CACHE_BUDGET_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "morphkv/core/error.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The tokens that a policy's options let a head keep.
template <class Options>
[[nodiscard]] std::size_t capacity_of(const Options& options) {
  if constexpr (requires { options.capacity; }) {
    return options.capacity;
  } else if constexpr (requires { options.heavy + options.recent; }) {
    return options.heavy + options.recent;
  } else {
    return options.max_tokens;
  }
}

/// The recent tokens among them, which budgets leave alone.
template <class Options>
[[nodiscard]] std::size_t recent_of(const Options& options) {
  if constexpr (requires { options.window; }) {
    return options.window;
  } else if constexpr (requires { options.recent; }) {
    return options.recent;
  } else {
    return 0;
  }
}

/// The same options for a head that keeps `capacity` tokens. What a head has beyond its capacity
/// (SnapKV's slots for the response) stays.
template <class Options>
[[nodiscard]] Options with_capacity(Options options, std::size_t capacity) {
  if constexpr (requires { options.capacity; }) {
    if constexpr (requires { options.max_tokens; }) {
      options.max_tokens =
          options.max_tokens - std::min(options.max_tokens, options.capacity) + capacity;
    }
    options.capacity = capacity;
  } else if constexpr (requires { options.heavy + options.recent; }) {
    options.heavy = capacity - std::min(capacity, options.recent);
  } else {
    options.max_tokens = capacity;
  }
  return options;
}

/// One capacity for all heads, or one per layer or head.
class Budget {
 public:
  /// Every head keeps what the policy's options say.
  [[nodiscard]] static Budget uniform() { return {}; }

  /// PyramidKV (arXiv 2406.02069): less for deeper layers, on a line. With C the options' capacity
  /// without its recent tokens, the last layer keeps C / beta and the first 2 C - C / beta, rounded
  /// to whole tokens, and each the recent ones.
  /// \throws std::invalid_argument unless beta >= 1.
  [[nodiscard]] static Budget pyramid(double beta = 20) {
    require(beta >= 1, "beta", beta, "at least 1");
    Budget budget;
    budget.beta_ = beta;
    return budget;
  }

  /// One capacity per head: [layers][kv_heads].
  [[nodiscard]] static Budget per_head(std::vector<std::size_t> capacities) {
    Budget budget;
    budget.capacities_ = std::move(capacities);
    budget.per_head_ = true;
    return budget;
  }

  /// AdaKV (arXiv 2407.11550): the heads of a layer share the layer's budget. When the first prompt
  /// is longer than the capacity, the best heads x C older tokens of the layer are counted; a head
  /// with n of them keeps n (1 - floor) + floor C, rounded, but at least 1, and the recent ones.
  /// \throws std::invalid_argument unless floor is from 0 to 1.
  [[nodiscard]] static Budget adaptive(double floor = 0.2) {
    require(floor >= 0 && floor <= 1, "floor", floor, "from 0 to 1");
    Budget budget;
    budget.floor_ = floor;
    return budget;
  }

  friend bool operator==(const Budget&, const Budget&) = default;

  [[nodiscard]] bool is_adaptive() const noexcept { return floor_ >= 0; }
  [[nodiscard]] double floor() const noexcept { return floor_; }

  /// The capacity of every head, [layers][kv_heads], before any prompt.
  /// \throws std::invalid_argument if the number of capacities given is not that of the heads.
  template <class Options>
  [[nodiscard]] std::vector<std::size_t> capacities(const CacheShape& shape,
                                                    const Options& options) const {
    if (per_head_) {
      require(capacities_.size() == shape.heads(), "capacities", capacities_.size(),
              "one per head: " + std::to_string(shape.heads()));
      return capacities_;
    }
    std::vector<std::size_t> result(shape.heads(), capacity_of(options));
    if (beta_ < 1) return result;
    for (std::size_t head = 0; head < result.size(); ++head) {
      result[head] =
          pyramid_layer(result[head], recent_of(options), head / shape.kv_heads, shape.layers);
    }
    return result;
  }

 private:
  [[nodiscard]] std::size_t pyramid_layer(std::size_t capacity, std::size_t recent,
                                          std::size_t layer, std::size_t layers) const {
    if (layers == 1 || capacity <= recent) return capacity;
    const auto distant = static_cast<double>(capacity - recent);
    const double least = distant / beta_;
    const double most = 2 * distant - least;
    const double step = (most - least) / static_cast<double>(layers - 1);
    return recent + static_cast<std::size_t>(std::lround(most - static_cast<double>(layer) * step));
  }

  double beta_ = 0;    ///< pyramid if at least 1
  double floor_ = -1;  ///< adaptive if not negative
  bool per_head_ = false;
  std::vector<std::size_t> capacities_;
};

/// AdaKV's division of one layer's budget, without the recent tokens.
/// \param scores  of each head's older tokens, by position; infinity where a token must stay
/// \param distant C: what a head keeps of them on average
/// Of equal scores the newer token counts, then the lower head.
[[nodiscard]] inline std::vector<std::size_t> adaptive_capacities(
    std::span<const std::vector<double>> scores, std::size_t distant, double floor) {
  struct Entry {
    double score;
    std::size_t token;
    std::size_t head;
  };
  std::vector<Entry> entries;
  for (std::size_t head = 0; head < scores.size(); ++head) {
    for (std::size_t token = 0; token < scores[head].size(); ++token) {
      entries.push_back({scores[head][token], token, head});
    }
  }
  const std::size_t best = std::min(entries.size(), scores.size() * distant);
  // ~: of equal tokens, that of the lower head is the greater one.
  std::ranges::nth_element(
      entries, entries.begin() + static_cast<std::ptrdiff_t>(best), std::ranges::greater{},
      [](const Entry& entry) { return std::tuple(entry.score, entry.token, ~entry.head); });
  std::vector<std::size_t> won(scores.size());
  for (std::size_t rank = 0; rank < best; ++rank) ++won[entries[rank].head];
  for (std::size_t& count : won) {
    const double share = static_cast<double>(count) * (1 - floor);
    const long kept = std::lround(share + floor * static_cast<double>(distant));
    count = static_cast<std::size_t>(std::max(kept, 1L));
  }
  return won;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_BUDGET_HPP
