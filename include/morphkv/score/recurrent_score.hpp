// SPDX-License-Identifier: Apache-2.0
/// \file
/// A score that each new row updates by one formula: the shortest way to a new policy.
#ifndef MORPHKV_SCORE_RECURRENT_SCORE_HPP
#define MORPHKV_SCORE_RECURRENT_SCORE_HPP

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "morphkv/kernels/prefetch_hint.hpp"
#include "morphkv/kernels/scores.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A formula `(score, weight) -> score`: the old score of a slot and the weight of its token in the
/// newest row. A token's score is 0 before its first row. The result must not be NaN. The formula
/// is plain data; give its call operator MORPHKV_HOST_DEVICE to run on a device too.
template <class U>
concept ScoreUpdate = std::is_trivially_copyable_v<U> &&
    requires(const U& update, float score, float weight) {
  { update(score, weight) } -> std::convertible_to<float>;
};

/// score = max(decay x score, weight).
struct DecayedMaximum {
  float decay = 1;  ///< from 0 to 1

  [[nodiscard]] MORPHKV_HOST_DEVICE float operator()(float score, float weight) const noexcept {
    const float decayed = decay * score;
    return decayed < weight ? weight : decayed;
  }
  /// The same for a whole row. \return the lowest score of the slots that are not protected
  float update_row(std::span<const float> row, const std::uint64_t* protected_bits,
                   float* scores) const noexcept {
    return kernels::decay_max(row, protected_bits, decay, scores);
  }
};

/// score[slot] = update(score[slot], row[slot]), at every row. A token without an attention row
/// updates with weights of 0.
///
/// With `distance` = D a token is scored from the D-th token after it on: tokens attend to their
/// neighbours whatever these are. Memory: 4 bytes per slot.
template <ScoreUpdate Update>
struct RecurrentScore {
  using Value = std::uint32_t;

  Update update;
  std::uint32_t distance = 0;  ///< tokens between a token and the first query that scores it
  std::uint32_t queries = ~std::uint32_t{0};  ///< of a block that score

  struct Row {
    using Value = RecurrentScore::Value;
    Update update;
    float* scores;

    [[nodiscard]] MORPHKV_HOST_DEVICE float fetch(Slot slot) const noexcept { return scores[slot]; }
    MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, float before) const noexcept {
      const float score = update(before, weight);
      scores[slot] = score;
      return ranked_key(score);
    }
    [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept {
      return ranked_key(scores[slot]);
    }
    /// What a row reads and writes.
    [[nodiscard]] kernels::PrefetchHints prefetch_hints(std::size_t slots) const noexcept {
      return {{{scores, slots * sizeof *scores}}};
    }
    Slot push_row(std::span<const float> row, const Candidates& c) const noexcept {
      if constexpr (requires { update.update_row(row, c.protected_bits, scores); }) {
        const float least = update.update_row(row, c.protected_bits, scores);
        return kernels::oldest_with(least, scores, c);
      } else {
        for (std::size_t s = 0; s < row.size(); ++s) scores[s] = update(scores[s], row[s]);
        return lowest(c);
      }
    }
    [[nodiscard]] Slot lowest(const Candidates& c) const noexcept {
      return kernels::oldest_with(kernels::lowest(scores, c), scores, c);
    }
  };

  [[nodiscard]] MORPHKV_HOST_DEVICE static double number(Value value) noexcept {
    return static_cast<double>(from_ranked_key(value));
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr ScoreMemory memory() noexcept {
    return {.rows32 = 1};
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t scoring_queries() const noexcept {
    return queries;
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_row(const ScoreView& view, std::uint32_t,
                                    const Function& function) const {
    return function(Row{update, view.row_float(0)});
  }
  MORPHKV_HOST_DEVICE void start(const ScoreView& view, Slot slot, std::uint32_t) const noexcept {
    view.row_float(0)[slot] = 0;
  }
};

static_assert(Score<RecurrentScore<DecayedMaximum>>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_RECURRENT_SCORE_HPP
