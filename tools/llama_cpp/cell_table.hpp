// SPDX-License-Identifier: Apache-2.0
/// \file
/// The cells of llama.cpp's cache: which are in use, and which to free when several units have each
/// lost tokens.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_CELL_TABLE_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_CELL_TABLE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "morphkv/core/types.hpp"

namespace morphkv::llama_cpp {

/// A cell of llama.cpp's cache, which all layers and heads share; each of them keeps a token of its
/// own there.
using Cell = std::uint32_t;
inline constexpr Cell no_cell = std::numeric_limits<Cell>::max();

/// What a unit (the heads that decide together) keeps in `from` is to be copied over `to`, which
/// holds no token that it keeps: `from` is freed.
struct CellCopy {
  std::size_t unit = 0;
  Cell from = no_cell;
  Cell to = no_cell;
};

struct Release {
  std::vector<CellCopy> copies;     ///< first these, in any order
  std::vector<Position> positions;  ///< then the cells of these positions are removed
};

/// llama.cpp identifies a cell by the position of the token that it wrote there; the cell is in use
/// until that position is removed. After a unit has copied another token into it, the position is
/// only a name: attention reads what is in the cell, and keys were rotated when they were
/// written.
///
/// Thread safety: none. It allocates when more is released than ever before.
class CellTable {
 public:
  explicit CellTable(std::size_t cells)
      : positions_(cells, no_position), spared_(cells), is_chosen_(cells), is_spare_(cells) {}

  /// llama.cpp has written the token at `position` to `cell`.
  /// \throws std::logic_error if the cell is in use, because the two tables then disagree.
  void occupy(Cell cell, Position position) {
    if (cell >= positions_.size() || positions_[cell] != no_position) {
      throw std::logic_error("llama.cpp wrote to cell " + std::to_string(cell) +
                             ", which is in use or out of range");
    }
    positions_[cell] = position;
    ++in_use_;
    if (newest_ == no_cell || position > positions_[newest_]) newest_ = cell;
  }

  /// Frees as many cells as each unit can spare, and those that most units can spare. Another
  /// unit keeps a token there, which it copies to a cell that it can spare itself.
  ///
  /// llama.cpp continues a sequence only after the newest position that it has, so that cell is
  /// kept unless all of them are freed. \param spare [units]: cells in use, of the same number for
  /// all units O(units x cells freed), and O(cells) in the rare case that the newest cell alone is
  /// spared.
  [[nodiscard]] Release release(std::span<const std::vector<Cell>> spare) {
    Release result;
    const std::size_t count = spare.front().size();
    for (const std::vector<Cell>& cells : spare) {
      if (cells.size() != count) throw std::logic_error("units hold different numbers of tokens");
    }
    if (count == 0) return result;
    choose(spare, count);
    for (std::size_t unit = 0; unit < spare.size(); ++unit) {
      add_copies(unit, spare[unit], result.copies);
    }
    mark(chosen_, is_chosen_, false);
    for (const Cell cell : chosen_) {
      result.positions.push_back(positions_[cell]);
      positions_[cell] = no_position;
    }
    in_use_ -= count;
    if (in_use_ == 0) newest_ = no_cell;
    return result;
  }

  [[nodiscard]] std::size_t size() const noexcept { return positions_.size(); }
  [[nodiscard]] std::size_t in_use() const noexcept { return in_use_; }
  /// The position by which llama.cpp identifies a cell; no_position if it is free.
  [[nodiscard]] Position position(Cell cell) const noexcept { return positions_[cell]; }

 private:
  /// chosen_ = the `count` cells to free.
  void choose(std::span<const std::vector<Cell>> spare, std::size_t count) {
    chosen_.clear();
    for (const std::vector<Cell>& cells : spare) {
      for (const Cell cell : cells) {
        if (spared_[cell]++ == 0) chosen_.push_back(cell);
      }
    }
    std::sort(chosen_.begin(), chosen_.end(), [&](Cell a, Cell b) {
      if ((a == newest_) != (b == newest_)) return b == newest_;
      // High cells first, where all else is equal: llama.cpp attends to every cell below the
      // highest one in use.
      return spared_[a] != spared_[b] ? spared_[a] > spared_[b] : a > b;
    });
    for (const Cell cell : chosen_) spared_[cell] = 0;
    chosen_.resize(count);
    mark(chosen_, is_chosen_, true);
    if (chosen_.back() == newest_ && in_use_ > count) {
      chosen_.back() = highest_other();
      is_chosen_[newest_] = false;
      is_chosen_[chosen_.back()] = true;
    }
  }

  /// A cell in use that is neither chosen nor the newest.
  [[nodiscard]] Cell highest_other() const {
    auto cell = static_cast<Cell>(positions_.size());
    do {
      --cell;
    } while (positions_[cell] == no_position || cell == newest_ || is_chosen_[cell]);
    return cell;
  }

  void add_copies(std::size_t unit, const std::vector<Cell>& spare, std::vector<CellCopy>& copies) {
    mark(spare, is_spare_, true);
    auto to = spare.begin();
    for (const Cell from : chosen_) {
      if (is_spare_[from]) continue;
      while (is_chosen_[*to]) ++to;
      copies.push_back({unit, from, *to++});
    }
    mark(spare, is_spare_, false);
  }

  static void mark(const std::vector<Cell>& cells, std::vector<bool>& marks, bool value) {
    for (const Cell cell : cells) marks[cell] = value;
  }

  std::vector<Position> positions_;  ///< of every cell
  std::size_t in_use_ = 0;
  Cell newest_ = no_cell;              ///< the cell of the largest position
  std::vector<std::uint32_t> spared_;  ///< work: of every cell, how many units can spare it
  std::vector<Cell> chosen_;           ///< work: cells to free
  std::vector<bool> is_chosen_;        ///< work: of every cell
  std::vector<bool> is_spare_;         ///< work: of every cell, whether one unit can spare it
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_CELL_TABLE_HPP
