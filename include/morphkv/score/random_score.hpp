// SPDX-License-Identifier: Apache-2.0
/// \file
/// A score drawn at random: the control that any other must beat.
#ifndef MORPHKV_SCORE_RANDOM_SCORE_HPP
#define MORPHKV_SCORE_RANDOM_SCORE_HPP

#include <cstddef>
#include <cstdint>
#include <span>

#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// At every step each token draws a new number, so that the victim is uniform among the candidates.
/// A draw is a hash (SplitMix64, Steele et al. 2014) of seed, step and position: the same on every
/// machine, whatever the order of slots, and a rollback repeats it.
class RandomScore {
 public:
  using Value = std::uint64_t;

  explicit RandomScore(std::uint64_t seed) : seed_(seed) {}

  Slot push(std::span<const float>, const Candidates& candidates) noexcept {
    skip();
    return least(candidates);
  }
  void skip() noexcept { ++step_; }
  [[nodiscard]] Slot least(const Candidates& candidates) const noexcept {
    return least_wanted(candidates, [&](Slot slot) { return draw(candidates.positions[slot]); });
  }
  void renew(Slot) noexcept {}
  void pop(std::size_t count) noexcept { step_ -= count; }
  void clear() noexcept { step_ = 0; }
  [[nodiscard]] std::size_t voters() const noexcept { return 0; }
  void values(std::span<const Position> positions, std::span<Value> out) const noexcept {
    for (std::size_t c = 0; c < out.size(); ++c) out[c] = draw(positions[c]);
  }
  [[nodiscard]] RandomScore remapped(std::span<const Slot>, std::size_t) const { return *this; }
  [[nodiscard]] MemoryUsage memory() const noexcept { return {}; }

 private:
  [[nodiscard]] static constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31U);
  }
  [[nodiscard]] std::uint64_t draw(Position position) const noexcept {
    return mix(mix(mix(seed_) ^ step_) ^ static_cast<std::uint64_t>(position));
  }

  std::uint64_t seed_;
  std::uint64_t step_ = 0;
};

static_assert(Score<RandomScore>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_RANDOM_SCORE_HPP
