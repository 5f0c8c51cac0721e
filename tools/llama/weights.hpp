// SPDX-License-Identifier: Apache-2.0
/// \file
/// A matrix of weights in the type of its file.
#ifndef MORPHKV_TOOLS_LLAMA_WEIGHTS_HPP
#define MORPHKV_TOOLS_LLAMA_WEIGHTS_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "support/safetensors.hpp"

namespace morphkv::llama {

using support::TensorType;

/// Activations are [tokens, size].
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowVector = Eigen::RowVectorXf;

/// [outputs, inputs], row-major: a view whose memory is shared by all copies. 16-bit weights stay
/// 16-bit; multiply() converts them in registers.
class Weights {
 public:
  Weights() = default;
  /// \param owner keeps `data` alive
  Weights(TensorType type, std::size_t rows, std::size_t columns, const std::byte* data,
          std::shared_ptr<const void> owner)
      : type_(type), rows_(rows), columns_(columns), data_(data), owner_(std::move(owner)) {}
  /// A copy, in float32.
  Weights(const Matrix& matrix)  // NOLINT: wherever weights are expected
      : rows_(static_cast<std::size_t>(matrix.rows())),
        columns_(static_cast<std::size_t>(matrix.cols())) {
    const auto copy = std::make_shared<const Matrix>(matrix);
    data_ = reinterpret_cast<const std::byte*>(copy->data());
    owner_ = copy;
  }

  [[nodiscard]] TensorType type() const noexcept { return type_; }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t columns() const noexcept { return columns_; }
  [[nodiscard]] std::size_t size() const noexcept { return rows_ * columns_; }
  [[nodiscard]] const std::byte* row(std::size_t index) const noexcept {
    return data_ + index * columns_ * support::element_bytes(type_);
  }

  [[nodiscard]] Weights middle_rows(std::size_t begin, std::size_t count) const {
    return {type_, count, columns_, row(begin), owner_};
  }

  /// A copy whose rows are the columns begin, begin + step, ... of this.
  [[nodiscard]] Weights transposed(std::size_t begin = 0, std::size_t step = 1) const {
    const std::size_t count = (columns_ - begin + step - 1) / step;
    const std::size_t bytes = support::element_bytes(type_);
    const auto copy = std::make_shared<std::vector<std::byte>>(rows_ * count * bytes);
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t i = 0; i < count; ++i) {
        std::memcpy(copy->data() + (i * rows_ + r) * bytes, row(r) + (begin + i * step) * bytes,
                    bytes);
      }
    }
    return {type_, count, rows_, copy->data(), copy};
  }

  /// A row as float32, to out[columns()].
  void read_row(std::size_t index, float* out) const {
    support::to_float(type_, row(index), columns_, out);
  }
  [[nodiscard]] Matrix to_matrix() const {
    Matrix matrix(static_cast<Eigen::Index>(rows_), static_cast<Eigen::Index>(columns_));
    for (std::size_t r = 0; r < rows_; ++r) read_row(r, matrix.data() + r * columns_);
    return matrix;
  }

 private:
  TensorType type_ = TensorType::f32;
  std::size_t rows_ = 0;
  std::size_t columns_ = 0;
  const std::byte* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_WEIGHTS_HPP
