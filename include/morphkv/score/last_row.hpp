// SPDX-License-Identifier: Apache-2.0
/// \file
/// The attention row of the newest token alone: TOVA's score (arXiv 2401.06104).
#ifndef MORPHKV_SCORE_LAST_ROW_HPP
#define MORPHKV_SCORE_LAST_ROW_HPP

#include <cstdint>
#include <span>

#include "morphkv/kernels/prefetch_hint.hpp"
#include "morphkv/kernels/scores.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The newest row. Memory: 4 bytes per slot.
struct LastRow {
  using Value = std::uint32_t;

  struct Row {
    using Value = LastRow::Value;
    struct Fetched {};
    float* weights;

    [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot) const noexcept { return {}; }
    MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, Fetched) const noexcept {
      weights[slot] = weight;
      return value(slot);
    }
    [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept {
      return ranked_key(weights[slot]);
    }
    /// What a row reads and writes.
    [[nodiscard]] kernels::PrefetchHints prefetch_hints(std::size_t slots) const noexcept {
      return {{{weights, slots * sizeof *weights}}};
    }
    Slot push_row(std::span<const float> row, const Candidates& c) const noexcept {
      const float lowest = kernels::replace_row(row, c.protected_bits, weights);
      return kernels::oldest_with(lowest, weights, c);
    }
  };

  [[nodiscard]] MORPHKV_HOST_DEVICE static double number(Value value) noexcept {
    return static_cast<double>(from_ranked_key(value));
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr ScoreMemory memory() noexcept {
    return {.rows32 = 1};
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr std::uint32_t scoring_queries() noexcept {
    return 1;
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_row(const ScoreView& view, std::uint32_t,
                                    const Function& function) const {
    return function(Row{view.row_float(0)});
  }
  /// The new token's own row comes before the next search.
  MORPHKV_HOST_DEVICE void start(const ScoreView&, Slot, std::uint32_t) const noexcept {}
};

static_assert(Score<LastRow>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_LAST_ROW_HPP
