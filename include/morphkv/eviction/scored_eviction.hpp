// SPDX-License-Identifier: Apache-2.0
/// \file
/// A plan as a policy: an eviction head whose newest tokens can be taken back.
#ifndef MORPHKV_EVICTION_SCORED_EVICTION_HPP
#define MORPHKV_EVICTION_SCORED_EVICTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/byte_stream.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/eviction_head.hpp"
#include "morphkv/eviction/transfer.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The machine that every policy runs on: EvictionHead, with rollback.
///
/// With a history of D tokens, the newest tokens can be taken back as if they had never come: those
/// that came one by one since the newest block, up to D; and the newest block, if it has no more
/// than D tokens and no more than D came since it began, in whole or in part. For that it keeps the
/// state before them and their attention rows, and runs what remains again: a score knows nothing
/// of it. Memory: the head's state twice more, and D + 1 rows of 4 bytes per slot.
template <Score S>
class ScoredEviction : public EvictionHead<S> {
  using Head = EvictionHead<S>;
  static constexpr std::size_t max_history = 1U << 16U;

 public:
  using typename Head::Plan;

  struct Selection : BlockSelection {
    /// [tokens + 1]: the rows of a block that can be taken back, and the norms of its values.
    RowMatrix<float> block_rows;
  };

  explicit ScoredEviction(const Plan& plan, std::size_t history = 0) : Head(plan) {
    require(history <= max_history, "history", history, "at most " + std::to_string(max_history));
    require(history == 0 || plan.rules.schedule != Schedule::on_arrival ||
                plan.rules.slots == plan.rules.capacity,
            "history", history, "0 where heads share their slots");
    set_history(history);
  }

  void set_capacity(std::size_t capacity) {
    Head::set_capacity(capacity);
    set_history(history_);
  }

  void set_window(std::size_t window) {
    Head::set_window(window);
    set_history(history_);
  }

  [[nodiscard]] Placement place(Position position) noexcept {
    if (history_ > 0) {
      if (const Status status = this->can_place(position); status != Status::ok) {
        return {status, no_slot, no_position};
      }
      if (recorded() == history_) drop_oldest();
      tokens_[index_of(recorded())] = {position, false};
      ++steps_;
    }
    return Head::place(position);
  }

  Status observe(std::span<const float> row) noexcept {
    const Status status = Head::observe(row);
    if (status == Status::ok && steps_ > 0 && this->plan().rules.evicts()) {
      std::copy(row.begin(), row.end(), rows_.row(index_of(recorded() - 1)));
      tokens_[index_of(recorded() - 1)].has_row = true;
    }
    return status;
  }

  [[nodiscard]] Selection score_block(Position first, const PromptRows& rows) const {
    Selection selection;
    if (!can_record(rows.tokens())) {
      Head::score_block(first, rows, selection);
      return selection;
    }
    // Any part of the block may be committed again, so all of its queries leave their rows.
    selection.block_rows = RowMatrix<float>(rows.tokens() + 1, rows.columns());
    if (this->plan().rules.pins > 0)
      this->write_norms(rows, selection.block_rows.row(rows.tokens()));
    for (std::size_t query = 0; query < rows.tokens() && selection.status == Status::ok; ++query) {
      selection.status = rows.fused(query, selection.block_rows.row(query));
    }
    if (selection.status == Status::ok) {
      ComputedRows computed{&selection.block_rows, rows.columns()};
      Head::score_block(first, computed.view(rows.tokens()), selection);
    }
    return selection;
  }

  void commit(Selection& selection) noexcept {
    const std::size_t tokens = selection.columns.tokens;
    const std::size_t columns = selection.columns.size();
    first_ = steps_ = block_ = 0;
    if (can_record(tokens)) {
      for (std::size_t query = 0; query < tokens; ++query) {
        std::copy_n(selection.block_rows.row(query), columns, rows_.row(query));
      }
      std::copy_n(selection.block_rows.row(tokens), columns, rows_.row(history_));
      *before_ = *this;
      block_ = tokens;
      block_begin_ = selection.columns.first;
    }
    Head::commit(selection);
    if (history_ > 0) *base_ = *this;
  }

  /// How many tokens can be taken back now.
  [[nodiscard]] std::size_t recorded() const noexcept { return block_ + steps_; }

  /// Tokens that rollback(count) undoes, at least `count`: a block is undone whole.
  [[nodiscard]] std::size_t undone_by(std::size_t count) const noexcept {
    return count > steps_ ? recorded() : count;
  }

  /// Undoes the newest undone_by(count) tokens, and commits the first of them again, all but the
  /// newest `count`. The owner restores, newest first, the keys and values that the undone tokens
  /// had overwritten, and then writes those of the tokens that are committed again.
  /// \return the slots of the tokens that are committed again; no_slot where one is not kept. Valid
  ///         until the next call.
  /// \pre count <= recorded()
  /// It neither allocates nor throws. O(history x slots).
  std::span<const Slot> rollback(std::size_t count) noexcept {
    MORPHKV_ASSERT(count <= recorded());
    work_.of.slots.clear();
    if (count == 0) return work_.of.slots;
    Head& head = *this;
    if (count <= steps_) {
      head = *base_;
      steps_ -= count;
      for (std::size_t step = 0; step < steps_; ++step) replay(head, block_ + step);
      return work_.of.slots;
    }
    block_ = recorded() - count;
    steps_ = 0;
    head = *before_;
    if (block_ > 0) {
      ComputedRows rows{&rows_, this->size() + block_};
      Head::score_block(block_begin_, rows.view(block_), work_.of);
      const Status status = Head::select(work_.of);
      MORPHKV_ASSERT(status == Status::ok);  // fewer tokens fit where more did
      if (status == Status::ok) Head::commit(work_.of);
    }
    *base_ = head;
    return work_.of.slots;
  }

  /// Writes all that it knows, for restore(), the tokens that can be taken back among it. It
  /// allocates. O(bytes), and O(history x slots).
  void save(ByteWriter& out) const {
    const SavedPlan plan = saved_plan(this->plan());
    out.put_bytes(std::as_bytes(std::span(&plan, 1)));
    out.put(this->state_bytes().size());
    out.put_bytes(this->state_bytes());
    ByteWriter history;
    if (recorded() > 0) save_history(history);
    out.put(history.bytes().size());
    out.put_bytes(history.bytes());
  }

  /// Takes over what save() wrote. A head of an equal plan goes on bit for bit, and can take back
  /// the tokens that the other could, as many as its own history holds. One of another plan takes
  /// over the tokens that transfer() says, and can take none back.
  /// \return [size()]: the slot that each token had in the other head
  /// \throws std::invalid_argument if save() of such a policy did not write it, or what must stay
  ///         does not fit, and nothing but `in` has changed; std::bad_alloc
  std::vector<Slot> restore(ByteReader& in) {
    SavedPlan saved;
    in.take_into(std::span(&saved, 1));
    const Plan from_plan = plan_of(saved, this->plan());
    const std::size_t bytes = layout_of(from_plan).bytes;
    in.expect("size of the state", bytes);
    const std::span<const std::byte> state = in.take_bytes(bytes);
    const std::span<const std::byte> history = in.take_bytes(in.take());
    ScoredEviction next(*this);
    std::vector<Slot> sources;
    if (saved == saved_plan(this->plan())) {
      next.restore(state);
      sources.resize(next.size());
      std::iota(sources.begin(), sources.end(), Slot{0});
      if (history_ > 0 && !history.empty()) next.take_history(ByteReader(history));
    } else {
      Head from(from_plan);
      from.restore(state);
      Transfer transferred = transfer(from, this->plan());
      next.restore(transferred.state.span());
      sources = std::move(transferred.sources);
    }
    *this = std::move(next);
    return sources;
  }

  /// See EvictionHead::restore. No token can be taken back afterwards.
  void restore(std::span<const std::byte> state_bytes) {
    Head::restore(state_bytes);
    steps_ = block_ = 0;
    if (history_ > 0) *base_ = *this;
  }

  /// See EvictionHead::renumber. No token can be taken back afterwards.
  void renumber(Position newest) {
    Head::renumber(newest);
    steps_ = block_ = 0;
    if (history_ > 0) *base_ = *this;
  }

  void reset() noexcept {
    Head::reset();
    steps_ = block_ = 0;
    if (history_ > 0) *base_ = *this;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    MemoryUsage usage = Head::memory();
    if (history_ > 0) {
      usage.history = 2 * this->state_bytes().size() + rows_.bytes() +
                      tokens_.size() * sizeof(Token) + work_.of.bytes();
    }
    return usage;
  }

 private:
  /// A recorded token that came alone.
  struct Token {
    Position position = 0;
    bool has_row = false;
  };

  /// A block's rows, from rows that were computed before: the first ones of `from`. Its last row
  /// has the norms of the columns' values; each stands for a value of one dimension.
  struct ComputedRows {
    const RowMatrix<float>* from;
    std::size_t columns;

    [[nodiscard]] PromptRows view(std::size_t tokens) noexcept {
      const auto fused_row = [](void* self, std::size_t query, float* row) {
        const ComputedRows& rows = *static_cast<const ComputedRows*>(self);
        std::copy_n(rows.from->row(query), rows.columns, row);
        return Status::ok;
      };
      const auto norm_of = [](void* self, std::size_t column, float* norm) {
        const RowMatrix<float>& computed = *static_cast<const ComputedRows*>(self)->from;
        *norm = computed.row(computed.rows() - 1)[column];
      };
      return {tokens, columns, this, fused_row, 0, nullptr, 1, norm_of};
    }
  };

  /// A selection that never allocates, and neither do copies of it.
  struct ReservedSelection {
    BlockSelection of;

    ReservedSelection() = default;
    ReservedSelection(ReservedSelection&&) noexcept = default;
    ReservedSelection& operator=(ReservedSelection&&) noexcept = default;
    ReservedSelection(const ReservedSelection& other) {
      of.reserve(other.of.slots.capacity(), other.of.memory.size(), other.of.next.size());
    }
    ReservedSelection& operator=(const ReservedSelection& other) {
      if (of.bytes() != other.of.bytes()) *this = ReservedSelection(other);
      return *this;
    }
    ~ReservedSelection() = default;
  };

  /// The head before the tokens that can be taken back, and what came since.
  void save_history(ByteWriter& out) const {
    const auto put_row = [&](std::size_t row, std::size_t columns) {
      out.put_bytes(std::as_bytes(std::span(rows_.row(row), columns)));
    };
    out.put(block_);
    out.put(steps_);
    out.put_bytes((block_ > 0 ? before_ : base_)->state_bytes());
    if (block_ > 0) {
      const std::size_t columns = before_->size() + block_;
      out.put(static_cast<std::uint64_t>(block_begin_));
      for (std::size_t k = 0; k < block_; ++k) put_row(index_of(k), columns);
      if (this->plan().rules.pins > 0) put_row(history_, columns);
    }
    Head head = *base_;
    for (std::size_t k = block_; k < recorded(); ++k) {
      const Token& token = tokens_[index_of(k)];
      replay(head, k);
      out.put(static_cast<std::uint64_t>(token.position));
      out.put(token.has_row ? 1 : 0);
      if (token.has_row) put_row(index_of(k), head.size());
    }
  }

  /// Takes over the newest of what save_history() wrote, as many tokens as the history holds: of a
  /// block all or none. The tokens lead from the head before them to this one.
  void take_history(ByteReader in) {
    const auto check = [](bool valid) {
      require(valid, "history of the snapshot", "that of other tokens", "what leads to its state");
    };
    const std::size_t block = in.take_at_most("tokens of a block", max_history);
    const std::size_t steps = in.take_at_most("steps", max_history);
    std::size_t dropped = block + steps - (std::min)(block + steps, history_);
    if (dropped > 0) dropped = (std::max)(dropped, block);
    first_ = 0;
    Head head(*this);
    head.restore(in.take_bytes(this->state_bytes().size()));
    if (block > 0) {
      const auto begin = static_cast<Position>(in.take_at_most("position", max_position));
      const std::size_t columns = head.size() + block;
      const std::size_t norms = this->plan().rules.pins > 0 ? 1 : 0;
      ByteReader floats(in.take_bytes((block + norms) * columns * sizeof(float)));
      RowMatrix<float> rows(block + 1, columns);
      for (std::size_t row = 0; row < block + norms; ++row) {
        floats.take_into(std::span(rows.row(row), columns));
      }
      for (const float norm : std::span(rows.row(block), columns)) {
        check(norm >= 0 && std::isfinite(norm));
      }
      ComputedRows computed{&rows, columns};
      BlockSelection selection;
      head.score_block(begin, computed.view(block), selection);
      check(head.select(selection) == Status::ok);
      if (dropped == 0) {
        *before_ = head;
        block_ = block;
        block_begin_ = begin;
        for (std::size_t row = 0; row < block; ++row) {
          std::copy_n(rows.row(row), columns, rows_.row(row));
        }
        std::copy_n(rows.row(block), columns, rows_.row(history_));
      }
      head.commit(selection);
    }
    *base_ = head;
    std::vector<float> row;
    for (std::size_t k = block; k < block + steps; ++k) {
      const auto position = static_cast<Position>(in.take_at_most("position", max_position));
      const bool has_row = in.take_at_most("rows of a token", 1) != 0;
      check(head.place(position).status == Status::ok);
      row.resize(has_row ? head.size() : 0);
      in.take_into(std::span(row));
      if (has_row) check(this->plan().rules.evicts() && head.observe(row) == Status::ok);
      if (k < dropped) {
        *base_ = head;
        continue;
      }
      const std::size_t at = index_of(recorded());
      std::copy(row.begin(), row.end(), rows_.row(at));
      tokens_[at] = {position, has_row};
      ++steps_;
    }
    in.expect_end();
    check(std::ranges::equal(head.state_bytes(), this->state_bytes()));
  }

  /// Columns of the largest block that can be taken back.
  [[nodiscard]] std::size_t max_columns() const noexcept { return this->slots() + history_; }

  void set_history(std::size_t history) {
    history_ = history;
    if (history == 0) return;
    tokens_.resize(history);
    rows_ = RowMatrix<float>(history + 1, max_columns());
    work_.of.reserve(max_columns(), this->plan().score.memory().bytes(score_stride(max_columns())),
                     this->state_bytes().size());
    before_.emplace(*this);
    base_.emplace(*this);
  }

  [[nodiscard]] bool can_record(std::size_t tokens) const noexcept {
    return tokens > 0 && tokens <= history_;
  }

  /// Where the recorded token number `k`, counted from the oldest, is in tokens_ and rows_.
  [[nodiscard]] std::size_t index_of(std::size_t k) const noexcept {
    return (first_ + k) % history_;
  }

  /// Makes place for one more token.
  void drop_oldest() noexcept {
    const std::size_t dropped = block_ > 0 ? block_ : 1;
    if (block_ == 0) {  // else base_ is the state after the block already
      replay(*base_, 0);
      --steps_;
    }
    block_ = 0;
    first_ = index_of(dropped);
  }

  void replay(Head& head, std::size_t k) const noexcept {
    const Token& token = tokens_[index_of(k)];
    (void)head.place(token.position);
    if (token.has_row) (void)head.observe({rows_.row(index_of(k)), head.size()});
  }

  std::size_t history_ = 0;
  std::size_t first_ = 0;      ///< of the oldest recorded token; see index_of
  std::size_t block_ = 0;      ///< recorded tokens that came as one block; they are the oldest
  Position block_begin_ = 0;   ///< the position of the first of them
  std::size_t steps_ = 0;      ///< recorded tokens that came alone
  std::vector<Token> tokens_;  ///< [history]
  /// [history + 1]: rows of the recorded tokens, and the norms of the values of the block's columns
  RowMatrix<float> rows_;
  std::optional<Head> before_;  ///< the head before the block
  std::optional<Head> base_;    ///< the head before the first step
  ReservedSelection work_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_SCORED_EVICTION_HPP
