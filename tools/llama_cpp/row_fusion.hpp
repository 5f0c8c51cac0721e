// SPDX-License-Identifier: Apache-2.0
/// \file
/// Fuses the attention of the query heads of a unit into one row.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_ROW_FUSION_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_ROW_FUSION_HPP

#include <algorithm>
#include <cstddef>
#include <vector>

#include "morphkv/core/types.hpp"
#include "morphkv/kernels/portable/attention.hpp"

namespace morphkv::llama_cpp {

/// A layer's attention of the tokens of a batch: [query_heads][tokens][columns], one weight per
/// cell after softmax.
struct AttentionWeights {
  const float* data = nullptr;
  std::size_t tokens = 0;
  std::size_t columns = 0;
};

/// The fused rows of a layer's units, or of all layers so far where they are one unit.
///
/// A mean over layers is the mean of their means: all layers have the same number of query heads.
/// Thread safety: none. It allocates when a block is larger than any before it.
class RowFusion {
 public:
  /// \param query_heads of a layer
  /// \param units       that these are divided between, in order
  /// \param layers      that share a unit
  RowFusion(std::size_t query_heads, std::size_t units, std::size_t layers, GroupFusion fusion)
      : group_(query_heads / units), units_(units), layers_(layers), fusion_(fusion) {}

  /// Adds a layer.
  /// \param weights [query_heads][tokens][columns]: after softmax
  /// \return whether the rows are complete; the next layer begins new ones
  bool add(const float* weights, std::size_t tokens, std::size_t columns) {
    return add({.data = weights, .tokens = tokens, .columns = columns}, 0, tokens);
  }

  /// The same of a part of the tokens: `tokens` from `begin` on.
  bool add(const AttentionWeights& weights, std::size_t begin, std::size_t tokens) {
    const std::size_t columns = weights.columns;
    const std::size_t head_size = weights.tokens * columns;
    const std::size_t rows = units_ * tokens;
    rows_.resize(rows * columns);
    one_.resize(columns);
    for (std::size_t row = 0; row < rows; ++row) {
      const std::size_t head = row / tokens * group_;
      const float* from = weights.data + head * head_size + (begin + row % tokens) * columns;
      float* to = rows_.data() + row * columns;
      kernels::portable::fuse_group(from, head_size, columns, group_, fusion_,
                                    added_ == 0 ? to : one_.data());
      if (added_ > 0) combine(one_.data(), columns, to);
    }
    tokens_ = tokens;
    columns_ = columns;
    if (++added_ < layers_) return false;
    added_ = 0;
    if (layers_ > 1 && fusion_ != GroupFusion::max) {
      for (float& weight : rows_) weight /= static_cast<float>(layers_);
    }
    return true;
  }

  /// A unit's rows: [tokens][columns]. \pre add() has returned true
  [[nodiscard]] const float* rows(std::size_t unit) const noexcept {
    return rows_.data() + unit * tokens_ * columns_;
  }

 private:
  void combine(const float* row, std::size_t columns, float* into) const noexcept {
    for (std::size_t c = 0; c < columns; ++c) {
      into[c] = fusion_ == GroupFusion::max ? std::max(into[c], row[c]) : into[c] + row[c];
    }
  }

  std::size_t group_;  ///< query heads of a unit in one layer
  std::size_t units_;
  std::size_t layers_;
  GroupFusion fusion_;
  std::size_t added_ = 0;  ///< layers in rows_
  std::size_t tokens_ = 0;
  std::size_t columns_ = 0;
  std::vector<float> rows_;
  std::vector<float> one_;  ///< work: the fused row of one layer
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_ROW_FUSION_HPP
