// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of tokens: a prompt, a chunk of one, or a later turn.
#ifndef MORPHKV_ATTENTION_PREFILL_HPP
#define MORPHKV_ATTENTION_PREFILL_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "morphkv/attention/block_mask.hpp"
#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/block_attention.hpp"
#include "morphkv/kernels/convert.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// What one KV head holds, and the part of a block that belongs to it. Nothing is owned. Elements
/// of the block's token t begin at t * stride.
///
/// Rows is a view of what is held, a KvView or a TieredView.
template <Storable T, ElementOf<T> E, class Rows = KvView<const T>>
struct PrefillHead {
  std::span<const Position> positions;  ///< of the slots in use
  Rows keys;                            ///< [slots]
  Rows values;                          ///< [slots]
  std::size_t tokens = 0;               ///< of the block
  const E* block_queries = nullptr;     ///< [tokens], [group][head_dim] each
  const E* block_keys = nullptr;        ///< [tokens], [head_dim] each
  const E* block_values = nullptr;      ///< [tokens], [output_dim()] each
  E* block_outputs = nullptr;           ///< [tokens], [group][output_dim()] each, or null for none
  /// [tokens], [group] each, or null: what the engine's own attention kernel returned for the same
  /// queries over all that they see, the slots included; see BlockAttention::known_log_sum_exp.
  /// Used where no outputs are asked for.
  const float* block_log_sum_exp = nullptr;
  std::size_t log_sum_exp_stride = 0;
  std::size_t query_stride = 0;
  std::size_t key_stride = 0;
  std::size_t value_stride = 0;   ///< 0: key_stride
  std::size_t output_stride = 0;  ///< 0: query_stride
  std::size_t group = 1;
  std::size_t head_dim = 1;         ///< of queries and keys
  std::size_t value_dim = 0;        ///< of values and outputs; 0: head_dim
  std::size_t window = 0;           ///< newest tokens that a query sees, its own among them; 0: all
  Position first_position = 0;      ///< of the block; read only where logits have slopes
  const BlockMask* mask = nullptr;  ///< of the block; null: causal
  /// Of stored numbers: keys and values of E4M3 are to be multiplied by them, else they are 1.
  float key_scale = 1;
  float value_scale = 1;
  Logits logits{};  ///< of products with stored keys
  GroupFusion fusion = GroupFusion::max;

  [[nodiscard]] std::size_t output_dim() const noexcept {
    return value_dim == 0 ? head_dim : value_dim;
  }
};

/// Attention of the block over what the head holds and, causally or as a mask says, over itself.
/// Keys and values are rounded to the cache's type first, so that a token sees what later tokens
/// will see.
///
/// Rows are computed when a policy asks for them, some queries at a time, and the outputs of these
/// queries with them. So each query meets the keys once. For engines with an
/// attention kernel of their own, rows() is the way to a policy: from queries, keys and the
/// kernel's log-sum-exp, without values and outputs.
///
/// Memory: a copy of the head's keys and of the block's, and of the values where outputs are
/// asked for; for rows 320 to 512 bytes per column. Complexity: O(slots + tokens) x head_dim x
/// group per query. Thread safety: none.
template <Storable T, ElementOf<T> E, class Held = KvView<const T>>
class PrefillAttention {
  static constexpr bool is_tiered = !std::same_as<Held, KvView<const T>>;
  /// What keys and values are copied to: what is stored, the numbers of its blocks or tiers, or
  /// those of E4M3, of which half holds each.
  using Computed = std::conditional_t<Quantised<T> || is_tiered, float,
                                      std::conditional_t<std::same_as<T, E4M3>, Eigen::half, T>>;

 public:
  explicit PrefillAttention(const PrefillHead<T, E, Held>& head)
      : head_(head),
        held_(head.positions.size()),
        live_(live_slots(head)),
        keys_((held_ + head.tokens) * head.head_dim),
        values_(head.block_outputs == nullptr ? 0 : (held_ + head.tokens) * head.output_dim()),
        rounded_(row_size<T>(std::max(head.head_dim, head.output_dim()))),
        at_once_(kernels::queries_at_once(head.group)),
        queries_(at_once_ * head.group * head.head_dim),
        outputs_(head.block_outputs == nullptr ? 0 : at_once_ * head.group * head.output_dim()),
        known_(head.block_log_sum_exp == nullptr ? 0 : at_once_ * head.group),
        positions_(head.logits.slopes == nullptr ? 0 : live_.size() + head.tokens),
        visible_(head.mask == nullptr ? 0 : (held_ + head.tokens) * ((at_once_ + 63) / 64)) {
    if (head.logits.slopes != nullptr) set_positions();
    copy_tokens(keys(), keys_.data());
    if (!values_.span().empty()) copy_tokens(values(), values_.data());
  }

  [[nodiscard]] std::size_t columns() const noexcept { return held_ + head_.tokens; }

  /// The rows, for a policy to score. They refer to this object. In ascending order, as policies
  /// ask for them, each is computed once. The first one allocates.
  [[nodiscard]] PromptRows rows() noexcept {
    using Self = PrefillAttention;
    return PromptRows(
        head_.tokens, columns(), this,
        [](void* self, std::size_t query, float* row) {
          return static_cast<Self*>(self)->fused_row(query, row);
        },
        head_.head_dim,
        [](void* self, std::size_t column, float* key) {
          auto& attention = *static_cast<Self*>(self);
          attention.write_stored(attention.keys(), column, key);
        },
        head_.output_dim(),
        [](void* self, std::size_t column, float* value) {
          auto& attention = *static_cast<Self*>(self);
          attention.write_stored(attention.values(), column, value);
        });
  }

  /// Computes the outputs that did not come with rows. Their bits do not depend on
  /// who asked for which row.
  Status finish_outputs() {
    if (head_.block_outputs == nullptr) return Status::ok;
    if (workspace_.span().empty()) {
      workspace_ = AlignedBuffer<float>(
          kernels::block_attention_workspace(head_.head_dim, 0, head_.value_dim));
    }
    Status status = Status::ok;
    for (std::size_t begin = 0; begin < done_begin_ && status == Status::ok;) {
      const std::size_t end = std::min(begin + at_once_, done_begin_);
      status = attend(begin, end, nullptr);
      begin = end;
    }
    while (done_end_ < head_.tokens && status == Status::ok) {
      const std::size_t begin = done_end_;
      done_end_ = std::min(begin + at_once_, head_.tokens);
      status = attend(begin, done_end_, nullptr);
    }
    return status;
  }

 private:
  /// Slots with a token, in the order in which they come in keys_ and values_: by position where a
  /// window cuts the oldest, else in theirs.
  [[nodiscard]] static std::vector<Slot> live_slots(const PrefillHead<T, E, Held>& head) {
    std::vector<Slot> slots;
    for (Slot slot = 0; slot < head.positions.size(); ++slot) {
      if (head.positions[slot] != no_position) slots.push_back(slot);
    }
    if (head.window > 0) {
      std::sort(slots.begin(), slots.end(),
                [&](Slot a, Slot b) { return head.positions[a] < head.positions[b]; });
    }
    return slots;
  }

  /// Keys, or values: of the slots, and of the block.
  struct Rows {
    Held held;
    const E* block;
    std::size_t stride;
    std::size_t dim;
    float scale;
  };
  [[nodiscard]] Rows keys() const noexcept {
    return {head_.keys, head_.block_keys, head_.key_stride, head_.head_dim, head_.key_scale};
  }
  [[nodiscard]] Rows values() const noexcept {
    const std::size_t stride = head_.value_stride == 0 ? head_.key_stride : head_.value_stride;
    return {head_.values, head_.block_values, stride, head_.output_dim(), head_.value_scale};
  }

  /// The numbers of a column: of a slot, or of a token of the block as the cache will store it.
  void write_stored(const Rows& rows, std::size_t column, float* to) noexcept {
    const auto load = [&](const auto* row) noexcept {
      kernels::load_row(row, rows.dim, rows.scale, to);
    };
    if (column < held_) return with_held(rows, column, load);
    kernels::store_row(rows.block + (column - held_) * rows.stride, rows.dim, rows.scale,
                       rounded_.data());
    load(rounded_.data());
  }

  /// Calls use(row) with what a slot holds.
  template <class Use>
  static void with_held(const Rows& rows, std::size_t slot, const Use& use) noexcept {
    if constexpr (is_tiered) {
      rows.held.with_row(slot, use);
    } else {
      use(rows.held[slot]);
    }
  }

  void copy_tokens(const Rows& rows, Computed* out) {
    for (const Slot slot : live_) {
      with_held(rows, slot,
                [&](const auto* row) noexcept { kernels::convert(row, rows.dim, out); });
      out += rows.dim;
    }
    for (std::size_t token = 0; token < head_.tokens; ++token) {
      const E* from = rows.block + token * rows.stride;
      if constexpr (std::same_as<Computed, T>) {
        kernels::convert(from, rows.dim, out);
      } else {
        kernels::store_row(from, rows.dim, rows.scale, rounded_.data());
        kernels::convert(rounded_.data(), rows.dim, out);
      }
      out += rows.dim;
    }
  }

  /// Positions of the columns less that of the block's first token.
  void set_positions() noexcept {
    float* to = positions_.data();
    for (const Slot slot : live_) {
      *to++ = static_cast<float>(head_.positions[slot] - head_.first_position);
    }
    for (std::size_t t = 0; t < head_.tokens; ++t) {
      *to++ = static_cast<float>(head_.mask == nullptr ? t : head_.mask->depth(t));
    }
  }

  /// Tokens of the block that the queries before `end` see.
  [[nodiscard]] std::size_t seen_by(std::size_t end) const noexcept {
    return head_.mask == nullptr ? end : head_.mask->seen_end(end);
  }
  /// Writes the mask of the queries from `begin` to `end`. \return the column that it begins at
  std::size_t set_mask(std::size_t begin, std::size_t end) noexcept {
    const std::size_t held = live_.size();
    const std::size_t words = (end - begin + 63) / 64;
    const std::size_t from = head_.mask->masked_from(begin, held, head_.window);
    std::uint64_t* bits = visible_.data();
    for (std::size_t column = from; column < held + seen_by(end); ++column, bits += words) {
      std::fill_n(bits, words, std::uint64_t{0});
      for (std::size_t r = 0; r < end - begin; ++r) {
        const bool seen = head_.mask->sees(begin + r, column, held, head_.window);
        bits[r / 64] |= static_cast<std::uint64_t>(seen) << r % 64;
      }
    }
    return from;
  }

  /// Attention of the queries from `begin` to `end`: their outputs if there are any, and their rows
  /// over the tokens that the last one sees, if `rows` is not null.
  [[nodiscard]] Status attend(std::size_t begin, std::size_t end, float* rows) noexcept {
    const std::size_t width = head_.group * head_.head_dim;
    const std::size_t output_width = head_.group * head_.output_dim();
    for (std::size_t q = begin; q < end; ++q) {
      kernels::convert(head_.block_queries + q * head_.query_stride, width,
                       queries_.data() + (q - begin) * width);
    }
    const float* known = head_.block_log_sum_exp;
    for (std::size_t q = begin; known != nullptr && q < end; ++q) {
      std::copy_n(known + q * head_.log_sum_exp_stride, head_.group,
                  known_.data() + (q - begin) * head_.group);
    }
    const bool outputs = head_.block_outputs != nullptr;
    const bool finite = kernels::block_attention<Computed>(
        {.queries = queries_.data(),
         .keys = keys_.data(),
         .values = values_.data(),
         .rows = end - begin,
         .after = seen_by(end) - end,
         .tokens = live_.size() + seen_by(end),
         .window = head_.window,
         .visible = head_.mask == nullptr ? nullptr : visible_.data(),
         .masked_from = head_.mask == nullptr ? 0 : set_mask(begin, end),
         .group = head_.group,
         .head_dim = head_.head_dim,
         .value_dim = head_.output_dim(),
         .stride = head_.head_dim,
         .value_stride = head_.output_dim(),
         .logits = head_.logits,
         .value_scale = head_.value_scale,
         .positions = positions_.data(),
         .fusion = head_.fusion,
         .known_log_sum_exp = known == nullptr ? nullptr : known_.data(),
         .outputs = outputs ? outputs_.data() : nullptr,
         .log_sum_exp = nullptr,
         .fused_rows = rows,
         .row_stride = columns(),
         .workspace = workspace_.data()});
    if (!finite) return Status::bad_row;
    for (std::size_t q = begin; outputs && q < end; ++q) {
      const std::size_t stride =
          head_.output_stride == 0 ? head_.query_stride : head_.output_stride;
      kernels::convert(outputs_.data() + (q - begin) * output_width, output_width,
                       head_.block_outputs + q * stride);
    }
    return Status::ok;
  }

  [[nodiscard]] Status fused_row(std::size_t query, float* row) {
    if (rows_.span().empty()) {
      rows_ = AlignedBuffer<float>(at_once_ * columns());
      workspace_ = AlignedBuffer<float>(
          kernels::block_attention_workspace(head_.head_dim, columns(), head_.value_dim));
    }
    if (query < rows_begin_ || query >= rows_end_) {
      const std::size_t end = std::min(query + at_once_, head_.tokens);
      const Status status = attend(query, end, rows_.data());
      rows_begin_ = query;
      rows_end_ = status == Status::ok ? end : query;
      if (status != Status::ok) return status;
      if (query != done_end_) done_begin_ = query;
      done_end_ = end;
    }
    // From the tokens that are visible to all columns: 0 in holes and after what the query sees.
    const float* weights = rows_.data() + (query - rows_begin_) * columns();
    if (head_.window == 0 && live_.size() == held_) {
      std::copy_n(weights, held_, row);
    } else {
      std::fill_n(row, held_, 0.0F);
      for (std::size_t i = 0; i < live_.size(); ++i) row[live_[i]] = weights[i];
    }
    const std::size_t seen = head_.mask == nullptr ? query + 1 : seen_by(rows_end_);
    std::copy_n(weights + live_.size(), seen, row + held_);
    std::fill(row + held_ + seen, row + columns(), 0.0F);
    return Status::ok;
  }

  PrefillHead<T, E, Held> head_;
  std::size_t held_;        ///< slots in use
  std::vector<Slot> live_;  ///< those among them that a token is in, see live_slots
  AlignedBuffer<Computed> keys_;
  AlignedBuffer<Computed> values_;
  std::vector<T> rounded_;                ///< a row as the cache stores it
  std::size_t at_once_;                   ///< queries that are attended in one call
  AlignedBuffer<float> queries_;          ///< of the queries that are attended at once
  AlignedBuffer<float> outputs_;          ///< theirs
  AlignedBuffer<float> known_;            ///< and their log-sum-exp, where the engine gave it
  AlignedBuffer<float> positions_;        ///< of the visible columns, where logits have slopes
  AlignedBuffer<std::uint64_t> visible_;  ///< the mask of the queries that are attended at once
  AlignedBuffer<float> rows_;  ///< [at_once_][columns], of the queries from rows_begin_ on
  AlignedBuffer<float> workspace_;
  std::size_t rows_begin_ = 0;
  std::size_t rows_end_ = 0;
  std::size_t done_begin_ = 0;  ///< of the queries whose outputs have been computed
  std::size_t done_end_ = 0;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_ATTENTION_PREFILL_HPP
