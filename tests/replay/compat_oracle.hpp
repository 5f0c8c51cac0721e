// SPDX-License-Identifier: Apache-2.0
/// \file
/// MorphKV as its authors' code runs (Mistral, Phi-3, Qwen2), by brute force: whole rows of logits
/// are stored by position, and each step is computed anew from them.
#ifndef MORPHKV_TESTS_REPLAY_COMPAT_ORACLE_HPP
#define MORPHKV_TESTS_REPLAY_COMPAT_ORACLE_HPP

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "morphkv/core/types.hpp"
#include "oracle/attention_oracle.hpp"
#include "oracle/scorings.hpp"

namespace morphkv::oracle {

struct CompatOptions {
  std::size_t capacity = 0;  ///< M
  std::size_t window = 0;    ///< R
  Combine combine = Combine::sum;
  GroupFusion fusion = GroupFusion::max;
  double evict_after = 1;
  std::size_t group = 1;  ///< query heads
};

/// The logits of one query token by query head and position.
using LogitRows = std::vector<std::vector<double>>;

class CompatOracle {
 public:
  explicit CompatOracle(const CompatOptions& options)
      : options_(options), ring_size_(options.window) {}

  [[nodiscard]] const std::vector<Position>& kept() const { return tokens_; }

  /// The prompt: nothing is evicted. The first one sets how many queries the ring holds.
  void block(Position first, const std::vector<LogitRows>& rows) {
    if (tokens_.empty()) ring_size_ = std::min(options_.window, rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      tokens_.push_back(first + static_cast<Position>(i));
      push(rows[i]);
    }
  }

  /// A token comes; its query is not yet on the ring.
  void arrive(Position position) { tokens_.push_back(position); }

  /// Whether this step evicts: n >= (1 + M) evict_after.
  [[nodiscard]] bool triggered() const {
    return static_cast<double>(tokens_.size()) >=
           static_cast<double>(1 + options_.capacity) * options_.evict_after;
  }

  /// What a query head sees at this step.
  [[nodiscard]] std::vector<Position> visible(std::size_t query_head) const {
    return triggered() ? best(scores_of(query_head)) : tokens_;
  }

  /// The step is over: the surplus is dropped, and the query goes on the ring. An empty row is that
  /// of a query that did not attend: it scores nothing.
  void attend(const LogitRows& row) {
    if (triggered()) tokens_ = best(fused_scores());
    push(row);
  }

 private:
  [[nodiscard]] std::size_t candidates() const {
    return tokens_.size() - std::min(tokens_.size(), options_.window + 1);
  }

  /// The queries before the current one: as many as the ring has beside it.
  void push(const LogitRows& row) {
    ring_.push_back(row);
    while (ring_.size() > ring_size_ - std::min<std::size_t>(ring_size_, 1)) {
      ring_.erase(ring_.begin());
    }
  }

  /// softmax of one scoring query's logits over the candidates alone.
  [[nodiscard]] std::vector<double> weights(const LogitRows& query, std::size_t query_head) const {
    std::vector<double> logits;
    for (std::size_t c = 0; c < candidates(); ++c) {
      const auto position = static_cast<std::size_t>(tokens_[c]);
      logits.push_back(query[query_head][position]);
    }
    return softmax(std::move(logits));
  }

  void add(std::vector<double>& scores, const std::vector<double>& row) const {
    for (std::size_t c = 0; c < scores.size(); ++c) {
      scores[c] =
          options_.combine == Combine::sum ? scores[c] + row[c] : std::max(scores[c], row[c]);
    }
  }

  [[nodiscard]] std::vector<double> scores_of(std::size_t query_head) const {
    std::vector<double> scores(candidates(), 0.0);
    for (const LogitRows& query : ring_) {
      if (!query.empty()) add(scores, weights(query, query_head));
    }
    return scores;
  }

  /// First over the group, then over the rows.
  [[nodiscard]] std::vector<double> fused_scores() const {
    std::vector<double> scores(candidates(), 0.0);
    for (const LogitRows& query : ring_) {
      if (query.empty()) continue;
      std::vector<std::vector<double>> rows;
      for (std::size_t g = 0; g < options_.group; ++g) rows.push_back(weights(query, g));
      add(scores, fuse(rows, options_.fusion));
    }
    return scores;
  }

  /// The best M - R candidates, the last R and the current one.
  [[nodiscard]] std::vector<Position> best(const std::vector<double>& scores) const {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    // Of equals the newer stays.
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return scores[a] != scores[b] ? scores[a] > scores[b] : a > b;
    });
    order.resize(std::min(order.size(), options_.capacity - options_.window));
    std::sort(order.begin(), order.end());
    std::vector<Position> positions;
    for (const std::size_t c : order) positions.push_back(tokens_[c]);
    positions.insert(positions.end(), tokens_.begin() + static_cast<std::ptrdiff_t>(scores.size()),
                     tokens_.end());
    return positions;
  }

  CompatOptions options_;
  std::size_t ring_size_;  ///< Wq, the current query included
  std::vector<Position> tokens_;
  std::vector<LogitRows> ring_;
};

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_REPLAY_COMPAT_ORACLE_HPP
