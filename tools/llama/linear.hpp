// SPDX-License-Identifier: Apache-2.0
/// \file
/// Projections of activations.
#ifndef MORPHKV_TOOLS_LLAMA_LINEAR_HPP
#define MORPHKV_TOOLS_LLAMA_LINEAR_HPP

#include <cstddef>
#include <vector>

#include "llama/model.hpp"
#include "llama/multiply.hpp"
#include "support/workers.hpp"

namespace morphkv::llama {

/// \param out is resized to [tokens, outputs]
inline void project(const Matrix& x, const Linear& linear, Matrix& out, support::Workers& workers) {
  multiply(x, linear.weights, out, workers);
  if (linear.bias.size() > 0) out.rowwise() += linear.bias;
}

/// Projects the beginning of each head of `x` to the beginning of the same head of `out`, each by a
/// matrix of its own. Heads divide the columns of both.
class HeadProjection {
 public:
  void operator()(const Matrix& x, const std::vector<Weights>& heads, Matrix& out,
                  support::Workers& workers) {
    const auto count = static_cast<Eigen::Index>(heads.size());
    for (Eigen::Index head = 0; head < count; ++head) {
      const Weights& weights = heads[static_cast<std::size_t>(head)];
      from_ = x.middleCols(head * (x.cols() / count), static_cast<Eigen::Index>(weights.columns()));
      multiply(from_, weights, to_, workers);
      out.middleCols(head * (out.cols() / count), to_.cols()) = to_;
    }
  }

 private:
  Matrix from_;
  Matrix to_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_LINEAR_HPP
