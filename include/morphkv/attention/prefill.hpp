// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of tokens: a prompt, a chunk of one, or a later turn.
#ifndef MORPHKV_ATTENTION_PREFILL_HPP
#define MORPHKV_ATTENTION_PREFILL_HPP

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/rows.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/decode_attention.hpp"

namespace morphkv::inline v0 {

/// What one KV head holds, and the part of a block that belongs to it. Nothing is owned. Elements
/// of the block's token t begin at t * stride.
template <Scalar T, ElementOf<T> E>
struct PrefillHead {
  std::span<const Position> positions;  ///< of the slots in use
  Rows<const T> keys;                   ///< [slots]
  Rows<const T> values;                 ///< [slots]
  std::size_t tokens = 0;               ///< of the block
  const E* block_queries = nullptr;     ///< [tokens], [group][head_dim] each
  const E* block_keys = nullptr;        ///< [tokens], [head_dim] each
  const E* block_values = nullptr;      ///< [tokens], [head_dim] each
  E* block_outputs = nullptr;           ///< as the queries, or null if not wanted
  std::size_t query_stride = 0;
  std::size_t key_stride = 0;
  std::size_t group = 1;
  std::size_t head_dim = 1;
  float scale = 1;
  GroupFusion fusion = GroupFusion::max;
};

/// Causal attention of the block over what the head holds and over itself. Keys and values are
/// rounded to the cache's type first, so that a token sees what later tokens will see.
///
/// Rows are computed when a policy asks for them; a query's output comes with its row, so that no
/// query is computed twice. Memory: a copy of the head's keys and values, and of the block's.
/// Complexity: O(slots + tokens) x head_dim x group a query. Thread safety: none.
template <Scalar T, ElementOf<T> E>
class PrefillAttention {
 public:
  explicit PrefillAttention(const PrefillHead<T, E>& head)
      : head_(head),
        held_(head.positions.size()),
        holes_(static_cast<std::size_t>(
            std::count(head.positions.begin(), head.positions.end(), no_position))),
        keys_((held_ + head.tokens) * head.head_dim),
        values_(keys_.size()),
        weights_(head.group * columns()),
        query_(head.group * head.head_dim),
        output_(query_.size()),
        done_(head.tokens) {
    copy_tokens(head.keys, head.block_keys, keys_.data());
    copy_tokens(head.values, head.block_values, values_.data());
  }

  [[nodiscard]] std::size_t columns() const noexcept { return held_ + head_.tokens; }

  /// The rows, for a policy's vote. They refer to this object.
  [[nodiscard]] PromptRows rows() noexcept {
    return PromptRows(
        head_.tokens, columns(), head_.group, this,
        [](void* self, std::size_t query, float* row) {
          return static_cast<PrefillAttention*>(self)->fused_row(query, row);
        },
        [](void* self, std::size_t query, float* rows) {
          return static_cast<PrefillAttention*>(self)->logit_rows(query, rows);
        });
  }

  /// Computes the outputs of the queries that no one has asked a row of.
  Status finish_outputs() {
    if (head_.block_outputs == nullptr) return Status::ok;
    std::vector<float> row(columns());
    for (std::size_t query = 0; query < head_.tokens; ++query) {
      if (done_[query] != 0) continue;
      const Status status = fused_row(query, row.data());
      if (status != Status::ok) return status;
    }
    return Status::ok;
  }

 private:
  /// Tokens that are alive among the slots; they come first in keys_ and values_.
  [[nodiscard]] std::size_t live() const noexcept { return held_ - holes_; }

  void copy_tokens(const Rows<const T>& held, const E* block, T* out) const {
    const std::size_t dim = head_.head_dim;
    for (std::size_t slot = 0; slot < held_; ++slot) {
      if (head_.positions[slot] != no_position) {
        out = std::copy_n(held[slot], dim, out);
      }
    }
    for (std::size_t token = 0; token < head_.tokens; ++token) {
      const E* row = block + token * head_.key_stride;
      out = std::transform(row, row + dim, out, [](E x) { return static_cast<T>(x); });
    }
  }

  void load_query(std::size_t query) noexcept {
    const E* from = head_.block_queries + query * head_.query_stride;
    std::transform(from, from + query_.size(), query_.data(),
                   [](E x) { return static_cast<float>(x); });
  }

  [[nodiscard]] Status fused_row(std::size_t query, float* row) {
    load_query(query);
    const std::size_t visible = live() + query + 1;
    const bool finite = kernels::decode_attention<T>({.query = query_.data(),
                                                      .keys = keys_.data(),
                                                      .values = values_.data(),
                                                      .tokens = visible,
                                                      .group = head_.group,
                                                      .head_dim = head_.head_dim,
                                                      .stride = head_.head_dim,
                                                      .scale = head_.scale,
                                                      .fusion = head_.fusion,
                                                      .weights = weights_.data(),
                                                      .weight_stride = columns(),
                                                      .output = output_.data(),
                                                      .row = row,
                                                      .log_sum_exp = nullptr});
    if (!finite) return Status::bad_row;
    spread(row, visible, 0.0F);
    store_output(query);
    return Status::ok;
  }

  [[nodiscard]] Status logit_rows(std::size_t query, float* rows) {
    load_query(query);
    const std::size_t visible = live() + query + 1;
    kernels::portable::attention_logits(query_.data(), Rows<const T>{keys_.data(), head_.head_dim},
                                        visible, head_.group, head_.head_dim, head_.scale, rows,
                                        columns());
    for (std::size_t g = 0; g < head_.group; ++g) {
      spread(rows + g * columns(), visible, -std::numeric_limits<float>::infinity());
    }
    return Status::ok;
  }

  /// From the tokens that are visible to all columns: `nothing` in holes and after the query.
  void spread(float* row, std::size_t visible, float nothing) const noexcept {
    std::fill(row + visible + holes_, row + columns(), nothing);
    if (holes_ == 0) return;
    std::copy_backward(row + live(), row + visible, row + visible + holes_);
    std::size_t from = live();
    for (std::size_t slot = held_; slot-- > 0;) {
      row[slot] = head_.positions[slot] == no_position ? nothing : row[--from];
    }
  }

  void store_output(std::size_t query) noexcept {
    done_[query] = 1;
    if (head_.block_outputs == nullptr) return;
    std::transform(output_.span().begin(), output_.span().end(),
                   head_.block_outputs + query * head_.query_stride,
                   [](float x) { return static_cast<E>(x); });
  }

  PrefillHead<T, E> head_;
  std::size_t held_;   ///< slots in use
  std::size_t holes_;  ///< those among them that no token is in
  AlignedBuffer<T> keys_;
  AlignedBuffer<T> values_;
  AlignedBuffer<float> weights_;
  AlignedBuffer<float> query_;
  AlignedBuffer<float> output_;
  std::vector<char> done_;
};

}  // namespace morphkv::inline v0

#endif  // MORPHKV_ATTENTION_PREFILL_HPP
