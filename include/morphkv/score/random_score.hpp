// SPDX-License-Identifier: Apache-2.0
/// \file
/// A score drawn at random: the control that any other must beat.
#ifndef MORPHKV_SCORE_RANDOM_SCORE_HPP
#define MORPHKV_SCORE_RANDOM_SCORE_HPP

#include <cstdint>
#include <span>

#include "morphkv/kernels/scores.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// At every row each token draws a new number, so that the victim is uniform among the candidates.
/// A draw is a hash of seed, row number and position: the same on every machine, in whatever order
/// the slots are. No memory.
struct RandomScore {
  using Value = std::uint32_t;

  std::uint64_t seed = 0;

  struct Row {
    using Value = RandomScore::Value;
    struct Fetched {};
    const Position* positions;
    std::uint32_t key;

    [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot) const noexcept { return {}; }
    [[nodiscard]] MORPHKV_HOST_DEVICE Value push(Slot slot, float, Fetched) const noexcept {
      return value(slot);
    }
    [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept {
      return kernels::random_draw(positions[slot], key);
    }

    Slot push_row(std::span<const float>, const Candidates& c) const noexcept {
      const kernels::Draws draws{positions, key};
      return kernels::oldest_with(kernels::lowest(draws, c), draws, c);
    }
  };

  [[nodiscard]] MORPHKV_HOST_DEVICE static double number(Value value) noexcept { return value; }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr ScoreMemory memory() noexcept { return {}; }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr std::uint32_t scoring_queries() noexcept {
    return 0;
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_row(const ScoreView& view, std::uint32_t rows,
                                    const Function& function) const {
    const auto low = static_cast<std::uint32_t>(seed);
    const auto high = static_cast<std::uint32_t>(seed >> 32U);
    using kernels::random_mix;
    return function(Row{view.positions, random_mix(random_mix(random_mix(low) ^ high) ^ rows)});
  }
  MORPHKV_HOST_DEVICE void start(const ScoreView&, Slot, std::uint32_t) const noexcept {}
};

static_assert(Score<RandomScore>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_RANDOM_SCORE_HPP
