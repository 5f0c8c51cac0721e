// SPDX-License-Identifier: Apache-2.0
/// \file
/// Heads that share one policy, and the cells of their tokens.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_UNIT_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_UNIT_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "llama_cpp/cell_table.hpp"
#include "morphkv/attention/prefill.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv::llama_cpp {

/// Tokens that there is room for where each of them evicts one.
inline constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

/// A policy whose state is plain memory, as that of every policy on the library's machine.
template <class Policy>
concept HasState = requires(const Policy& policy) {
  { policy.state_bytes() } -> std::same_as<std::span<const std::byte>>;
};

/// What one KV head attends with: the queries of a block, and the keys and values of all cells.
template <Scalar T>
struct HeadInputs {
  const float* queries = nullptr;  ///< of the block's tokens: [group][head_dim] each
  std::size_t query_stride = 0;    ///< between tokens
  const T* keys = nullptr;         ///< of every cell: [head_dim] each
  const T* values = nullptr;       ///< likewise
  std::size_t key_stride = 0;      ///< between cells, of keys and of values
  std::size_t group = 1;
  std::size_t head_dim = 0;
  float scale = 1;
  GroupFusion fusion = GroupFusion::max;
};

/// A policy numbers its own slots; this maps slots to cells, and attention rows back.
///
/// A token goes through `place`, `settle` and `observe`, a block through `score_block`, `select`
/// and `commit`. `place`, `observe` and `commit` evict tokens: take_spare() returns their cells.
///
/// Thread safety: none; units are independent of each other.
template <EvictionPolicy Policy>
class Unit {
 public:
  /// \param cells of the cache
  Unit(const typename Policy::Options& options, std::size_t index, std::size_t cells)
      : policy_(options, index),
        cells_(policy_.slots(), no_cell),
        slots_(cells, no_slot),
        row_(policy_.slots()) {}

  [[nodiscard]] const Policy& policy() const noexcept { return policy_; }
  /// The cell of a slot in use; no_cell where no token is.
  [[nodiscard]] Cell cell(Slot slot) const noexcept { return cells_[slot]; }

  /// The policy's state as plain memory. \pre no token is being placed
  [[nodiscard]] std::span<const std::byte> state() const noexcept requires HasState<Policy> {
    return policy_.state_bytes();
  }
  /// Takes over such a state. \param cells of every slot
  /// \throws std::invalid_argument if it is that of other options.
  void restore(std::span<const std::byte> state,
               const std::vector<Cell>& cells) requires HasState<Policy> {
    const bool fits =
        cells.size() == cells_.size() && std::all_of(cells.begin(), cells.end(), [&](Cell cell) {
          return cell == no_cell || cell < slots_.size();
        });
    if (!fits) throw std::invalid_argument("the state is that of a policy with other options");
    policy_.restore(state);
    std::fill(slots_.begin(), slots_.end(), no_slot);
    cells_ = cells;
    for (std::size_t slot = 0; slot < cells.size(); ++slot) {
      if (cells[slot] != no_cell) slots_[cells[slot]] = static_cast<Slot>(slot);
    }
  }

  /// The cells of the tokens that were evicted since the last call.
  void take_spare(std::vector<Cell>& cells) {
    cells.clear();
    cells.swap(spare_);
  }

  /// Tokens that can come until the policy is full.
  [[nodiscard]] std::size_t room() const noexcept {
    const EvictionRules& rules = policy_.plan().rules;
    const bool cuts_prompt = rules.schedule == Schedule::after_prompt && policy_.size() == 0;
    return rules.evicts() || cuts_prompt ? unlimited : policy_.slots() - policy_.size();
  }

  /// Chooses the slot of the token at `position`, which is decoded next.
  Status place(Position position) {
    const Placement placement = policy_.place(position);
    if (placement.status != Status::ok) return placement.status;
    arriving_ = placement.slot;
    retire(arriving_);
    return Status::ok;
  }

  /// The token that was placed lies in `cell`.
  void settle(Cell cell) { assign(arriving_, cell); }

  /// The attention of the token that was placed. \param weights [cells]
  Status observe(const float* weights) {
    const std::size_t size = policy_.size();
    fill_row(weights, row_.data());
    const Status status = policy_.observe(std::span<const float>(row_).first(size));
    if (status == Status::ok) retire_dropped(size);
    return status;
  }

  /// Scores a block of tokens from its attention rows.
  /// \param block the cells of its tokens
  /// \param rows  [tokens][columns]: one weight per cell
  Status score_block(Position first, std::span<const Cell> block, const float* rows,
                     std::size_t columns) {
    BlockRows source{this, block, rows, columns};
    selection_.emplace(policy_.score_block(
        first,
        PromptRows(block.size(), policy_.size() + block.size(), &source, &BlockRows::fused_row)));
    return selection_->status;
  }

  /// The same two from queries and keys, where an engine's attention returns no weights.
  template <Scalar T>
  Status observe(const HeadInputs<T>& inputs) {
    const auto all = policy_.positions();
    held_.assign(all.begin(), all.end());
    held_[arriving_] = no_position;  // it is the block
    const Cell cell = cells_[arriving_];
    PrefillAttention<T, float> attention(head_of(inputs, {&cell, 1}, held_));
    work_.resize(attention.columns());
    const PromptRows rows = attention.rows();
    if (const Status status = rows.fused(0, work_.data()); status != Status::ok) return status;
    work_[arriving_] = work_[held_.size()];
    const std::size_t size = policy_.size();
    const Status status = policy_.observe(std::span<const float>(work_).first(size));
    if (status == Status::ok) retire_dropped(size);
    return status;
  }
  template <Scalar T>
  Status score_block(Position first, std::span<const Cell> block, const HeadInputs<T>& inputs) {
    PrefillAttention<T, float> attention(head_of(inputs, block, policy_.positions()));
    selection_.emplace(policy_.score_block(first, attention.rows()));
    return selection_->status;
  }

  /// Selects what is kept of the block that was scored, and of the tokens before it.
  Status select() { return policy_.select(*selection_); }

  /// Applies the selection. \pre select() == Status::ok
  void commit(std::span<const Cell> block) {
    placed_ = selection_->slots;
    policy_.commit(*selection_);
    selection_.reset();
    for (std::size_t token = 0; token < block.size(); ++token) {
      if (placed_[token] == no_slot) {
        spare_.push_back(block[token]);
      } else {
        retire(placed_[token]);
        assign(placed_[token], block[token]);
      }
    }
    retire_dropped(cells_.size());
  }

  /// Its token in `from` has been copied to `to`.
  void move(Cell from, Cell to) {
    const Slot slot = slots_[from];
    slots_[from] = no_slot;
    assign(slot, to);
  }

 private:
  /// \param held the positions of the slots whose keys are seen
  template <Scalar T>
  [[nodiscard]] PrefillHead<T, float> head_of(const HeadInputs<T>& inputs,
                                              std::span<const Cell> block,
                                              std::span<const Position> held) {
    pages_.resize(cells_.size());
    for (std::size_t slot = 0; slot < cells_.size(); ++slot) {
      pages_[slot] = static_cast<std::int32_t>(cells_[slot]);
    }
    copy_block(inputs.keys, inputs, block, block_keys_);
    copy_block(inputs.values, inputs, block, block_values_);
    const auto view = [&](const T* numbers) {
      return KvView<const T>{.data = numbers,
                             .stride = inputs.key_stride,
                             .pages = pages_.data(),
                             .page_rows = 1,
                             .page_stride = inputs.key_stride};
    };
    return {.positions = held,
            .keys = view(inputs.keys),
            .values = view(inputs.values),
            .tokens = block.size(),
            .block_queries = inputs.queries,
            .block_keys = block_keys_.data(),
            .block_values = block_values_.data(),
            .query_stride = inputs.query_stride,
            .key_stride = inputs.head_dim,
            .group = inputs.group,
            .head_dim = inputs.head_dim,
            .logits = {.scale = inputs.scale},
            .fusion = inputs.fusion};
  }

  template <Scalar T>
  static void copy_block(const T* numbers, const HeadInputs<T>& inputs, std::span<const Cell> block,
                         std::vector<float>& out) {
    out.resize(block.size() * inputs.head_dim);
    for (std::size_t token = 0; token < block.size(); ++token) {
      const T* row = numbers + block[token] * inputs.key_stride;
      std::transform(row, row + inputs.head_dim, &out[token * inputs.head_dim],
                     [](T number) { return static_cast<float>(number); });
    }
  }

  /// A block's rows in the order of a policy's columns.
  struct BlockRows {
    const Unit* unit;
    std::span<const Cell> block;
    const float* rows;
    std::size_t columns;

    static Status fused_row(void* context, std::size_t query, float* row) {
      const auto& self = *static_cast<const BlockRows*>(context);
      const float* weights = self.rows + query * self.columns;
      self.unit->fill_row(weights, row);
      float* own = row + self.unit->policy_.size();
      for (std::size_t token = 0; token < self.block.size(); ++token) {
        own[token] = weights[self.block[token]];
      }
      return Status::ok;
    }
  };

  /// From cells to slots in use; 0 where no token is.
  void fill_row(const float* weights, float* row) const noexcept {
    for (std::size_t slot = 0; slot < policy_.size(); ++slot) {
      row[slot] = cells_[slot] == no_cell ? 0.0F : weights[cells_[slot]];
    }
  }

  void assign(Slot slot, Cell cell) noexcept {
    cells_[slot] = cell;
    slots_[cell] = slot;
  }

  /// The token in the cell of `slot` is evicted.
  void retire(Slot slot) {
    const Cell cell = cells_[slot];
    if (cell == no_cell) return;
    spare_.push_back(cell);
    cells_[slot] = no_cell;
    slots_[cell] = no_slot;
  }

  /// Retires those of the first `count` slots that the policy has emptied.
  void retire_dropped(std::size_t count) {
    const auto positions = policy_.positions();
    for (Slot slot = 0; slot < count; ++slot) {
      if (slot >= positions.size() || positions[slot] == no_position) retire(slot);
    }
  }

  Policy policy_;
  std::vector<Cell> cells_;          ///< of every slot
  std::vector<Slot> slots_;          ///< of every cell
  std::vector<Cell> spare_;          ///< cells of evicted tokens
  std::vector<float> row_;           ///< work: a row in the order of slots
  std::vector<float> work_;          ///< work: a row, and the weight of the token itself
  std::vector<float> block_keys_;    ///< work: of a block
  std::vector<float> block_values_;  ///< work: of a block
  std::vector<std::int32_t> pages_;  ///< work: the cell of every slot
  std::vector<Position> held_;       ///< work: of every slot but one
  std::vector<Slot> placed_;         ///< work: the slots of a block's tokens
  std::optional<typename Policy::Selection> selection_;
  Slot arriving_ = no_slot;
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_UNIT_HPP
