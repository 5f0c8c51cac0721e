// SPDX-License-Identifier: Apache-2.0
/// \file
/// The attention of a prompt's last queries, smoothed along the prompt: SnapKV's score
/// (arXiv 2404.14469).
#ifndef MORPHKV_SCORE_POOLED_SUM_HPP
#define MORPHKV_SCORE_POOLED_SUM_HPP

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

#include "morphkv/core/error.hpp"
#include "morphkv/core/row_matrix.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// s = sum of the last `rows` rows; score[j] = pool of s[j - kernel / 2 ... j + kernel / 2], within
/// the columns that are asked for. Sums are in double.
///
/// It judges one prompt and holds nothing afterwards. Thread safety: none; one object a head.
class PooledSum {
 public:
  using Value = double;

  struct Options {
    std::size_t columns = 0;
    std::size_t rows = 32;  ///< W: the queries that vote
    std::size_t kernel = 5;
    Pooling pooling = Pooling::average;
  };

  /// \throws std::invalid_argument if rows is 0 or kernel is even.
  explicit PooledSum(const Options& options) : options_(options), sums_(1, options.columns) {
    require(options.rows > 0, "window", options.rows, "at least 1");
    require(options.kernel % 2 == 1, "kernel", options.kernel, "odd");
  }

  Slot push(std::span<const float> row, const Candidates& candidates) noexcept {
    MORPHKV_ASSERT(row.size() <= options_.columns);
    for (std::size_t s = 0; s < row.size(); ++s) sums_.row(0)[s] += static_cast<double>(row[s]);
    return least(candidates);
  }
  void skip() noexcept {}
  [[nodiscard]] Slot least(const Candidates& candidates) const noexcept {
    return least_wanted(candidates, [&](Slot slot) { return sums_.row(0)[slot]; });
  }
  void renew(Slot slot) noexcept { sums_.row(0)[slot] = 0; }
  void pop(std::size_t) noexcept {}
  void clear() noexcept { sums_.clear(); }
  [[nodiscard]] std::size_t voters() const noexcept { return options_.rows; }

  /// Neighbours are neighbours by position. It allocates.
  void values(std::span<const Position> positions, std::span<Value> out) const {
    std::vector<Slot> columns(out.size());
    std::iota(columns.begin(), columns.end(), Slot{0});
    std::sort(columns.begin(), columns.end(),
              [&](Slot a, Slot b) { return positions[a] < positions[b]; });
    std::vector<double> sums(out.size());
    for (std::size_t j = 0; j < out.size(); ++j) sums[j] = sums_.row(0)[columns[j]];
    for (std::size_t j = 0; j < out.size(); ++j) out[columns[j]] = pool(sums, j);
  }

  [[nodiscard]] PooledSum remapped(std::span<const Slot> sources, std::size_t columns) const {
    PooledSum result(Options{columns, options_.rows, options_.kernel, options_.pooling});
    result.sums_ = sums_.remapped(sources, columns);
    return result;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept { return {.scores = sums_.bytes()}; }

 private:
  [[nodiscard]] double pool(const std::vector<double>& sums, std::size_t centre) const noexcept {
    const std::size_t reach = options_.kernel / 2;
    const auto at = [&](std::size_t j) { return sums.begin() + static_cast<std::ptrdiff_t>(j); };
    const auto begin = at(centre < reach ? 0 : centre - reach);
    const auto end = at(std::min(sums.size(), centre + reach + 1));
    if (options_.pooling == Pooling::max) return *std::max_element(begin, end);
    return std::accumulate(begin, end, 0.0) / static_cast<double>(options_.kernel);
  }

  Options options_;
  RowMatrix<double> sums_;
};

static_assert(Score<PooledSum>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_POOLED_SUM_HPP
