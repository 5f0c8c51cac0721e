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

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace portable {

/// One query head of one query, over the first `tokens` tokens, tile by tile: sums so far shrink
/// when a tile brings a greater logit.
/// \return whether there is a weight, and every weight is finite
template <Scalar T>
[[nodiscard]] bool attend_in_tiles(const BlockAttention<T>& a, const float* query,
                                   std::size_t tokens, float* output) noexcept {
  float high = std::numeric_limits<float>::lowest();
  float total = 0;
  std::fill_n(output, a.head_dim, 0.0F);
  for (std::size_t begin = 0; begin < tokens; begin += block_tokens) {
    const std::size_t count = (std::min)(block_tokens, tokens - begin);
    float logits[block_tokens];
    attention_logits(query, KvView<const T>{a.keys + begin * a.stride, a.stride}, count, 1,
                     a.head_dim, a.scale, logits, count);
    const float before = high;
    for (std::size_t t = 0; t < count; ++t) high = (std::max)(high, logits[t]);
    const float shrink = std::exp(before - high);
    total *= shrink;
    for (std::size_t d = 0; d < a.head_dim; ++d) output[d] *= shrink;
    for (std::size_t t = 0; t < count; ++t) {
      const float weight = std::exp(logits[t] - high);
      const T* value = a.values + (begin + t) * a.stride;
      total += weight;
      for (std::size_t d = 0; d < a.head_dim; ++d) {
        output[d] += weight * static_cast<float>(value[d]);
      }
    }
  }
  for (std::size_t d = 0; d < a.head_dim; ++d) output[d] /= total;
  return std::isfinite(total) && total > 0;
}

/// See kernels::block_attention.
template <Scalar T>
[[nodiscard]] bool block_attention(const BlockAttention<T>& a) noexcept {
  bool finite = true;
  for (std::size_t r = 0; r < a.rows; ++r) {
    for (std::size_t g = 0; g < a.group; ++g) {
      const std::size_t at = (r * a.group + g) * a.head_dim;
      finite =
          attend_in_tiles(a, a.queries + at, a.tokens - a.rows + r + 1, a.outputs + at) && finite;
    }
  }
  return finite;
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_BLOCK_ATTENTION_HPP
