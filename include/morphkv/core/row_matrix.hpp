// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rows of one number per slot, each beginning on a cache line.
#ifndef MORPHKV_CORE_ROW_MATRIX_HPP
#define MORPHKV_CORE_ROW_MATRIX_HPP

#include <algorithm>
#include <cstddef>

#include "morphkv/core/aligned_buffer.hpp"

namespace morphkv { inline namespace v0 {

/// A fixed matrix, zero at first, of `rows` rows of `columns` numbers.
template <class T>
class RowMatrix {
 public:
  RowMatrix() = default;
  RowMatrix(std::size_t rows, std::size_t columns)
      : rows_(rows), stride_(aligned_stride<T>(columns)), cells_(rows * stride_) {}

  [[nodiscard]] T* row(std::size_t index) noexcept { return cells_.data() + index * stride_; }
  [[nodiscard]] const T* row(std::size_t index) const noexcept {
    return cells_.data() + index * stride_;
  }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  /// Elements between two rows: the columns, rounded up to whole cache lines.
  [[nodiscard]] std::size_t stride() const noexcept { return stride_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return cells_.bytes(); }
  void clear() noexcept { std::fill_n(cells_.data(), cells_.size(), T{}); }

 private:
  std::size_t rows_ = 0;
  std::size_t stride_ = 0;
  AlignedBuffer<T> cells_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_ROW_MATRIX_HPP
