// SPDX-License-Identifier: Apache-2.0
/// \file
/// All the attention that a token has ever received: H2O's score (arXiv 2306.14048).
#ifndef MORPHKV_SCORE_RUNNING_SUM_HPP
#define MORPHKV_SCORE_RUNNING_SUM_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "morphkv/core/row_matrix.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/search.hpp"
#include "morphkv/kernels/window_update.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// The sum of every row since a token came, in 64-bit integers of 2^-40: no increment is lost to a
/// large sum, whatever the length of the text (2^24 tokens of weight 1 fit), the order of the rows
/// does not matter, and they can be taken back exactly. Normalised, the sum is divided by the
/// number of queries that attended the token.
///
/// Memory: 8 bytes a slot, 12 normalised; with `history` = D, 4 D more.
/// Thread safety: none; one object a head.
class RunningSum {
 public:
  using Value = double;

  struct Options {
    std::size_t columns = 0;
    bool normalised = false;
    std::size_t history = 0;  ///< how many tokens pop() can take back
  };

  explicit RunningSum(const Options& options)
      : options_(options),
        sums_(1, options.columns),
        births_(options.normalised ? 1 : 0, options.columns),
        rows_(options.history, options.columns),
        renewals_(options.history) {}

  Slot push(std::span<const float> row, const Candidates& candidates) noexcept {
    MORPHKV_ASSERT(row.size() <= options_.columns && candidates.slots <= row.size());
    const std::uint64_t lowest =
        kernels::add_row(row.data(), row.size(), candidates.protected_bits, sums_.row(0));
    if (options_.history > 0) {
      float* copy = rows_.row(journal_index());
      std::fill(std::copy(row.begin(), row.end(), copy), copy + rows_.stride(), 0.0F);
    }
    ++step_;
    if (options_.normalised) return least(candidates);
    return kernels::oldest_with(lowest, sums_.row(0), candidates.slots, candidates.protected_bits,
                                candidates.positions);
  }

  void skip() noexcept {
    if (options_.history > 0) std::fill_n(rows_.row(journal_index()), rows_.stride(), 0.0F);
    ++step_;
  }

  [[nodiscard]] Slot least(const Candidates& candidates) const noexcept {
    if (options_.normalised)
      return least_wanted(candidates, [&](Slot slot) { return value(slot); });
    return least_wanted(candidates, [&](Slot slot) { return sums_.row(0)[slot]; });
  }

  void renew(Slot slot) noexcept {
    std::uint64_t& sum = sums_.row(0)[slot];
    if (options_.history > 0) renewals_[journal_index()] = {sum, birth(slot), slot};
    sum = 0;
    if (options_.normalised) births_.row(0)[slot] = step_;
  }

  void pop(std::size_t count) noexcept {
    MORPHKV_ASSERT(count <= options_.history);
    for (; count > 0; --count) {
      --step_;
      const float* row = rows_.row(journal_index());
      for (std::size_t s = 0; s < options_.columns; ++s) sums_.row(0)[s] -= fine_units(row[s]);
      const Renewal& renewal = renewals_[journal_index()];
      sums_.row(0)[renewal.slot] = renewal.sum;
      if (options_.normalised) births_.row(0)[renewal.slot] = renewal.birth;
    }
  }

  void clear() noexcept {
    sums_.clear();
    births_.clear();
    step_ = 0;
  }

  [[nodiscard]] std::size_t voters() const noexcept {
    return std::numeric_limits<std::size_t>::max();
  }

  [[nodiscard]] Value value(Slot slot) const noexcept {
    const auto sum = static_cast<double>(sums_.row(0)[slot]);
    return options_.normalised ? sum / std::max<std::uint32_t>(step_ - birth(slot), 1) : sum;
  }

  void values(std::span<const Position>, std::span<Value> out) const noexcept {
    for (Slot slot = 0; slot < out.size(); ++slot) out[slot] = value(slot);
  }

  [[nodiscard]] RunningSum remapped(std::span<const Slot> sources, std::size_t columns) const {
    RunningSum result(Options{columns, options_.normalised, options_.history});
    result.sums_ = sums_.remapped(sources, columns);
    result.births_ = births_.remapped(sources, columns);
    result.step_ = step_;
    return result;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.scores = sums_.bytes() + births_.bytes(),
            .history = rows_.bytes() + renewals_.bytes()};
  }

 private:
  struct Renewal {
    std::uint64_t sum = 0;
    std::uint32_t birth = 0;
    Slot slot = 0;
  };

  [[nodiscard]] std::uint32_t birth(Slot slot) const noexcept {
    return options_.normalised ? births_.row(0)[slot] : 0;
  }
  [[nodiscard]] std::size_t journal_index() const noexcept { return step_ % options_.history; }

  Options options_;
  std::uint32_t step_ = 0;           ///< rows pushed
  RowMatrix<std::uint64_t> sums_;    ///< in units of 2^-40
  RowMatrix<std::uint32_t> births_;  ///< normalised: the step at which the token came
  RowMatrix<float> rows_;            ///< history: the newest rows
  AlignedBuffer<Renewal> renewals_;  ///< history: what their tokens replaced
};

static_assert(Score<RunningSum>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_RUNNING_SUM_HPP
