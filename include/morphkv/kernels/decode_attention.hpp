// SPDX-License-Identifier: Apache-2.0
/// \file
/// One decode step of attention for one KV head: the output of all its query heads, and the row
/// that its policy observes.
#ifndef MORPHKV_KERNELS_DECODE_ATTENTION_HPP
#define MORPHKV_KERNELS_DECODE_ATTENTION_HPP

#include <cmath>
#include <cstddef>

#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/portable/attention.hpp"

namespace morphkv::inline v0::kernels {

/// The arguments of decode_attention. Nothing is owned.
template <Scalar T>
struct DecodeAttention {
  const float* query = nullptr;  ///< [group][head_dim]
  const T* keys = nullptr;       ///< [tokens][stride]
  const T* values = nullptr;     ///< [tokens][stride]
  std::size_t tokens = 0;        ///< at least 1
  std::size_t group = 1;
  std::size_t head_dim = 0;
  std::size_t stride = 0;  ///< elements between the rows of two tokens, at least head_dim
  float scale = 1;         ///< of the logits; usually 1 / sqrt(head_dim)
  GroupFusion fusion = GroupFusion::max;
  float* weights = nullptr;  ///< working space, [group][weight_stride]; holds the softmax after
  std::size_t weight_stride = 0;
  float* output = nullptr;       ///< [group][head_dim]
  float* row = nullptr;          ///< [tokens]: the fused row
  float* log_sum_exp = nullptr;  ///< [group], or null if not wanted
};

/// softmax(scale * query . keys) . values for the whole group, and the group's fused row.
/// \return whether every weight is finite; if not, `output` and `row` hold no meaning.
template <Scalar T>
[[nodiscard]] bool decode_attention(const DecodeAttention<T>& a) noexcept {
  portable::attention_logits(a.query, a.keys, a.stride, a.tokens, a.group, a.head_dim, a.scale,
                             a.weights, a.weight_stride);
  bool finite = true;
  for (std::size_t g = 0; g < a.group; ++g) {
    const float log_sum_exp = portable::softmax(a.weights + g * a.weight_stride, a.tokens);
    finite = finite && std::isfinite(log_sum_exp);
    if (a.log_sum_exp != nullptr) a.log_sum_exp[g] = log_sum_exp;
  }
  portable::weighted_values(a.weights, a.weight_stride, a.values, a.stride, a.tokens, a.group,
                            a.head_dim, a.output);
  portable::fuse_group(a.weights, a.weight_stride, a.tokens, a.group, a.fusion, a.row);
  return finite;
}

}  // namespace morphkv::inline v0::kernels

#endif  // MORPHKV_KERNELS_DECODE_ATTENTION_HPP
