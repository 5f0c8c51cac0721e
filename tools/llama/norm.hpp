// SPDX-License-Identifier: Apache-2.0
/// \file
/// RMSNorm (arXiv 1910.07467).
#ifndef MORPHKV_TOOLS_LLAMA_NORM_HPP
#define MORPHKV_TOOLS_LLAMA_NORM_HPP

#include <cmath>

#include "llama/weights.hpp"

namespace morphkv::llama {

/// What a vector is multiplied by, besides the weight.
template <class Vector>
[[nodiscard]] float norm_scale(const Vector& x, float epsilon) {
  return 1 / std::sqrt(x.squaredNorm() / static_cast<float>(x.size()) + epsilon);
}

/// Each row of `rows`, to `out`.
template <class Rows>
void normalise(const Rows& rows, const RowVector& weight, float epsilon, Matrix& out) {
  out.resize(rows.rows(), rows.cols());
  for (Eigen::Index t = 0; t < rows.rows(); ++t) {
    out.row(t) = (rows.row(t) * norm_scale(rows.row(t), epsilon)).cwiseProduct(weight);
  }
}

/// The first elements of each head of each row, as many as the weight has, in place.
/// \param weight empty: nothing is done
inline void normalise_heads(Matrix& rows, Eigen::Index head_dim, const RowVector& weight,
                            float epsilon) {
  if (weight.size() == 0) return;
  for (Eigen::Index t = 0; t < rows.rows(); ++t) {
    for (Eigen::Index begin = 0; begin < rows.cols(); begin += head_dim) {
      auto part = rows.row(t).segment(begin, weight.size());
      part = (part * norm_scale(part, epsilon)).cwiseProduct(weight).eval();
    }
  }
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_NORM_HPP
