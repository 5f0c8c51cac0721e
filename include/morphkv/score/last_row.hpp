// SPDX-License-Identifier: Apache-2.0
/// \file
/// The attention of the newest token alone: TOVA's score (arXiv 2401.06104).
#ifndef MORPHKV_SCORE_LAST_ROW_HPP
#define MORPHKV_SCORE_LAST_ROW_HPP

#include <algorithm>
#include <cstddef>
#include <span>

#include "morphkv/core/row_matrix.hpp"
#include "morphkv/kernels/search.hpp"
#include "morphkv/kernels/window_update.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// The newest row, and before it the `history` rows that pop() can bring back.
///
/// Memory: 4 bytes a slot; with `history` = D, 4 D more. Thread safety: none; one object a head.
class LastRow {
 public:
  using Value = float;

  struct Options {
    std::size_t columns = 0;
    std::size_t history = 0;  ///< how many tokens pop() can take back
  };

  explicit LastRow(const Options& options)
      : options_(options), rows_(options.history + 1, options.columns) {}

  Slot push(std::span<const float> row, const Candidates& candidates) noexcept {
    MORPHKV_ASSERT(row.size() <= options_.columns && candidates.slots <= row.size());
    ++step_;
    const float lowest =
        kernels::replace_row(row.data(), row.size(), candidates.protected_bits, newest());
    std::fill(newest() + row.size(), newest() + rows_.stride(), 0.0F);
    return kernels::oldest_with<Value>(lowest, newest(), candidates.slots,
                                       candidates.protected_bits, candidates.positions);
  }

  void skip() noexcept {
    ++step_;
    std::fill_n(newest(), rows_.stride(), 0.0F);
  }

  [[nodiscard]] Slot least(const Candidates& candidates) const noexcept {
    return least_wanted(candidates, [&](Slot slot) { return newest()[slot]; });
  }

  /// Nothing to do: the new token's own row comes before the next search.
  void renew(Slot) noexcept {}

  void pop(std::size_t count) noexcept {
    MORPHKV_ASSERT(count <= options_.history);
    step_ -= count;
  }

  void clear() noexcept {
    rows_.clear();
    step_ = 0;
  }

  [[nodiscard]] std::size_t voters() const noexcept { return 1; }

  void values(std::span<const Position>, std::span<Value> out) const noexcept {
    std::copy_n(newest(), out.size(), out.data());
  }

  [[nodiscard]] LastRow remapped(std::span<const Slot> sources, std::size_t columns) const {
    LastRow result(Options{columns, options_.history});
    result.rows_ = rows_.remapped(sources, columns);
    result.step_ = step_;
    return result;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    const std::size_t row_bytes = rows_.bytes() / rows_.rows();
    return {.scores = row_bytes, .history = rows_.bytes() - row_bytes};
  }

 private:
  [[nodiscard]] float* newest() noexcept { return rows_.row(step_ % rows_.rows()); }
  [[nodiscard]] const float* newest() const noexcept { return rows_.row(step_ % rows_.rows()); }

  Options options_;
  std::size_t step_ = 0;
  RowMatrix<float> rows_;
};

static_assert(Score<LastRow>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_LAST_ROW_HPP
