// SPDX-License-Identifier: Apache-2.0
/// \file
/// One decode step of attention for one KV head whose keys and values lie in two formats.
#ifndef MORPHKV_KERNELS_TIERED_ATTENTION_HPP
#define MORPHKV_KERNELS_TIERED_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "morphkv/core/quantised.hpp"
#include "morphkv/core/tiered_view.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/decode_attention.hpp"
#include "morphkv/kernels/portable/attention.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {

/// Numbers of TieredAttention::workspace: the cold tokens' outputs, and two log-sum-exps per head.
[[nodiscard]] constexpr std::size_t tiered_workspace(std::size_t group,
                                                     std::size_t output_dim) noexcept {
  return group * (output_dim + 2);
}

/// The arguments of decode_attention where the first `hot` tokens lie in `keys` and `values`, and
/// the others, in Cold, in `cold_keys` and `cold_values`. All else counts both: positions, weights,
/// the row, and the hidden token are numbered through them.
template <Storable T, Quantised Cold>
struct TieredAttention : DecodeAttention<T> {
  std::size_t hot = 0;  ///< at least 1
  KvView<const Cold> cold_keys;
  KvView<const Cold> cold_values;
  float* workspace = nullptr;  ///< tiered_workspace() numbers

  TieredAttention(const DecodeAttention<T>& of_hot, const TieredView<const T, const Cold>& all_keys,
                  const TieredView<const T, const Cold>& all_values) noexcept
      : DecodeAttention<T>(of_hot),
        hot(all_keys.hot_slots),
        cold_keys(all_keys.cold),
        cold_values(all_values.cold) {
    this->keys = all_keys.hot;
    this->values = all_values.hot;
  }

  /// The attention of the cold tokens alone.
  [[nodiscard]] DecodeAttention<Cold> cold() const noexcept {
    DecodeAttention<Cold> part;
    part.query = this->query;
    part.keys = cold_keys;
    part.values = cold_values;
    part.tokens = this->tokens - hot;
    if (this->hidden >= hot) part.hidden = this->hidden - hot;
    part.group = this->group;
    part.head_dim = this->head_dim;
    part.value_dim = this->value_dim;
    part.logits = this->logits;
    if (this->positions != nullptr) part.positions = this->positions + hot;
    part.query_position = this->query_position;
    part.weights = this->weights + hot;
    part.weight_stride = this->weight_stride;
    part.next = this->next;
    return part;
  }
};

namespace detail {

/// Scales a tier's weights, which the kernels leave times some factor, so that their sum is
/// `share`.
inline void scale_to(float share, float* weights, std::size_t count) noexcept {
  constexpr std::size_t width = 16;  // partial sums, which compilers turn into vectors
  float partial[width] = {};
  std::size_t i = 0;
  for (; i + width <= count; i += width) {
    for (std::size_t lane = 0; lane < width; ++lane) partial[lane] += weights[i + lane];
  }
  for (std::size_t lane = 0; i < count; ++i, ++lane) partial[lane] += weights[i];
  float sum = 0;
  for (const float part : partial) sum += part;
  const float factor = share > 0 ? share / sum : 0;  // without a share there may be no sum
  for (i = 0; i < count; ++i) weights[i] *= factor;
}

/// Attention of one tier, without the sink. `log_sum_exp` is minus infinity if its only token is
/// hidden; weights and outputs are 0 then.
template <Storable T>
[[nodiscard]] bool attend_tier(DecodeAttention<T> a, float* output, float* log_sum_exp) noexcept {
  a.logits.sinks = nullptr;
  a.row = nullptr;
  a.output = output;
  a.log_sum_exp = log_sum_exp;
  if (a.tokens > 1 || a.hidden > 0) return decode_attention(a);
  for (std::size_t g = 0; g < a.group; ++g) a.weights[g * a.weight_stride] = 0;
  std::fill_n(output, a.group * a.output_dim(), 0.0F);
  std::fill_n(log_sum_exp, a.group, -std::numeric_limits<float>::infinity());
  return true;
}

}  // namespace detail

/// Attention over both tiers with one softmax: each tier's attention, weighted by its share of the
/// sum of exponentials. \pre output is not null
/// \return whether every weight is finite; if not, `output` and `row` hold no meaning. (Logits of
///         minus infinity for all tokens of one tier are not finite here.)
template <Storable T, Quantised Cold>
[[nodiscard]] bool decode_attention(const TieredAttention<T, Cold>& a) noexcept {
  if (a.tokens <= a.hot) return decode_attention(static_cast<const DecodeAttention<T>&>(a));
  const std::size_t dim = a.output_dim();
  float* const cold_output = a.workspace;
  float* const hot_sums = cold_output + a.group * dim;
  float* const cold_sums = hot_sums + a.group;
  const DecodeAttention<Cold> cold = a.cold();
  DecodeAttention<T> hot = a;
  hot.tokens = a.hot;
  const auto rows = [&](const auto& view) {
    return PrefetchHint{view.data, cold.tokens * view.stride * sizeof(Cold)};
  };
  hot.next = {rows(cold.keys), rows(cold.values)};
  if (!detail::attend_tier(hot, a.output, hot_sums) ||
      !detail::attend_tier(cold, cold_output, cold_sums)) {
    return false;
  }
  for (std::size_t g = 0; g < a.group; ++g) {
    const float sink = a.logits.sink(g);
    const float high = (std::max)((std::max)(hot_sums[g], cold_sums[g]), sink);
    const float hot_weight = std::exp(hot_sums[g] - high);
    const float cold_weight = std::exp(cold_sums[g] - high);
    const float total =
        hot_weight + cold_weight + (std::isfinite(sink) ? std::exp(sink - high) : 0);
    const float hot_share = hot_weight / total;
    const float cold_share = cold_weight / total;
    if (!std::isfinite(total)) return false;
    float* to = a.output + g * dim;
    const float* from = cold_output + g * dim;
    for (std::size_t d = 0; d < dim; ++d) to[d] = to[d] * hot_share + from[d] * cold_share;
    if (a.log_sum_exp != nullptr) a.log_sum_exp[g] = high + std::log(total);
    if (a.row == nullptr) continue;
    float* const weights = a.weights + g * a.weight_stride;
    detail::scale_to(hot_share, weights, a.hot);
    detail::scale_to(cold_share, weights + a.hot, cold.tokens);
  }
  if (a.row != nullptr) {
    portable::fuse_group(a.weights, a.weight_stride, a.tokens, a.group, a.fusion, a.row);
  }
  return true;
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_TIERED_ATTENTION_HPP
