// SPDX-License-Identifier: Apache-2.0
/// \file
/// Window-row scoring of a prompt in standard C++.
#ifndef MORPHKV_KERNELS_PORTABLE_SCORE_PROMPT_HPP
#define MORPHKV_KERNELS_PORTABLE_SCORE_PROMPT_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace portable {

/// How many tokens a query sees.
template <Scalar T>
[[nodiscard]] std::size_t visible(const ScorePrompt<T>& a, std::size_t row) noexcept {
  return a.tokens - a.rows + row + 1;
}

/// The scaled logit of a query head and a token.
template <Scalar T>
[[nodiscard]] float prompt_logit(const ScorePrompt<T>& a, std::size_t row, std::size_t head,
                                 std::size_t token) noexcept {
  const T* query = a.queries + row * a.query_stride + head * a.head_dim;
  const T* key = a.keys + token * a.stride;
  float sum = 0;
  for (std::size_t d = 0; d < a.head_dim; ++d) {
    sum += static_cast<float>(query[d]) * static_cast<float>(key[d]);
  }
  return a.scale * sum;
}

/// The logarithm of the sum of a query head's exponentials.
template <Scalar T>
[[nodiscard]] float log_sum_exp_of(const ScorePrompt<T>& a, std::size_t row,
                                   std::size_t head) noexcept {
  if (a.log_sum_exp != nullptr) return a.log_sum_exp[row * a.group + head];
  float high = -std::numeric_limits<float>::infinity();
  float sum = 0;
  for (std::size_t t = 0; t < visible(a, row); ++t) {
    const float logit = prompt_logit(a, row, head, t);
    const float higher = (std::max)(high, logit);
    sum = sum * std::exp(high - higher) + std::exp(logit - higher);
    high = higher;
  }
  return high + std::log(sum);
}

/// See kernels::score_prompt.
template <Scalar T>
[[nodiscard]] bool score_prompt(const ScorePrompt<T>& a) noexcept {
  const float share = a.fusion == GroupFusion::max ? 1.0F : 1.0F / static_cast<float>(a.group);
  std::fill_n(a.sums, a.tokens, 0.0F);
  bool finite = true;
  constexpr std::size_t tile = 64;
  constexpr std::size_t known = 64;  // heads whose logarithms are remembered
  for (std::size_t row = 0; row < a.rows; ++row) {
    float logarithms[known];
    for (std::size_t head = 0; head < (std::min)(known, a.group); ++head) {
      logarithms[head] = log_sum_exp_of(a, row, head);
    }
    for (std::size_t begin = 0; begin < visible(a, row); begin += tile) {
      const std::size_t end = (std::min)(begin + tile, visible(a, row));
      float fused[tile] = {};
      for (std::size_t head = 0; head < a.group; ++head) {
        const float logarithm = head < known ? logarithms[head] : log_sum_exp_of(a, row, head);
        for (std::size_t t = begin; t < end; ++t) {
          const float weight = std::exp(prompt_logit(a, row, head, t) - logarithm);
          finite = finite && std::isfinite(weight);
          float& sum = fused[t - begin];
          sum = a.fusion == GroupFusion::max ? (std::max)(sum, weight) : sum + weight;
        }
      }
      for (std::size_t t = begin; t < end; ++t) a.sums[t] += share * fused[t - begin];
    }
  }
  return finite;
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_SCORE_PROMPT_HPP
