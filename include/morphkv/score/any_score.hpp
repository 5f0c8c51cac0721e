// SPDX-License-Identifier: Apache-2.0
/// \file
/// One of the library's scores, chosen at run time: so that a device kernel is compiled once for
/// all of them.
#ifndef MORPHKV_SCORE_ANY_SCORE_HPP
#define MORPHKV_SCORE_ANY_SCORE_HPP

#include <concepts>
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

namespace morphkv { inline namespace MORPHKV_ABI {

namespace detail {

/// Memory of one of some scores.
template <class...>
union ScoreMember {};
template <class First, class... Rest>
union ScoreMember<First, Rest...> {
  First first;
  ScoreMember<Rest...> rest;

  MORPHKV_HOST_DEVICE constexpr explicit ScoreMember(const First& score) : first(score) {}
  template <class S>
  MORPHKV_HOST_DEVICE constexpr explicit ScoreMember(const S& score) : rest(score) {}

  /// Calls function(score) with the score number `kind` of these.
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto visit(std::uint32_t kind, const Function& function) const {
    if constexpr (sizeof...(Rest) > 0) {
      if (kind > 0) return rest.visit(kind - 1, function);
    }
    return function(first);
  }
};

}  // namespace detail

/// The score that it was made from. A branch per row, the same in all threads.
template <class... Scores>
class OneScoreOf {
 public:
  using Value = std::uint64_t;

  MORPHKV_HOST_DEVICE constexpr OneScoreOf() : OneScoreOf(Age{}) {}
  // NOLINTNEXTLINE(google-explicit-constructor): any of these is one
  template <class S>
  MORPHKV_HOST_DEVICE constexpr OneScoreOf(const S& score) requires(std::same_as<S, Scores> || ...)
      : distance(distance_of(score)), of_(score) {
    (void)((std::same_as<S, Scores> || (++kind_, false)) || ...);
  }

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
  /// Calls function(score) with the score that this one was made from.
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_score(const Function& function) const {
    return visit(function);
  }
  MORPHKV_HOST_DEVICE void start(const ScoreView& view, Slot slot, std::uint32_t rows) const {
    visit([&](const auto& score) { score.start(view, slot, rows); });
  }

 private:
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto visit(const Function& function) const {
    return of_.visit(kind_, function);
  }

  std::uint32_t kind_ = 0;
  detail::ScoreMember<Scores...> of_;
};

using AnyScore = OneScoreOf<Age, BlockSum, LastRow, RandomScore, RecentWindow,
                            RecurrentScore<DecayedMaximum>, RunningSum>;
static_assert(Score<AnyScore>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_ANY_SCORE_HPP
