// SPDX-License-Identifier: Apache-2.0
/// \file
/// The sum of the rows of a block's last queries: SnapKV's score before pooling (arXiv 2404.14469,
/// section 4).
#ifndef MORPHKV_SCORE_BLOCK_SUM_HPP
#define MORPHKV_SCORE_BLOCK_SUM_HPP

#include <cstdint>
#include <span>

#include "morphkv/kernels/scores.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Sums in double. Only blocks count: tokens that come alone have 0, and their rows change nothing.
/// Memory: 8 bytes per slot.
struct BlockSum {
  using Value = std::uint64_t;  ///< double_key

  std::uint32_t queries = 32;  ///< W

  /// A row of a token that came alone.
  struct Row {
    using Value = BlockSum::Value;
    Value* sums;

    [[nodiscard]] MORPHKV_HOST_DEVICE Value fetch(Slot slot) const noexcept { return sums[slot]; }
    MORPHKV_HOST_DEVICE Value push(Slot, float, Value before) const noexcept { return before; }
    [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept { return sums[slot]; }
    Slot push_row(std::span<const float>, const Candidates& c) const noexcept {
      const Value lowest = kernels::lowest(sums, c);
      return kernels::oldest_with(lowest, sums, c);
    }
  };
  /// A row of a block's query.
  struct BlockRow : Row {
    MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, Value before) const noexcept {
      return sums[slot] = double_key(from_double_key(before) + static_cast<double>(weight));
    }
    void push_row() const = delete;
  };

  [[nodiscard]] MORPHKV_HOST_DEVICE static double number(Value value) noexcept {
    return from_double_key(value);
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE static constexpr ScoreMemory memory() noexcept {
    return {.rows64 = 1};
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t scoring_queries() const noexcept {
    return queries;
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_row(const ScoreView& view, std::uint32_t,
                                    const Function& function) const {
    return function(Row{view.row64(0)});
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_block_row(const ScoreView& view, std::uint32_t,
                                          const Function& function) const {
    return function(BlockRow{{view.row64(0)}});
  }
  MORPHKV_HOST_DEVICE void start(const ScoreView& view, Slot slot, std::uint32_t) const noexcept {
    view.row64(0)[slot] = 0;
  }
};

static_assert(Score<BlockSum>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_BLOCK_SUM_HPP
