// SPDX-License-Identifier: Apache-2.0
/// \file
/// No score at all: the oldest goes first.
#ifndef MORPHKV_SCORE_AGE_HPP
#define MORPHKV_SCORE_AGE_HPP

#include <algorithm>
#include <cstddef>
#include <span>

#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// Ranks tokens by position: StreamingLLM's score (arXiv 2309.17453). It needs no attention rows
/// and no memory.
class Age {
 public:
  using Value = Position;

  Slot push(std::span<const float>, const Candidates& candidates) noexcept {
    return least(candidates);
  }
  void skip() noexcept {}
  [[nodiscard]] Slot least(const Candidates& candidates) const noexcept {
    return least_wanted(candidates, [&](Slot slot) { return candidates.positions[slot]; });
  }
  void renew(Slot) noexcept {}
  void pop(std::size_t) noexcept {}
  void clear() noexcept {}
  [[nodiscard]] std::size_t voters() const noexcept { return 0; }
  void values(std::span<const Position> positions, std::span<Value> out) const noexcept {
    std::copy_n(positions.data(), out.size(), out.data());
  }
  [[nodiscard]] Age remapped(std::span<const Slot>, std::size_t) const { return *this; }
  [[nodiscard]] MemoryUsage memory() const noexcept { return {}; }
};

static_assert(Score<Age>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_AGE_HPP
