// SPDX-License-Identifier: Apache-2.0
/// \file
/// A window of rows by brute force: all rows that were ever pushed, and the definition.
#ifndef MORPHKV_TESTS_ORACLE_WINDOW_ORACLE_HPP
#define MORPHKV_TESTS_ORACLE_WINDOW_ORACLE_HPP

#include <algorithm>
#include <cstddef>
#include <vector>

#include "oracle/half_rounding.hpp"
#include "oracle/scorings.hpp"

namespace morphkv::oracle {

/// The last `rows` rows, in `panes` panes of rows / panes each. A pane is begun when the one before
/// is complete; the window is the pane being filled and the panes - 1 before it.
class WindowOracle {
 public:
  WindowOracle(std::size_t rows, std::size_t panes, Combine combine)
      : rows_per_pane_(rows / panes), panes_(panes), combine_(combine) {}

  void push(std::vector<double> row) {
    for (double& weight : row) weight = round_to_half(weight);
    rows_.push_back(std::move(row));
  }

  [[nodiscard]] double value(std::size_t column) const {
    if (rows_.empty()) return 0;
    const std::size_t newest = (rows_.size() - 1) / rows_per_pane_;
    double result = 0;
    for (std::size_t pane = newest - std::min(newest, panes_ - 1); pane <= newest; ++pane) {
      const double part = pane_value(pane, column);
      result = combine_ == Combine::sum ? result + part : std::max(result, part);
    }
    return result;
  }

 private:
  [[nodiscard]] double pane_value(std::size_t pane, std::size_t column) const {
    const std::size_t begin = pane * rows_per_pane_;
    const std::size_t end = std::min(begin + rows_per_pane_, rows_.size());
    double result = 0;
    for (std::size_t row = begin; row < end; ++row) {
      const double a = column < rows_[row].size() ? rows_[row][column] : 0.0;
      result = combine_ == Combine::sum ? result + a : std::max(result, a);
    }
    return result;
  }

  std::size_t rows_per_pane_;
  std::size_t panes_;
  Combine combine_;
  std::vector<std::vector<double>> rows_;
};

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_WINDOW_ORACLE_HPP
