// SPDX-License-Identifier: Apache-2.0
/// \file
/// A decode step: the attention of one token, and the rows that policies observe.
#ifndef MORPHKV_ATTENTION_DECODE_HPP
#define MORPHKV_ATTENTION_DECODE_HPP

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/kernels/decode_attention.hpp"
#include "morphkv/kernels/portable/attention.hpp"
#include "morphkv/kernels/tiered_attention.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Working space of one token's attention over the KV heads of a layer, which all layers share.
/// Each head's attention leaves its row here, for the head's policy to observe.
///
/// A layer with voting readers has rows of its own: one of its own attention and one of each
/// reader, which are fused as if the readers' query heads were of its group.
///
/// Thread safety: different heads may attend at the same time.
class DecodeWorkspace {
 public:
  /// \param slots of the largest head
  /// \param more  numbers of the attention's own workspace, per head
  DecodeWorkspace(const CacheShape& shape, std::size_t slots, std::size_t more = 0)
      : group_(shape.group()),
        head_dim_(shape.head_dim),
        output_dim_(shape.output_dim()),
        output_begin_(aligned_stride<float>(group_ * head_dim_)),
        more_begin_(output_begin_ + aligned_stride<float>(group_ * output_dim_)),
        row_begin_(more_begin_ + aligned_stride<float>(more)),
        stride_(aligned_stride<float>(slots)),
        numbers_(shape.kv_heads * floats_per_head()),
        heads_(shape.kv_heads) {
    if (shape.readers == nullptr) return;
    std::size_t rows = 0;
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const std::size_t readers = shape.voting_readers(layer);
      ballots_.push_back({.first = rows, .readers = readers});
      if (readers > 0) rows += shape.kv_heads * (readers + 2);
    }
    votes_ = RowMatrix<float>(rows, slots);
  }

  /// Attention of a token over the slots in use. Leaves the row of `head` in `layer`.
  /// \param attention where the head's keys and values lie, logits and fusion; the rest is set
  ///                  here: a kernels::DecodeAttention or TieredAttention
  /// \param query  [group][head_dim]
  /// \param output [group][output_dim]
  /// \return wrong_size, out_of_step if no token was placed since the last row, or bad_row if a
  ///         weight is not finite; and `output` is untouched. The policy does not change.
  /// O(slots x group x head_dim); it neither allocates nor throws.
  template <class Attention, class E, EvictionPolicy Policy>
  Status attend(std::size_t layer, std::size_t head, Attention attention, const Policy& policy,
                std::span<const E> query, std::span<E> output) noexcept {
    Status& status = heads_[head].status;
    heads_[head] = {Status::wrong_size, layer};
    if (!fits(query, output)) return status;
    if (status = policy.can_observe(); status != Status::ok) return status;
    attention.row = awaits_votes(layer) ? vote(layer, head, 0) : row(head);
    if constexpr (requires { policy.prefetch_hints(); }) {
      attention.next = policy.prefetch_hints();
    }
    return status = compute(head, attention, policy, query, output);
  }

  /// The same for a token of another layer. Its row becomes a vote if `layer` waits for one; a row
  /// that lies here stays.
  /// \return wrong_size, out_of_step if the head holds no token, or bad_row; and `output` is
  ///         untouched
  template <class Attention, class E, EvictionPolicy Policy>
  Status read(std::size_t layer, std::size_t head, Attention attention, const Policy& policy,
              std::span<const E> query, std::span<E> output) noexcept {
    if (!fits(query, output)) return Status::wrong_size;
    if (policy.size() == 0) return Status::out_of_step;
    // A token that is evicted already may lie in a slot until the next one comes.
    const std::span<const Position> positions = policy.positions();
    attention.hidden = static_cast<std::size_t>(
        std::find(positions.begin(), positions.end(), no_position) - positions.begin());
    if (is_open(layer)) attention.row = vote(layer, head, ballots_[layer].votes);
    return compute(head, attention, policy, query, output);
  }

  /// ok if every head holds a row of `layer` that was not observed, else what keeps one from it.
  [[nodiscard]] Status check_rows(std::size_t layer) const noexcept {
    for (const Head& head : heads_) {
      if (head.status != Status::ok) return head.status;
      if (head.layer != layer) return Status::out_of_step;
    }
    return Status::ok;
  }
  /// Whether a layer's rows wait for those of readers before they are observed.
  [[nodiscard]] bool awaits_votes(std::size_t layer) const noexcept {
    return !ballots_.empty() && ballots_[layer].readers > 0;
  }
  /// The layer's own rows are complete. \pre awaits_votes(layer)
  void open_votes(std::size_t layer) noexcept {
    discard(layer);
    ballots_[layer].votes = 1;
  }
  /// A reader has read with all heads. \return whether it was the last one that votes: fused_row()
  /// is to be observed then
  [[nodiscard]] bool count_vote(std::size_t layer) noexcept {
    return is_open(layer) && ++ballots_[layer].votes > ballots_[layer].readers;
  }
  /// The rows of a layer and its readers as one, of `slots` weights.
  [[nodiscard]] float* fused_row(std::size_t layer, std::size_t head, std::size_t slots,
                                 GroupFusion fusion) noexcept {
    const std::size_t rows = ballots_[layer].readers + 1;
    kernels::portable::fuse_group(vote(layer, head, 0), votes_.stride(), slots, rows, fusion,
                                  vote(layer, head, rows));
    return vote(layer, head, rows);
  }
  /// One weight per slot in use.
  [[nodiscard]] float* row(std::size_t head) noexcept { return begin(head) + row_begin_; }
  /// head_dim + output_dim numbers, free between steps.
  [[nodiscard]] float* spare(std::size_t head) noexcept { return begin(head); }

  /// Discards the rows of a layer: a new token has come to it, or they were observed.
  void discard(std::size_t layer) noexcept {
    for (Head& head : heads_) {
      if (head.layer == layer) head = {};
    }
    if (!ballots_.empty()) ballots_[layer].votes = 0;
  }
  void discard() noexcept {
    heads_.assign(heads_.size(), {});
    for (Ballot& ballot : ballots_) ballot.votes = 0;
  }

  [[nodiscard]] std::size_t bytes() const noexcept { return numbers_.bytes() + votes_.bytes(); }

 private:
  struct Head {
    Status status = Status::out_of_step;
    std::size_t layer = 0;
  };

  /// The rows of a layer with readers.
  struct Ballot {
    std::size_t first = 0;    ///< row of votes_
    std::size_t readers = 0;  ///< that vote
    std::size_t votes = 0;    ///< rows so far, the layer's own among them; 0: none is waited for
  };

  [[nodiscard]] bool is_open(std::size_t layer) const noexcept {
    return !ballots_.empty() && ballots_[layer].votes > 0;
  }
  [[nodiscard]] float* vote(std::size_t layer, std::size_t head, std::size_t index) noexcept {
    const Ballot& ballot = ballots_[layer];
    return votes_.row(ballot.first + head * (ballot.readers + 2) + index);
  }

  template <class E>
  [[nodiscard]] bool fits(std::span<const E> query, std::span<E> output) const noexcept {
    return query.size() == group_ * head_dim_ && output.size() == group_ * output_dim_;
  }

  template <class Attention, class E, EvictionPolicy Policy>
  Status compute(std::size_t head, Attention attention, const Policy& policy,
                 std::span<const E> query, std::span<E> output) noexcept {
    kernels::convert(query.data(), query.size(), begin(head));
    attention.query = begin(head);
    attention.tokens = policy.size();
    attention.group = group_;
    attention.head_dim = head_dim_;
    attention.value_dim = output_dim_;
    attention.positions = policy.positions().data();
    attention.query_position = policy.newest();
    attention.weights = row(head) + stride_;
    attention.weight_stride = stride_;
    attention.output = begin(head) + output_begin_;
    if constexpr (requires { attention.workspace; }) {
      attention.workspace = begin(head) + more_begin_;
    }
    if (!kernels::decode_attention(attention)) return Status::bad_row;
    kernels::convert(attention.output, output.size(), output.data());
    return Status::ok;
  }

  [[nodiscard]] std::size_t floats_per_head() const noexcept {
    return row_begin_ + (group_ + 1) * stride_;
  }
  [[nodiscard]] float* begin(std::size_t head) noexcept {
    return numbers_.data() + head * floats_per_head();
  }

  std::size_t group_;
  std::size_t head_dim_;
  std::size_t output_dim_;
  std::size_t output_begin_;  ///< of a head's numbers
  std::size_t more_begin_;    ///< likewise
  std::size_t row_begin_;     ///< likewise
  std::size_t stride_;        ///< of a row
  /// Per head: query, output, the attention's own workspace, the row, the group's weights.
  AlignedBuffer<float> numbers_;
  std::vector<Head> heads_;
  std::vector<Ballot> ballots_;  ///< [layers], or empty
  RowMatrix<float> votes_;       ///< of each head of these layers: its own, the readers', and all
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_ATTENTION_DECODE_HPP
