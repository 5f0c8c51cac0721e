// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of tokens: a prompt, a chunk of one, or a later turn.
#ifndef MORPHKV_ATTENTION_PREFILL_HPP
#define MORPHKV_ATTENTION_PREFILL_HPP

#include <algorithm>
#include <cstddef>
#include <span>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/block_attention.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/kernels/decode_attention.hpp"

namespace morphkv { inline namespace v0 {

/// What one KV head holds, and the part of a block that belongs to it. Nothing is owned. Elements
/// of the block's token t begin at t * stride.
template <Scalar T, ElementOf<T> E>
struct PrefillHead {
  std::span<const Position> positions;  ///< of the slots in use
  KvView<const T> keys;                 ///< [slots]
  KvView<const T> values;               ///< [slots]
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
/// Rows are computed when a policy asks for them, outputs many queries at a time, so that keys and
/// values are read once for all of these. Memory: a copy of the head's keys and of the block's, and
/// of the values where outputs are wanted.
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
        values_(head.block_outputs == nullptr ? 0 : keys_.size()),
        weights_(head.group * columns()),
        query_(head.group * head.head_dim) {
    copy_tokens(head.keys, head.block_keys, keys_.data());
    if (!values_.span().empty()) copy_tokens(head.values, head.block_values, values_.data());
  }

  [[nodiscard]] std::size_t columns() const noexcept { return held_ + head_.tokens; }

  /// The rows, for a policy's vote. They refer to this object.
  [[nodiscard]] PromptRows rows() noexcept {
    return PromptRows(head_.tokens, columns(), this, [](void* self, std::size_t query, float* row) {
      return static_cast<PrefillAttention*>(self)->fused_row(query, row);
    });
  }

  /// Computes the outputs, if they are wanted. They do not depend on who asked for which row.
  Status finish_outputs() {
    if (head_.block_outputs == nullptr) return Status::ok;
    AlignedBuffer<float> queries(kernels::block_queries * query_.size());
    AlignedBuffer<float> outputs(queries.size());
    AlignedBuffer<float> workspace(kernels::block_attention_workspace(head_.head_dim));
    for (std::size_t begin = 0; begin < head_.tokens; begin += kernels::block_queries) {
      const std::size_t end = std::min(begin + kernels::block_queries, head_.tokens);
      const Status status =
          attend_queries(begin, end, queries.data(), outputs.data(), workspace.data());
      if (status != Status::ok) return status;
    }
    return Status::ok;
  }

 private:
  /// Tokens that are alive among the slots; they come first in keys_ and values_.
  [[nodiscard]] std::size_t live() const noexcept { return held_ - holes_; }

  void copy_tokens(const KvView<const T>& held, const E* block, T* out) const {
    const std::size_t dim = head_.head_dim;
    for (std::size_t slot = 0; slot < held_; ++slot) {
      if (head_.positions[slot] != no_position) {
        out = std::copy_n(held[slot], dim, out);
      }
    }
    for (std::size_t token = 0; token < head_.tokens; ++token) {
      kernels::convert(block + token * head_.key_stride, dim, out);
      out += dim;
    }
  }

  void load_query(std::size_t query, float* to) const noexcept {
    kernels::convert(head_.block_queries + query * head_.query_stride, query_.size(), to);
  }

  /// The outputs of the queries from `begin` to `end`.
  [[nodiscard]] Status attend_queries(std::size_t begin, std::size_t end, float* queries,
                                      float* outputs, float* workspace) noexcept {
    const std::size_t width = query_.size();
    for (std::size_t q = begin; q < end; ++q) load_query(q, queries + (q - begin) * width);
    const bool finite = kernels::block_attention<T>({.queries = queries,
                                                     .keys = keys_.data(),
                                                     .values = values_.data(),
                                                     .rows = end - begin,
                                                     .tokens = live() + end,
                                                     .group = head_.group,
                                                     .head_dim = head_.head_dim,
                                                     .stride = head_.head_dim,
                                                     .scale = head_.scale,
                                                     .outputs = outputs,
                                                     .workspace = workspace});
    if (!finite) return Status::bad_row;
    for (std::size_t q = begin; q < end; ++q) store_output(q, outputs + (q - begin) * width);
    return Status::ok;
  }

  [[nodiscard]] Status fused_row(std::size_t query, float* row) {
    load_query(query, query_.data());
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
                                                      .output = nullptr,
                                                      .row = row,
                                                      .log_sum_exp = nullptr});
    if (!finite) return Status::bad_row;
    spread(row, visible);
    return Status::ok;
  }

  /// From the tokens that are visible to all columns: 0 in holes and after the query.
  void spread(float* row, std::size_t visible) const noexcept {
    std::fill(row + visible + holes_, row + columns(), 0.0F);
    if (holes_ == 0) return;
    std::copy_backward(row + live(), row + visible, row + visible + holes_);
    std::size_t from = live();
    for (std::size_t slot = held_; slot-- > 0;) {
      row[slot] = head_.positions[slot] == no_position ? 0.0F : row[--from];
    }
  }

  void store_output(std::size_t query, const float* output) noexcept {
    kernels::convert(output, query_.size(), head_.block_outputs + query * head_.query_stride);
  }

  PrefillHead<T, E> head_;
  std::size_t held_;   ///< slots in use
  std::size_t holes_;  ///< those among them that no token is in
  AlignedBuffer<T> keys_;
  AlignedBuffer<T> values_;
  AlignedBuffer<float> weights_;
  AlignedBuffer<float> query_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_ATTENTION_PREFILL_HPP
