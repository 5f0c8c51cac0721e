// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a group of query heads over one KV head, of a token and of a block, in standard
/// C++: the reference for the vector versions, and the path of CPUs that have none.
#ifndef MORPHKV_KERNELS_PORTABLE_ATTENTION_HPP
#define MORPHKV_KERNELS_PORTABLE_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/logits.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::portable {

/// Sum of products. Sixteen partial sums, which compilers turn into vectors without -ffast-math.
template <Storable T>
[[nodiscard]] float dot(const float* a, const T* b, std::size_t size) noexcept {
  constexpr std::size_t width = 16;
  float partial[width] = {};
  std::size_t i = 0;
  for (; i + width <= size; i += width) {
    for (std::size_t lane = 0; lane < width; ++lane) {
      partial[lane] += a[i + lane] * number_at(b, i + lane);
    }
  }
  for (std::size_t lane = 0; i < size; ++i, ++lane) partial[lane] += a[i] * number_at(b, i);
  for (std::size_t half = width / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
  }
  return partial[0];
}

/// The logit of a product.
inline float logit_of(float product, const Logits& logits) noexcept {
  const float scaled = product * logits.scale;
  return logits.soft_cap > 0 ? logits.soft_cap * std::tanh(scaled / logits.soft_cap) : scaled;
}

/// Softmax in place; minus infinity is a weight of 0, as a logit and as the sink.
/// \return the logarithm of the sum of exponentials; NaN if no weight can be given (a logit is NaN
///         or plus infinity, or none is above minus infinity).
inline float softmax(float* logits, std::size_t tokens, float sink) noexcept {
  float highest = sink;
  for (std::size_t t = 0; t < tokens; ++t) highest = std::max(highest, logits[t]);
  float sum = std::isfinite(sink) ? std::exp(sink - highest) : 0;
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
template <Storable T>
[[nodiscard]] bool decode_attention(const DecodeAttention<T>& a) noexcept {
  for (std::size_t t = 0; t < a.tokens; ++t) {
    for (std::size_t g = 0; g < a.group; ++g) {
      float& logit = a.weights[g * a.weight_stride + t];
      logit = logit_of(dot(a.query + g * a.head_dim, a.keys[t], a.head_dim), a.logits);
      if (a.logits.slopes != nullptr) {
        logit -= a.logits.slopes[g] * static_cast<float>(a.query_position - a.positions[t]);
      }
      if (t == a.hidden) logit = -std::numeric_limits<float>::infinity();
    }
  }
  bool finite = true;
  for (std::size_t g = 0; g < a.group; ++g) {
    const float log_sum_exp = softmax(a.weights + g * a.weight_stride, a.tokens, a.logits.sink(g));
    finite = finite && std::isfinite(log_sum_exp);
    if (a.log_sum_exp != nullptr) a.log_sum_exp[g] = log_sum_exp;
  }
  if (a.output != nullptr) {
    std::fill_n(a.output, a.group * a.output_dim(), 0.0F);
    for (std::size_t t = 0; t < a.tokens; ++t) {
      const T* value = a.values[t];
      for (std::size_t g = 0; g < a.group; ++g) {
        const float weight = a.weights[g * a.weight_stride + t];
        float* out = a.output + g * a.output_dim();
        for (std::size_t d = 0; d < a.output_dim(); ++d) out[d] += weight * number_at(value, d);
      }
    }
    for (std::size_t i = 0; i < a.group * a.output_dim(); ++i) a.output[i] *= a.value_scale;
  }
  if (a.row != nullptr) {
    fuse_group(a.weights, a.weight_stride, a.tokens, a.group, a.fusion, a.row);
  }
  return finite;
}

/// The logit of query `r` of a head and a token; minus infinity where it does not see the token.
template <Scalar T>
[[nodiscard]] float block_logit(const BlockAttention<T>& a, std::size_t r, std::size_t head,
                                std::size_t token) noexcept {
  if (!a.sees(r, token)) return -std::numeric_limits<float>::infinity();
  const float* query = a.queries + (r * a.group + head) * a.head_dim;
  const float logit = logit_of(dot(query, a.keys + token * a.stride, a.head_dim), a.logits);
  if (a.logits.slopes == nullptr) return logit;
  return logit - a.logits.slopes[head] * (a.positions[a.own_token(r)] - a.positions[token]);
}

/// One query head of one query, tile by tile: sums so far shrink when a tile brings a greater
/// logit. `output` may be null. \return the logarithm of the sum of exponentials; NaN if there is
/// no weight or one is not finite
template <Scalar T>
[[nodiscard]] float attend_in_tiles(const BlockAttention<T>& a, std::size_t r, std::size_t head,
                                    float* output) noexcept {
  const std::size_t end = a.seen_end(r);
  const float sink = a.logits.sink(head);
  const std::size_t dims = output == nullptr ? 0 : a.output_dim();
  float high = (std::max)(sink, std::numeric_limits<float>::lowest());
  float total = std::isfinite(sink) ? 1.0F : 0.0F;
  std::fill_n(output, dims, 0.0F);
  for (std::size_t begin = a.seen_begin(r); begin < end; begin += block_tokens) {
    const std::size_t count = (std::min)(block_tokens, end - begin);
    float logits[block_tokens];
    for (std::size_t t = 0; t < count; ++t) logits[t] = block_logit(a, r, head, begin + t);
    const float before = high;
    for (std::size_t t = 0; t < count; ++t) high = (std::max)(high, logits[t]);
    const float shrink = std::exp(before - high);
    total *= shrink;
    for (std::size_t d = 0; d < dims; ++d) output[d] *= shrink;
    for (std::size_t t = 0; t < count; ++t) {
      const float weight = std::exp(logits[t] - high);
      const T* value = dims == 0 ? nullptr : a.value(begin + t);
      total += weight;
      for (std::size_t d = 0; d < dims; ++d) output[d] += weight * static_cast<float>(value[d]);
    }
  }
  for (std::size_t d = 0; d < dims; ++d) output[d] = output[d] / total * a.value_scale;
  return std::isfinite(total) && total > 0 ? high + std::log(total)
                                           : std::numeric_limits<float>::quiet_NaN();
}

/// row = the weights of head `head` of query `r`, whose log-sum-exp is given, fused with those of
/// the heads before it. \return whether all are finite
template <Scalar T>
[[nodiscard]] bool fuse_head(const BlockAttention<T>& a, std::size_t r, std::size_t head,
                             float log_sum_exp, float* row) noexcept {
  const bool highest = a.fusion == GroupFusion::max;
  const float share = highest ? 1.0F : 1.0F / static_cast<float>(a.group);
  if (head == 0) std::fill_n(row, a.tokens, 0.0F);
  bool finite = std::isfinite(log_sum_exp);
  for (std::size_t t = a.seen_begin(r); t < a.seen_end(r); ++t) {
    const float logit = block_logit(a, r, head, t);
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
    for (std::size_t g = 0; g < a.group; ++g) {
      const std::size_t at = r * a.group + g;
      float* output = a.outputs == nullptr ? nullptr : a.outputs + at * a.output_dim();
      const float log_sum_exp = known ? a.known_log_sum_exp[at] : attend_in_tiles(a, r, g, output);
      finite = finite && std::isfinite(log_sum_exp);
      if (!known && a.log_sum_exp != nullptr) a.log_sum_exp[at] = log_sum_exp;
      if (a.fused_rows == nullptr) continue;
      float* row = a.fused_rows + r * a.row_stride;
      finite = fuse_head(a, r, g, log_sum_exp, row) && finite;
    }
  }
  return finite;
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_ATTENTION_HPP
