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
        return function(of_.block_sum);
      case Kind::last_row:
        return function(of_.last_row);
      case Kind::random:
        return function(of_.random);
      case Kind::recent_window:
        return function(of_.recent_window);
      case Kind::decayed_max:
        return function(of_.decayed_max);
      case Kind::running_sum:
        return function(of_.running_sum);
      default:
        return function(of_.age);
    }
  }

 public:
  using Value = std::uint64_t;

  // NOLINTBEGIN(google-explicit-constructor): any of these is one
  MORPHKV_HOST_DEVICE constexpr AnyScore(const Age& score = {})
      : kind_(Kind::age), of_{.age = score} {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const BlockSum& score)
      : kind_(Kind::block_sum), of_{.block_sum = score} {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const LastRow& score)
      : kind_(Kind::last_row), of_{.last_row = score} {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const RandomScore& score)
      : kind_(Kind::random), of_{.random = score} {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const RecentWindow& score)
      : kind_(Kind::recent_window), of_{.recent_window = score} {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const RecurrentScore<DecayedMaximum>& score)
      : distance(score.distance), kind_(Kind::decayed_max), of_{.decayed_max = score} {}
  MORPHKV_HOST_DEVICE constexpr AnyScore(const RunningSum& score)
      : kind_(Kind::running_sum), of_{.running_sum = score} {}
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
  union Scores {
    Age age;
    BlockSum block_sum;
    LastRow last_row;
    RandomScore random;
    RecentWindow recent_window;
    RecurrentScore<DecayedMaximum> decayed_max;
    RunningSum running_sum;
  };
  Scores of_;
};

static_assert(Score<AnyScore>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_ANY_SCORE_HPP
