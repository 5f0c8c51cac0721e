// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a replay should say, in double and by brute force: the oracles of tests/oracle, fed with
/// attention rows that are computed from the trace, and the authors' published MorphKV code with
/// its stored queries.
#ifndef MORPHKV_TESTS_REPLAY_BRUTE_FORCE_HPP
#define MORPHKV_TESTS_REPLAY_BRUTE_FORCE_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <limits>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "morphkv/core/types.hpp"
#include "oracle/attention_oracle.hpp"
#include "oracle/eviction_oracle.hpp"
#include "replay/morphkv_compat.hpp"
#include "replay/trace.hpp"

namespace morphkv::testing {

/// One step of one KV head.
struct ExpectedStep {
  std::vector<Position> kept;
  std::vector<std::vector<Position>> visible;  ///< of each query head of the group
  /// How clear the step's decision was, as EvictionOracle::margin.
  double margin = std::numeric_limits<double>::infinity();
};

/// One KV head of a trace, in double.
class HeadTrace {
 public:
  HeadTrace(const replay::Trace& trace, std::size_t head) : trace_(&trace), head_(head) {
    sequence_.head_dim = trace.shape.head_dim;
    for (std::size_t token = 0; token < trace.tokens; ++token) {
      sequence_.keys.push_back(part(trace.keys_of(token, 1)));
      sequence_.values.push_back(part(trace.values_of(token, 1)));
    }
  }

  [[nodiscard]] const replay::Trace& trace() const { return *trace_; }
  [[nodiscard]] const oracle::Sequence& sequence() const { return sequence_; }
  [[nodiscard]] std::span<const float> query(std::size_t token, std::size_t g) const {
    const std::size_t dim = trace_->shape.head_dim;
    return trace_->queries_of(token, 1).subspan((head_ * trace_->shape.group() + g) * dim, dim);
  }
  [[nodiscard]] std::vector<double> weights(std::size_t token, std::size_t g,
                                            std::span<const Position> seen) const {
    return oracle::weights_over(query(token, g), sequence_, seen);
  }

  /// The group's row over these tokens, by position.
  [[nodiscard]] oracle::Row row(std::size_t token, std::span<const Position> seen,
                                GroupFusion fusion) const {
    std::vector<std::vector<double>> rows;
    for (std::size_t g = 0; g < trace_->shape.group(); ++g) rows.push_back(weights(token, g, seen));
    const std::vector<double> fused = oracle::fuse(rows, fusion);
    oracle::Row result(token + 1, 0.0);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      result[static_cast<std::size_t>(seen[i])] = fused[i];
    }
    return result;
  }

 private:
  [[nodiscard]] std::vector<double> part(std::span<const float> heads) const {
    const std::span<const float> own =
        heads.subspan(head_ * trace_->shape.head_dim, trace_->shape.head_dim);
    return {own.begin(), own.end()};
  }

  const replay::Trace* trace_;
  std::size_t head_;
  oracle::Sequence sequence_;
};

inline std::vector<Position> positions_from(Position first, std::size_t count) {
  std::vector<Position> result(count);
  std::iota(result.begin(), result.end(), first);
  return result;
}

/// A policy of one view for the whole group.
inline std::vector<ExpectedStep> expected_steps(const HeadTrace& head,
                                                oracle::EvictionOracle policy, GroupFusion fusion,
                                                std::size_t chunk = 0) {
  const replay::Trace& trace = head.trace();
  const std::size_t group = trace.shape.group();
  std::vector<ExpectedStep> steps(1);
  const std::size_t block = chunk == 0 ? trace.prompt_length : chunk;
  for (std::size_t begin = 0; begin < trace.prompt_length; begin += block) {
    std::vector<Position> seen = policy.kept();
    std::vector<oracle::Row> rows;
    for (std::size_t token = begin; token < std::min(begin + block, trace.prompt_length); ++token) {
      seen.push_back(static_cast<Position>(token));
      rows.push_back(head.row(token, seen, fusion));
    }
    EXPECT_EQ(policy.block(static_cast<Position>(begin), rows), Status::ok);
    steps[0] = {policy.kept(), std::vector(group, seen), policy.margin()};
  }
  for (std::size_t token = trace.prompt_length; token < trace.tokens; ++token) {
    EXPECT_EQ(policy.arrive(static_cast<Position>(token)), Status::ok);
    const std::vector<Position> seen = policy.kept();
    policy.attend(head.row(token, seen, fusion));
    steps.push_back({policy.kept(), std::vector(group, seen), policy.margin()});
  }
  return steps;
}

/// The authors' code, literally: a ring of queries, and at each step the softmax of all of them but
/// the newest over the candidates alone.
class CompatSteps {
 public:
  CompatSteps(const HeadTrace& head, const replay::MorphKVCompat::Options& options)
      : head_(&head), options_(options), group_(head.trace().shape.group()) {}

  [[nodiscard]] std::vector<ExpectedStep> run() {
    const replay::Trace& trace = head_->trace();
    held_ = positions_from(0, trace.prompt_length);
    const std::size_t ring = std::min(options_.window, trace.prompt_length);
    for (std::size_t i = trace.prompt_length - ring; i < trace.prompt_length; ++i) {
      ring_.push_back(i);
    }
    std::vector<ExpectedStep> steps = {{held_, std::vector(group_, held_)}};
    for (std::size_t token = trace.prompt_length; token < trace.tokens; ++token) {
      held_.push_back(static_cast<Position>(token));
      ring_.pop_front();
      ring_.push_back(token);
      steps.push_back(step());
    }
    return steps;
  }

 private:
  [[nodiscard]] ExpectedStep step() {
    ExpectedStep result;
    result.visible.assign(group_, held_);
    const auto trigger = static_cast<double>(1 + options_.capacity) * options_.evict_after;
    if (static_cast<double>(held_.size()) >= trigger) {
      const std::size_t candidates = held_.size() - options_.window - 1;
      score_candidates(candidates);
      for (std::size_t g = 0; g < group_; ++g) {
        result.visible[g] = best(scores_[g], candidates, result.margin);
      }
      held_ = best(scores_.back(), candidates, result.margin);
    }
    result.kept = held_;
    return result;
  }

  /// scores_[g] of each query head, and scores_.back() of the group.
  void score_candidates(std::size_t candidates) {
    const std::span<const Position> tokens(held_.data(), candidates);
    scores_.assign(group_ + 1, std::vector<double>(candidates, 0.0));
    for (std::size_t i = 0; i + 1 < ring_.size(); ++i) {
      std::vector<std::vector<double>> rows;
      for (std::size_t g = 0; g < group_; ++g) {
        rows.push_back(head_->weights(ring_[i], g, tokens));
        add(scores_[g], rows.back());
      }
      add(scores_.back(), oracle::fuse(rows, options_.group));
    }
  }

  void add(std::vector<double>& scores, const std::vector<double>& row) const {
    for (std::size_t c = 0; c < scores.size(); ++c) {
      scores[c] = options_.fusion == Fusion::sum ? scores[c] + row[c] : std::max(scores[c], row[c]);
    }
  }

  /// The best capacity - window candidates, and all that are none.
  [[nodiscard]] std::vector<Position> best(const std::vector<double>& scores,
                                           std::size_t candidates, double& margin) const {
    std::vector<std::size_t> order(candidates);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
    const std::size_t leave = candidates - (options_.capacity - options_.window);
    if (leave > 0 && scores[order[leave]] > 0) {
      const double gap = scores[order[leave]] - scores[order[leave - 1]];
      margin = std::min(margin, gap / scores[order[leave]]);
    }
    std::vector<Position> result(held_.begin() + static_cast<std::ptrdiff_t>(candidates),
                                 held_.end());
    for (std::size_t i = leave; i < candidates; ++i) result.push_back(held_[order[i]]);
    std::sort(result.begin(), result.end());
    return result;
  }

  const HeadTrace* head_;
  replay::MorphKVCompat::Options options_;
  std::size_t group_;
  std::vector<Position> held_;
  std::deque<std::size_t> ring_;
  std::vector<std::vector<double>> scores_;
};

/// Lost mass and relative error of one step.
inline std::pair<double, double> expected_loss(const HeadTrace& head, std::size_t token,
                                               const std::vector<std::vector<Position>>& visible) {
  const std::vector<Position> all = positions_from(0, token + 1);
  double kept_mass = 0;
  double difference = 0;
  double norm = 0;
  for (std::size_t g = 0; g < visible.size(); ++g) {
    const std::vector<double> full = head.weights(token, g, all);
    for (const Position position : visible[g])
      kept_mass += full[static_cast<std::size_t>(position)];
    const auto wanted = oracle::weighted_values(full, head.sequence(), all);
    const auto given =
        oracle::weighted_values(head.weights(token, g, visible[g]), head.sequence(), visible[g]);
    for (std::size_t d = 0; d < wanted.size(); ++d) {
      difference += (given[d] - wanted[d]) * (given[d] - wanted[d]);
      norm += wanted[d] * wanted[d];
    }
  }
  return {1 - kept_mass / static_cast<double>(visible.size()), std::sqrt(difference / norm)};
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_REPLAY_BRUTE_FORCE_HPP
