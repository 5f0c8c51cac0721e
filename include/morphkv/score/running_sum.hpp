// SPDX-License-Identifier: Apache-2.0
/// \file
/// All the attention that a token has ever received: H2O's score (arXiv 2306.14048).
#ifndef MORPHKV_SCORE_RUNNING_SUM_HPP
#define MORPHKV_SCORE_RUNNING_SUM_HPP

#include <cstddef>
#include <cstdint>
#include <span>

#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/prefetch_hint.hpp"
#include "morphkv/kernels/scores.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The sum of every row since a token came, in 64-bit integers of 2^-40: a large sum loses no
/// increment, and the order of the rows does not matter. Sums stop at max_units, which 2^22 rows of
/// weight 1 reach; tokens that are there compare as equal, and the oldest of them is evicted first.
/// Normalised, the sum is divided by the number of rows since the token came.
///
/// Memory: 8 bytes per slot, 12 normalised.
struct RunningSum {
  using Value = std::uint64_t;

  bool normalised = false;

  struct Row {
    using Value = RunningSum::Value;
    Value* sums;
    const std::uint32_t* births;  ///< null: not normalised
    std::uint32_t rows;           ///< this one among them

    [[nodiscard]] MORPHKV_HOST_DEVICE Value fetch(Slot slot) const noexcept { return sums[slot]; }
    MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, Value before) const noexcept {
      const Value sum = before + fine_units(weight);
      sums[slot] = sum < max_units ? sum : max_units;
      return value(slot);
    }
    [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept {
      if (births == nullptr) return sums[slot];
      const std::uint32_t queries = rows - births[slot];
      const double mean = static_cast<double>(sums[slot]) / (queries == 0 ? 1 : queries);
      return double_key(mean);
    }
    /// What a row reads and writes.
    [[nodiscard]] kernels::PrefetchHints prefetch_hints(std::size_t slots) const noexcept {
      return {{{sums, slots * sizeof *sums}}};
    }
    Slot push_row(std::span<const float> row, const Candidates& c) const noexcept {
      const Value lowest = kernels::add_row(row, c.protected_bits, sums);
      if (births != nullptr) {
        const kernels::Means means{sums, births, rows};
        return kernels::oldest_with(kernels::lowest(means, c), means, c);
      }
      return kernels::oldest_with(lowest, sums, c);
    }
  };

  [[nodiscard]] MORPHKV_HOST_DEVICE double number(Value value) const noexcept {
    return normalised ? from_double_key(value) : static_cast<double>(value);
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr ScoreMemory memory() const noexcept {
    return {.rows64 = 1, .rows32 = normalised ? 1U : 0U};
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr std::uint32_t scoring_queries() noexcept {
    return ~std::uint32_t{0};
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_row(const ScoreView& view, std::uint32_t rows,
                                    const Function& function) const {
    return function(Row{view.row64(0), normalised ? view.row32(0) : nullptr, rows + 1});
  }
  MORPHKV_HOST_DEVICE void start(const ScoreView& view, Slot slot,
                                 std::uint32_t rows) const noexcept {
    view.row64(0)[slot] = 0;
    if (normalised) view.row32(0)[slot] = rows;
  }
};

static_assert(Score<RunningSum>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_RUNNING_SUM_HPP
