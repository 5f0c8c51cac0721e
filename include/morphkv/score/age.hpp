// SPDX-License-Identifier: Apache-2.0
/// \file
/// No score at all: the oldest token is evicted first.
#ifndef MORPHKV_SCORE_AGE_HPP
#define MORPHKV_SCORE_AGE_HPP

#include <cstdint>
#include <span>

#include "morphkv/kernels/scores.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Ranks tokens by position: StreamingLLM's score (arXiv 2309.17453). It needs no attention rows
/// and no memory.
struct Age {
  using Value = std::uint32_t;

  struct Row {
    using Value = Age::Value;
    const Position* positions;

    [[nodiscard]] MORPHKV_HOST_DEVICE Value fetch(Slot slot) const noexcept { return value(slot); }
    [[nodiscard]] MORPHKV_HOST_DEVICE Value push(Slot, float, Value age) const noexcept {
      return age;
    }
    [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept {
      return static_cast<Value>(positions[slot]);
    }
    [[nodiscard]] Slot push_row(std::span<const float>, const Candidates& c) const noexcept {
      const auto* ages = reinterpret_cast<const Value*>(positions);
      const Value oldest = kernels::lowest(ages, c);
      return kernels::oldest_with(oldest, ages, c);
    }
  };

  [[nodiscard]] MORPHKV_HOST_DEVICE static double number(Value value) noexcept { return value; }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr ScoreMemory memory() noexcept { return {}; }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr std::uint32_t scoring_queries() noexcept {
    return 0;
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_row(const ScoreView& view, std::uint32_t,
                                    const Function& function) const {
    return function(Row{view.positions});
  }
  MORPHKV_HOST_DEVICE void start(const ScoreView&, Slot, std::uint32_t) const noexcept {}
};

static_assert(Score<Age>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_AGE_HPP
