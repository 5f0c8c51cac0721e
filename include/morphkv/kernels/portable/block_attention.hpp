// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of queries in standard C++.
#ifndef MORPHKV_KERNELS_PORTABLE_BLOCK_ATTENTION_HPP
#define MORPHKV_KERNELS_PORTABLE_BLOCK_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/portable/attention.hpp"

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::portable {

/// One query head of one query, over the first `tokens` tokens, tile by tile: sums so far shrink
/// when a tile brings a greater logit. `output` may be null.
/// \return the logarithm of the sum of exponentials; NaN if there is no weight or one is not finite
template <Scalar T>
[[nodiscard]] float attend_in_tiles(const BlockAttention<T>& a, const float* query,
                                    std::size_t tokens, float* output) noexcept {
  const std::size_t dims = output == nullptr ? 0 : a.head_dim;
  float high = std::numeric_limits<float>::lowest();
  float total = 0;
  std::fill_n(output, dims, 0.0F);
  for (std::size_t begin = 0; begin < tokens; begin += block_tokens) {
    const std::size_t count = (std::min)(block_tokens, tokens - begin);
    float logits[block_tokens];
    for (std::size_t t = 0; t < count; ++t) {
      logits[t] = a.scale * dot(query, a.keys + (begin + t) * a.stride, a.head_dim);
    }
    const float before = high;
    for (std::size_t t = 0; t < count; ++t) high = (std::max)(high, logits[t]);
    const float shrink = std::exp(before - high);
    total *= shrink;
    for (std::size_t d = 0; d < dims; ++d) output[d] *= shrink;
    for (std::size_t t = 0; t < count; ++t) {
      const float weight = std::exp(logits[t] - high);
      const T* value = dims == 0 ? nullptr : a.values + (begin + t) * a.stride;
      total += weight;
      for (std::size_t d = 0; d < dims; ++d) output[d] += weight * static_cast<float>(value[d]);
    }
  }
  for (std::size_t d = 0; d < dims; ++d) output[d] /= total;
  return std::isfinite(total) && total > 0 ? high + std::log(total)
                                           : std::numeric_limits<float>::quiet_NaN();
}

/// row = the weights of head `head` of a query, whose log-sum-exp is given, fused with those of the
/// heads before it. \return whether all are finite
template <Scalar T>
[[nodiscard]] bool fuse_head(const BlockAttention<T>& a, const float* query, std::size_t head,
                             std::size_t tokens, float log_sum_exp, float* row) noexcept {
  const bool highest = a.fusion == GroupFusion::max;
  const float share = highest ? 1.0F : 1.0F / static_cast<float>(a.group);
  if (head == 0) std::fill_n(row, a.tokens, 0.0F);
  bool finite = std::isfinite(log_sum_exp);
  for (std::size_t t = 0; t < tokens; ++t) {
    const float logit = a.scale * dot(query, a.keys + t * a.stride, a.head_dim);
    const float weight = share * std::exp((std::min)(logit - log_sum_exp, 1.0F));
    finite = finite && std::isfinite(weight);
    row[t] = highest ? (std::max)(row[t], weight) : row[t] + weight;
  }
  return finite;
}

/// See kernels::block_attention.
template <Scalar T>
[[nodiscard]] bool block_attention(const BlockAttention<T>& a) noexcept {
  const bool known = a.outputs == nullptr && a.known_log_sum_exp != nullptr;
  bool finite = true;
  for (std::size_t r = 0; r < a.rows; ++r) {
    const std::size_t seen = a.tokens - a.rows + r + 1;
    for (std::size_t g = 0; g < a.group; ++g) {
      const std::size_t at = r * a.group + g;
      const float* query = a.queries + at * a.head_dim;
      const float log_sum_exp =
          known ? a.known_log_sum_exp[at]
                : attend_in_tiles(a, query, seen,
                                  a.outputs == nullptr ? nullptr : a.outputs + at * a.head_dim);
      finite = finite && std::isfinite(log_sum_exp);
      if (!known && a.log_sum_exp != nullptr) a.log_sum_exp[at] = log_sum_exp;
      if (a.fused_rows == nullptr) continue;
      finite = fuse_head(a, query, g, seen, log_sum_exp, a.fused_rows + r * a.row_stride) && finite;
    }
  }
  return finite;
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_BLOCK_ATTENTION_HPP
