// SPDX-License-Identifier: Apache-2.0
/// \file
/// A score that each new row updates by a formula of yours: the shortest way to a new policy.
#ifndef MORPHKV_SCORE_RECURRENT_SCORE_HPP
#define MORPHKV_SCORE_RECURRENT_SCORE_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>

#include "morphkv/core/row_matrix.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// A formula `(score, weight) -> score`: the old score of a slot and what the newest token paid to
/// it. A new token's score is 0 before its own row. It must not throw, nor give NaN.
template <class U>
concept ScoreUpdate = std::copyable<U> && requires(const U& update, float score, float weight) {
  { update(score, weight) } -> std::convertible_to<float>;
};

/// score[slot] = update(score[slot], row[slot]), at every step. A token that pays no attention
/// updates with weights of 0, and so does one that is fewer than `distance` positions after the
/// slot's: tokens attend to their neighbours whatever these say.
///
/// Memory: 4 bytes a slot; with `history` = D, 4 D more. Thread safety: none; one object a head.
template <ScoreUpdate Update>
class RecurrentScore {
 public:
  using Value = float;

  struct Options {
    std::size_t columns = 0;
    std::size_t voters = std::numeric_limits<std::size_t>::max();  ///< of a prompt's last queries
    std::size_t history = 0;   ///< how many tokens pop() can take back
    std::size_t distance = 0;  ///< from a token to the first one that votes for it
  };

  RecurrentScore(const Options& options, const Update& update)
      : options_(options), update_(update), scores_(options.history + 1, options.columns) {}

  Slot push(std::span<const float> row, const Candidates& candidates) noexcept {
    MORPHKV_ASSERT(row.size() <= options_.columns && candidates.slots <= row.size());
    if (options_.distance == 0) {
      advance([&](std::size_t slot) { return slot < row.size() ? row[slot] : 0.0F; });
    } else {
      MORPHKV_ASSERT(renewed_ < row.size());
      const Position* positions = candidates.positions;
      const Position last = positions[renewed_] - static_cast<Position>(options_.distance);
      advance([&](std::size_t slot) {
        return slot < row.size() && positions[slot] <= last ? row[slot] : 0.0F;
      });
    }
    return least(candidates);
  }

  void skip() noexcept {
    advance([](std::size_t) { return 0.0F; });
  }

  [[nodiscard]] Slot least(const Candidates& candidates) const noexcept {
    return least_wanted(candidates, [&](Slot slot) { return scores()[slot]; });
  }

  void renew(Slot slot) noexcept { renewed_ = slot; }

  [[nodiscard]] Value value(Slot slot) const noexcept { return scores()[slot]; }

  /// The token of a slot lies in another one now. \pre there is no history
  void move(Slot from, Slot to) noexcept {
    MORPHKV_ASSERT(options_.history == 0);
    scores_.row(0)[to] = scores_.row(0)[from];
    if (renewed_ == from) renewed_ = to;
  }

  void pop(std::size_t count) noexcept {
    MORPHKV_ASSERT(count <= options_.history);
    step_ -= count;
    renewed_ = no_slot;
  }

  void clear() noexcept {
    scores_.clear();
    step_ = 0;
    renewed_ = no_slot;
  }

  [[nodiscard]] std::size_t voters() const noexcept { return options_.voters; }

  void values(std::span<const Position>, std::span<Value> out) const noexcept {
    std::copy_n(scores(), out.size(), out.data());
  }

  [[nodiscard]] RecurrentScore remapped(std::span<const Slot> sources, std::size_t columns) const {
    RecurrentScore result(*this);
    result.options_.columns = columns;
    result.scores_ = scores_.remapped(sources, columns);
    return result;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    const std::size_t row_bytes = scores_.bytes() / scores_.rows();
    return {.scores = row_bytes, .history = scores_.bytes() - row_bytes};
  }

 private:
  [[nodiscard]] const float* scores() const noexcept { return scores_.row(step_ % scores_.rows()); }

  template <class WeightAt>
  void advance(const WeightAt& weight_at) noexcept {
    const float* before = scores();
    float* after = scores_.row(++step_ % scores_.rows());
    for (std::size_t slot = 0; slot < options_.columns; ++slot) {
      after[slot] = update_(slot == renewed_ ? 0.0F : before[slot], weight_at(slot));
    }
    renewed_ = no_slot;
  }

  Options options_;
  Update update_;
  std::size_t step_ = 0;
  Slot renewed_ = no_slot;   ///< whose score begins anew with the next row
  RowMatrix<float> scores_;  ///< the newest row, and those that pop() brings back
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_RECURRENT_SCORE_HPP
