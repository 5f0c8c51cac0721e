// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a group of query heads over one KV head, in standard C++: the reference for the
/// vector versions, and the path of CPUs that have none.
#ifndef MORPHKV_KERNELS_PORTABLE_ATTENTION_HPP
#define MORPHKV_KERNELS_PORTABLE_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::portable {

/// Sum of products. Sixteen partial sums, which compilers turn into vectors without -ffast-math.
template <Scalar T>
[[nodiscard]] float dot(const float* a, const T* b, std::size_t size) noexcept {
  constexpr std::size_t width = 16;
  float partial[width] = {};
  std::size_t i = 0;
  for (; i + width <= size; i += width) {
    for (std::size_t lane = 0; lane < width; ++lane) {
      partial[lane] += a[i + lane] * static_cast<float>(b[i + lane]);
    }
  }
  for (std::size_t lane = 0; i < size; ++i, ++lane)
    partial[lane] += a[i] * static_cast<float>(b[i]);
  for (std::size_t half = width / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
  }
  return partial[0];
}

/// Softmax in place; minus infinity is a weight of 0.
/// \return the logarithm of the sum of exponentials; NaN if no weight can be given (a logit is NaN
///         or plus infinity, or none is above minus infinity).
inline float softmax(float* logits, std::size_t tokens) noexcept {
  float highest = -std::numeric_limits<float>::infinity();
  for (std::size_t t = 0; t < tokens; ++t) highest = std::max(highest, logits[t]);
  float sum = 0;
  for (std::size_t t = 0; t < tokens; ++t) {
    logits[t] = std::exp(logits[t] - highest);
    sum += logits[t];
  }
  for (std::size_t t = 0; t < tokens; ++t) logits[t] /= sum;
  return std::isfinite(sum) ? highest + std::log(sum) : std::numeric_limits<float>::quiet_NaN();
}

/// row[t] = the group's weights of token t, fused.
inline void fuse_group(const float* weights, std::size_t weight_stride, std::size_t tokens,
                       std::size_t group, GroupFusion fusion, float* row) noexcept {
  std::copy_n(weights, tokens, row);
  for (std::size_t g = 1; g < group; ++g) {
    const float* other = weights + g * weight_stride;
    if (fusion == GroupFusion::max) {
      for (std::size_t t = 0; t < tokens; ++t) row[t] = std::max(row[t], other[t]);
    } else {
      for (std::size_t t = 0; t < tokens; ++t) row[t] += other[t];
    }
  }
  if (fusion == GroupFusion::max || group == 1) return;
  const float share = 1.0F / static_cast<float>(group);
  for (std::size_t t = 0; t < tokens; ++t) row[t] *= share;
}

/// See kernels::decode_attention.
template <Scalar T>
[[nodiscard]] bool decode_attention(const DecodeAttention<T>& a) noexcept {
  const KvView<const T> keys = a.key_rows();
  for (std::size_t t = 0; t < a.tokens; ++t) {
    for (std::size_t g = 0; g < a.group; ++g) {
      a.weights[g * a.weight_stride + t] =
          a.scale * dot(a.query + g * a.head_dim, keys[t], a.head_dim);
    }
  }
  bool finite = true;
  for (std::size_t g = 0; g < a.group; ++g) {
    const float log_sum_exp = softmax(a.weights + g * a.weight_stride, a.tokens);
    finite = finite && std::isfinite(log_sum_exp);
    if (a.log_sum_exp != nullptr) a.log_sum_exp[g] = log_sum_exp;
  }
  if (a.output != nullptr) {
    const KvView<const T> values = a.value_rows();
    std::fill_n(a.output, a.group * a.head_dim, 0.0F);
    for (std::size_t t = 0; t < a.tokens; ++t) {
      const T* value = values[t];
      for (std::size_t g = 0; g < a.group; ++g) {
        const float weight = a.weights[g * a.weight_stride + t];
        float* out = a.output + g * a.head_dim;
        for (std::size_t d = 0; d < a.head_dim; ++d)
          out[d] += weight * static_cast<float>(value[d]);
      }
    }
  }
  if (a.row != nullptr) {
    fuse_group(a.weights, a.weight_stride, a.tokens, a.group, a.fusion, a.row);
  }
  return finite;
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_ATTENTION_HPP
