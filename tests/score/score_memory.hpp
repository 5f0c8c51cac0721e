// SPDX-License-Identifier: Apache-2.0
/// \file
/// The plain memory of a score for a test, and rows pushed to it.
#ifndef MORPHKV_TESTS_SCORE_SCORE_MEMORY_HPP
#define MORPHKV_TESTS_SCORE_SCORE_MEMORY_HPP

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/score/score.hpp"
#include "support/bit_mask.hpp"
#include "support/random.hpp"
#include "support/weights.hpp"

namespace morphkv::testing {

/// Zero at first. The token of slot s is at position 3 s + 1.
class ScoreCells {
 public:
  ScoreCells(ScoreMemory layout, std::size_t slots)
      : layout_(layout), bytes_(layout.bytes(score_stride(slots))), positions_(slots) {
    for (std::size_t s = 0; s < slots; ++s) positions_[s] = static_cast<Position>(3 * s + 1);
  }

  [[nodiscard]] ScoreView view() const {
    return {const_cast<std::byte*>(bytes_.data()), layout_, score_stride(positions_.size()),
            positions_.data()};
  }
  [[nodiscard]] std::vector<Position>& positions() { return positions_; }
  friend bool operator==(const ScoreCells& a, const ScoreCells& b) {
    return std::ranges::equal(a.bytes_.span(), b.bytes_.span());
  }

 private:
  ScoreMemory layout_;
  AlignedBuffer<std::byte> bytes_;
  std::vector<Position> positions_;
};

inline std::vector<float> draw_weights(Weights kind, std::size_t count, Random& random) {
  std::vector<float> weights(count);
  for (float& weight : weights) weight = draw_weight(kind, random);
  return weights;
}

/// Some slots are protected; now and then all.
inline BitMask draw_protection(std::size_t slots, Random& random) {
  BitMask guard(slots);
  const bool all = random.chance(0.05);
  for (std::size_t s = 0; s < slots; ++s) {
    if (all || random.chance(0.4)) guard.set(s);
  }
  return guard;
}

/// A row by the score's own functions per slot, and the lowest score by a plain search.
template <class Row>
Slot push_by_slot(const Row& row, std::span<const float> weights, const Candidates& candidates) {
  for (Slot s = 0; s < weights.size(); ++s) (void)row.push(s, weights[s], row.fetch(s));
  Slot lowest = no_slot;
  for (Slot s = 0; s < candidates.slots; ++s) {
    if (test_bit(candidates.protected_bits, s)) continue;
    if (lowest == no_slot || row.value(s) < row.value(lowest) ||
        (row.value(s) == row.value(lowest) &&
         candidates.positions[s] < candidates.positions[lowest])) {
      lowest = s;
    }
  }
  return lowest;
}

/// A row by the score's vectorised form; no slot is protected.
template <Score S>
Slot push(const S& score, const ScoreView& view, std::uint32_t row,
          const std::vector<float>& weights) {
  const BitMask none(weights.size());
  return score.with_row(view, row, [&](const auto& pushed) {
    return pushed.push_row(weights, {weights.size(), none.data(), view.positions});
  });
}

template <Score S>
typename S::Value value_of(const S& score, const ScoreView& view, std::uint32_t row, Slot slot) {
  typename S::Value value{};
  (void)score.with_row(view, row, [&](const auto& last) {
    value = last.value(slot);
    return no_slot;
  });
  return value;
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SCORE_SCORE_MEMORY_HPP
