// SPDX-License-Identifier: Apache-2.0
/// \file
/// Policies over a cache whose cells all heads share: what is freed and what is copied. Independent
/// of llama.cpp's interface.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_SHARED_CELLS_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_SHARED_CELLS_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama_cpp/cell_table.hpp"
#include "llama_cpp/row_fusion.hpp"
#include "llama_cpp/unit.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv::llama_cpp {

/// Which heads share one policy.
enum class Scope {
  sequence,  ///< all of them: cells are freed, nothing is copied
  layer,     ///< those of a layer
  head       ///< each KV head by itself, as in KVCache
};

struct HeadCounts {
  std::size_t layers = 0;
  std::size_t query_heads = 0;  ///< of a layer
  std::size_t kv_heads = 0;     ///< of a layer
};

/// The inputs of a layer's attention for the tokens of a batch.
template <Scalar T>
struct LayerInputs {
  const float* queries = nullptr;  ///< [tokens][query_heads][head_dim]
  const T* keys = nullptr;         ///< [cells][kv_heads][head_dim]
  const T* values = nullptr;       ///< likewise
  std::size_t head_dim = 0;
  float scale = 1;
};

/// Adds the time of a scope to `total`.
class Stopwatch {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Stopwatch(Clock::duration& total) : total_(&total), start_(Clock::now()) {}
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() { *total_ += Clock::now() - start_; }

 private:
  Clock::duration* total_;
  Clock::time_point start_;
};

/// One token, or one block, is one round:
///
///     a token: make_room   -> what to copy and to free before it is decoded
///     both:    arrive         the cells that its keys and values are written to
///              attend         the attention of every layer, in order
///              settle      -> what to copy and to free after it was decoded
///
/// Each unit keeps as many tokens as there are cells in use: a cell is freed for all at once, and a
/// unit whose own victim lies elsewhere copies its token of that cell over its victim.
///
/// Thread safety: none.
template <EvictionPolicy Policy>
class SharedCells {
 public:
  /// \throws std::invalid_argument if the policy's options do not fit each other.
  SharedCells(const HeadCounts& heads, Scope scope, const typename Policy::Options& options,
              std::size_t cells)
      : heads_(heads),
        scope_(scope),
        group_fusion_(options.group),
        fusion_(heads.query_heads, units_of_a_layer(), scope == Scope::sequence ? heads.layers : 1,
                options.group),
        table_(cells) {
    const std::size_t units = scope == Scope::sequence ? 1 : heads.layers * units_of_a_layer();
    for (std::size_t unit = 0; unit < units; ++unit) units_.emplace_back(options, unit, cells);
    spare_.resize(units);
  }

  /// Frees a cell for the token at `position`.
  /// \throws std::runtime_error if a policy cannot hold it.
  [[nodiscard]] Release make_room(Position position) {
    const Stopwatch watch(policy_time_);
    is_block_ = false;
    for (Unit<Policy>& unit : units_) check(unit.place(position));
    return release();
  }

  /// Where llama.cpp writes the keys and values of the tokens from position `first` on.
  void arrive(Position first, std::span<const Cell> cells) {
    first_ = first;
    block_.assign(cells.begin(), cells.end());
    for (std::size_t token = 0; token < cells.size(); ++token) {
      table_.occupy(cells[token], first + static_cast<Position>(token));
    }
    most_in_use_ = std::max(most_in_use_, table_.in_use());
    if (is_block_) return;
    for (Unit<Policy>& unit : units_) unit.settle(block_.front());
  }

  /// A layer's attention. \param weights [query_heads][tokens][columns]: one weight per cell
  void attend(std::size_t layer, const float* weights, std::size_t columns) {
    attend(layer, {.data = weights, .tokens = block_.size(), .columns = columns}, 0);
  }

  /// The same of a batch of several sequences, in which this one's tokens are those from `begin`
  /// on.
  void attend(std::size_t layer, const AttentionWeights& weights, std::size_t begin) {
    if (!fuse(weights, begin)) return;
    const Stopwatch watch(policy_time_);
    const std::size_t count = units_of_a_layer();
    const std::size_t first_unit = scope_ == Scope::sequence ? 0 : layer * count;
    for (std::size_t i = 0; i < count; ++i) {
      Unit<Policy>& unit = units_[first_unit + i];
      check(is_block_ ? unit.score_block(first_, block_, fusion_.rows(i), weights.columns)
                      : unit.observe(fusion_.rows(i)));
    }
  }

  /// A layer's queries and keys, where attention returns no weights: the rows that the policies ask
  /// for are computed here. \pre scope head
  template <Scalar T>
  void attend(std::size_t layer, const LayerInputs<T>& inputs, std::size_t begin) {
    const Stopwatch watch(policy_time_);
    const std::size_t group = heads_.query_heads / heads_.kv_heads;
    for (std::size_t head = 0; head < heads_.kv_heads; ++head) {
      const std::size_t width = heads_.query_heads * inputs.head_dim;
      const HeadInputs<T> own = {
          .queries = inputs.queries + begin * width + head * group * inputs.head_dim,
          .query_stride = width,
          .keys = inputs.keys + head * inputs.head_dim,
          .values = inputs.values + head * inputs.head_dim,
          .key_stride = heads_.kv_heads * inputs.head_dim,
          .group = group,
          .head_dim = inputs.head_dim,
          .scale = inputs.scale,
          .fusion = group_fusion_};
      Unit<Policy>& unit = units_[layer * heads_.kv_heads + head];
      check(is_block_ ? unit.score_block(first_, block_, own) : unit.observe(own));
    }
  }

  /// Ends the round. What follows is a block unless make_room says otherwise.
  /// \throws std::runtime_error if a policy cannot hold the block.
  [[nodiscard]] Release settle() {
    const Stopwatch watch(policy_time_);
    if (is_block_) {
      for (Unit<Policy>& unit : units_) check(unit.select());
      for (Unit<Policy>& unit : units_) unit.commit(block_);
    }
    is_block_ = true;
    return release();
  }

  /// body(layer, kv_head) for every KV head of a unit.
  template <class Body>
  void each_head(std::size_t unit, const Body& body) const {
    const std::size_t heads = heads_.layers * heads_.kv_heads / units_.size();
    for (std::size_t head = unit * heads; head < (unit + 1) * heads; ++head) {
      body(head / heads_.kv_heads, head % heads_.kv_heads);
    }
  }

  /// Takes over the state of another one. \param positions of cells 0, 1, ..., which are in use
  /// \param cells of every slot of every unit \param states of the units' policies, in a row
  /// \throws std::invalid_argument if they do not fit.
  void restore(const std::vector<Position>& positions, const std::vector<std::vector<Cell>>& cells,
               std::span<const std::byte> states) requires HasState<Policy> {
    if (cells.size() != units_.size() || states.size() % units_.size() != 0 ||
        positions.size() > table_.size()) {
      throw std::invalid_argument("the state is that of another model or scope");
    }
    const std::size_t bytes = states.size() / units_.size();
    for (std::size_t unit = 0; unit < units_.size(); ++unit) {
      units_[unit].restore(states.subspan(unit * bytes, bytes), cells[unit]);
    }
    table_ = CellTable(table_.size());
    for (std::size_t cell = 0; cell < positions.size(); ++cell) {
      table_.occupy(static_cast<Cell>(cell), positions[cell]);
    }
  }

  [[nodiscard]] const std::vector<Unit<Policy>>& units() const noexcept { return units_; }
  [[nodiscard]] const CellTable& table() const noexcept { return table_; }
  /// The maximum number of cells in use, those of a block included until its selection.
  [[nodiscard]] std::size_t most_in_use() const noexcept { return most_in_use_; }
  void forget_most_in_use() noexcept { most_in_use_ = table_.in_use(); }

  /// Bytes of the policies, besides keys and values.
  [[nodiscard]] MemoryUsage memory() const noexcept {
    MemoryUsage usage;
    for (const Unit<Policy>& unit : units_) usage += unit.policy().memory();
    return usage;
  }

  /// Time spent on placing, observing and choosing cells, and on fusing rows.
  [[nodiscard]] Stopwatch::Clock::duration policy_time() const noexcept { return policy_time_; }
  [[nodiscard]] Stopwatch::Clock::duration fusion_time() const noexcept { return fusion_time_; }

 private:
  [[nodiscard]] std::size_t units_of_a_layer() const noexcept {
    return scope_ == Scope::head ? heads_.kv_heads : 1;
  }

  bool fuse(const AttentionWeights& weights, std::size_t begin) {
    const Stopwatch watch(fusion_time_);
    return fusion_.add(weights, begin, block_.size());
  }

  /// Frees the cells that the units can spare, and moves their tokens.
  [[nodiscard]] Release release() {
    for (std::size_t unit = 0; unit < units_.size(); ++unit) units_[unit].take_spare(spare_[unit]);
    Release result = table_.release(spare_);
    for (const CellCopy& copy : result.copies) units_[copy.unit].move(copy.from, copy.to);
    return result;
  }

  static void check(Status status) {
    if (status == Status::ok) return;
    throw std::runtime_error("the policy refused a token: " + std::string(to_string(status)));
  }

  HeadCounts heads_;
  Scope scope_;
  GroupFusion group_fusion_;
  RowFusion fusion_;
  CellTable table_;
  std::vector<Unit<Policy>> units_;       ///< [layers][kv_heads], [layers] or one
  std::vector<std::vector<Cell>> spare_;  ///< work: of every unit
  std::vector<Cell> block_;               ///< cells of the tokens of this round
  Position first_ = 0;                    ///< of these tokens
  bool is_block_ = true;
  std::size_t most_in_use_ = 0;
  Stopwatch::Clock::duration policy_time_{};
  Stopwatch::Clock::duration fusion_time_{};
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_SHARED_CELLS_HPP
