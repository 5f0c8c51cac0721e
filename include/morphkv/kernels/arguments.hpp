// SPDX-License-Identifier: Apache-2.0
/// \file
/// The arguments of the kernels that have many, the same for every version.
#ifndef MORPHKV_KERNELS_ARGUMENTS_HPP
#define MORPHKV_KERNELS_ARGUMENTS_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/logits.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/prefetch_hint.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels {

/// The arguments of decode_attention. Nothing is owned. Rows of keys and values lie as KvView says;
/// where they have pages, both have the same. Numbers of E4M3 lack their scales: that of the keys
/// is a factor of logits.scale, and that of the values value_scale.
template <Storable T>
struct DecodeAttention {
  const float* query = nullptr;                                  ///< [group][head_dim]
  KvView<const T> keys;                                          ///< [tokens]
  KvView<const T> values;                                        ///< [tokens]
  std::size_t tokens = 0;                                        ///< at least 1
  std::size_t hidden = std::numeric_limits<std::size_t>::max();  ///< a token that is not seen
  std::size_t group = 1;
  std::size_t head_dim = 0;   ///< of queries and keys
  std::size_t value_dim = 0;  ///< of values and outputs; 0: head_dim
  Logits logits{};
  float value_scale = 1;                ///< of the outputs: that of stored values
  const Position* positions = nullptr;  ///< [tokens]; read only where logits have slopes
  Position query_position = 0;          ///< likewise
  GroupFusion fusion = GroupFusion::max;
  /// Working space, [group][weight_stride]: a head's weights, times some factor, are left there.
  float* weights = nullptr;
  std::size_t weight_stride = 0;
  float* output = nullptr;       ///< [group][output_dim()], or null: then no value is read
  float* row = nullptr;          ///< [tokens]: the fused row, or null if not wanted
  float* log_sum_exp = nullptr;  ///< [group], or null if not wanted
  PrefetchHints next{};  ///< what the caller reads next: a score's memory, another head's keys

  [[nodiscard]] constexpr std::size_t output_dim() const noexcept {
    return value_dim == 0 ? head_dim : value_dim;
  }
};

/// The arguments of block_attention. Nothing is owned. Numbers of E4M3 are passed as half, which
/// holds each of them.
template <Scalar T>
requires(!std::same_as<T, E4M3>) struct BlockAttention {
  const float* queries = nullptr;  ///< [rows][group][head_dim]
  const T* keys = nullptr;         ///< [tokens][stride]
  const T* values = nullptr;       ///< [tokens][value_stride]; not read without outputs
  std::size_t rows = 0;            ///< queries: of the last tokens, but for those `after` them
  std::size_t after = 0;           ///< tokens that come after the queries' own
  std::size_t tokens = 0;          ///< at least rows + after; query r sees those up to its own,
  std::size_t window = 0;          ///< or the last `window` of these, if it is not 0
  /// Null, or which queries see the tokens from `masked_from` on, whatever their order and the
  /// window say: bit r % 64 of visible[(token - masked_from) * mask_words() + r / 64].
  const std::uint64_t* visible = nullptr;
  std::size_t masked_from = 0;
  std::size_t group = 1;
  std::size_t head_dim = 0;      ///< of queries and keys
  std::size_t value_dim = 0;     ///< of values and outputs; 0: head_dim
  std::size_t stride = 0;        ///< elements between the keys of two tokens, at least head_dim
  std::size_t value_stride = 0;  ///< between two values; 0: stride
  Logits logits{};
  float value_scale = 1;  ///< of the outputs: that of stored values
  /// [tokens]: their positions less that of one of them; read only where logits have slopes. Exact
  /// up to 2^24.
  const float* positions = nullptr;
  GroupFusion fusion = GroupFusion::max;  ///< of the heads' weights into rows
  /// [rows][group]: the natural logarithms of the sums of exponentials of the logits, the sink's
  /// included, as an attention kernel returns them, or null. Used where no outputs are wanted.
  const float* known_log_sum_exp = nullptr;
  float* outputs = nullptr;      ///< [rows][group][output_dim()], or null if not wanted
  float* log_sum_exp = nullptr;  ///< [rows][group], or null if not wanted or known
  float* fused_rows = nullptr;   ///< [rows][row_stride]: `tokens` weights each; null: not wanted
  std::size_t row_stride = 0;    ///< at least tokens
  float* workspace = nullptr;    ///< block_attention_workspace() numbers on a cache line

  [[nodiscard]] constexpr std::size_t output_dim() const noexcept {
    return value_dim == 0 ? head_dim : value_dim;
  }
  [[nodiscard]] const T* value(std::size_t token) const noexcept {
    return values + token * (value_stride == 0 ? stride : value_stride);
  }
  /// The token of query `r`.
  [[nodiscard]] constexpr std::size_t own_token(std::size_t r) const noexcept {
    return tokens - after - rows + r;
  }
  [[nodiscard]] constexpr std::size_t mask_words() const noexcept { return (rows + 63) / 64; }
  /// Query `r` sees no token before seen_begin(r), and none from seen_end(r) on.
  [[nodiscard]] constexpr std::size_t seen_begin(std::size_t r) const noexcept {
    const std::size_t seen = own_token(r) + 1;
    const std::size_t begin = window == 0 || window >= seen ? 0 : seen - window;
    return visible == nullptr ? begin : (std::min)(begin, masked_from);
  }
  [[nodiscard]] constexpr std::size_t seen_end(std::size_t r) const noexcept {
    return visible == nullptr ? own_token(r) + 1 : tokens;
  }
  /// Whether query `r` sees a token.
  [[nodiscard]] constexpr bool sees(std::size_t r, std::size_t token) const noexcept {
    if (visible != nullptr && token >= masked_from) {
      return (visible[(token - masked_from) * mask_words() + r / 64] >> r % 64 & 1U) != 0;
    }
    return token <= own_token(r) && (window == 0 || own_token(r) - token < window);
  }
};

/// Tokens whose logits block_attention holds at once.
inline constexpr std::size_t block_tokens = 64;
/// Queries that block_attention serves at once, over the heads of a group: whole vectors of them.
inline constexpr std::size_t block_queries = 64;

/// Queries per call that fill the vectors of every instruction set and leave rows in the L2 cache.
[[nodiscard]] constexpr std::size_t queries_at_once(std::size_t group) noexcept {
  return (std::max)(std::size_t{16}, block_queries / std::gcd(block_queries, group));
}

/// Whole blocks of tokens.
[[nodiscard]] constexpr std::size_t padded(std::size_t tokens) noexcept {
  return (tokens + block_tokens - 1) / block_tokens * block_tokens;
}

/// Numbers of the workspace of block_attention. `tokens` is 0 where no rows are wanted, or where
/// the log-sum-exp is known and no outputs are wanted; else all weights are kept until their sum
/// is. `value_dim` is 0 where it is head_dim.
[[nodiscard]] constexpr std::size_t block_attention_workspace(std::size_t head_dim,
                                                              std::size_t tokens = 0,
                                                              std::size_t value_dim = 0) noexcept {
  const auto whole_vectors = [](std::size_t dim) { return (dim + 15) / 16 * 16; };
  const std::size_t widths =
      whole_vectors(head_dim) + whole_vectors(value_dim == 0 ? head_dim : value_dim);
  return (block_queries + block_tokens) * widths + block_queries * block_tokens +
         block_queries * (padded(tokens) + padded(tokens) / block_tokens);
}

}}}  // namespace morphkv::v0::kernels

#endif  // MORPHKV_KERNELS_ARGUMENTS_HPP
