// SPDX-License-Identifier: Apache-2.0
/// \file
/// Heads that share one policy, and the cells of their tokens.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_UNIT_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_UNIT_HPP

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "llama_cpp/cell_table.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv::llama_cpp {

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

  /// The cells of the tokens that were evicted since the last call.
  void take_spare(std::vector<Cell>& cells) {
    cells.clear();
    cells.swap(spare_);
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
  std::vector<Cell> cells_;   ///< of every slot
  std::vector<Slot> slots_;   ///< of every cell
  std::vector<Cell> spare_;   ///< cells of evicted tokens
  std::vector<float> row_;    ///< work: a row in the order of slots
  std::vector<Slot> placed_;  ///< work: the slots of a block's tokens
  std::optional<typename Policy::Selection> selection_;
  Slot arriving_ = no_slot;
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_UNIT_HPP
