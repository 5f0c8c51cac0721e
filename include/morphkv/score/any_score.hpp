// SPDX-License-Identifier: Apache-2.0
/// \file
/// One of the library's scores, chosen at run time: so that a device kernel is compiled once for
/// all of them.
#ifndef MORPHKV_SCORE_ANY_SCORE_HPP
#define MORPHKV_SCORE_ANY_SCORE_HPP

#include <cstdint>
#include <type_traits>

#include "morphkv/score/age.hpp"
#include "morphkv/score/block_sum.hpp"
#include "morphkv/score/last_row.hpp"
#include "morphkv/score/random_score.hpp"
#include "morphkv/score/recent_window.hpp"
#include "morphkv/score/recurrent_score.hpp"
#include "morphkv/score/running_sum.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// The score that it was made from. A branch per row, the same in all threads.
class AnyScore {
  enum class Kind : std::uint8_t {
    age,
    block_sum,
    last_row,
    random,
    recent_window,
    decayed_max,
    running_sum
  };

  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto visit(const Function& function) const {
    switch (kind_) {
      case Kind::block_sum:
        return function(block_sum_);
      case Kind::last_row:
        return function(last_row_);
      case Kind::random:
        return function(random_);
      case Kind::recent_window:
        return function(recent_window_);
      case Kind::decayed_max:
        return function(decayed_max_);
      case Kind::running_sum:
        return function(running_sum_);
      default:
        return function(age_);
    }
  }

 public:
  using Value = std::uint64_t;

  // NOLINTBEGIN(google-explicit-constructor): any of these is one
  MORPHKV_HOST_DEVICE constexpr AnyScore(const Age& score = {}) : kind_(Kind::age), age_(score) {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const BlockSum& score)
      : kind_(Kind::block_sum), block_sum_(score) {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const LastRow& score)
      : kind_(Kind::last_row), last_row_(score) {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const RandomScore& score)
      : kind_(Kind::random), random_(score) {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const RecentWindow& score)
      : kind_(Kind::recent_window), recent_window_(score) {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const RecurrentScore<DecayedMaximum>& score)
      : distance(score.distance), kind_(Kind::decayed_max), decayed_max_(score) {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const RunningSum& score)
      : kind_(Kind::running_sum), running_sum_(score) {}
  // NOLINTEND(google-explicit-constructor)

  std::uint32_t distance = 0;  ///< see distance_of

  [[nodiscard]] MORPHKV_HOST_DEVICE double number(Value value) const {
    return visit([&](const auto& score) {
      using V = typename std::remove_cvref_t<decltype(score)>::Value;
      return static_cast<double>(score.number(static_cast<V>(value)));
    });
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE ScoreMemory memory() const {
    return visit([](const auto& score) { return score.memory(); });
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE std::uint32_t scoring_queries() const {
    return visit([](const auto& score) { return score.scoring_queries(); });
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_row(const ScoreView& view, std::uint32_t rows,
                                    const Function& function) const {
    return visit([&](const auto& score) { return score.with_row(view, rows, function); });
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_block_row(const ScoreView& view, std::uint32_t rows,
                                          const Function& function) const {
    return visit(
        [&](const auto& score) { return morphkv::with_block_row(score, view, rows, function); });
  }
  MORPHKV_HOST_DEVICE void start(const ScoreView& view, Slot slot, std::uint32_t rows) const {
    visit([&](const auto& score) { score.start(view, slot, rows); });
  }

 private:
  Kind kind_;
  union {
    Age age_;
    BlockSum block_sum_;
    LastRow last_row_;
    RandomScore random_;
    RecentWindow recent_window_;
    RecurrentScore<DecayedMaximum> decayed_max_;
    RunningSum running_sum_;
  };
};

static_assert(Score<AnyScore>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_ANY_SCORE_HPP
