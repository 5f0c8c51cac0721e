// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sequences in llama.cpp with their cache under a policy. It connects two parts: SharedCells
/// selects, Context executes.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_SESSION_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_SESSION_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama_cpp/context.hpp"
#include "llama_cpp/flash_inputs.hpp"
#include "llama_cpp/model.hpp"
#include "llama_cpp/shared_cells.hpp"
#include "llama_cpp/state_file.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/eviction/rules.hpp"

namespace morphkv::llama_cpp {

/// Costs of a run: sums, in seconds.
struct Costs {
  double policy = 0;   ///< placing, observing, choosing cells
  double fusion = 0;   ///< of the rows of heads
  double copying = 0;  ///< keys and values between cells
  double removal = 0;  ///< llama.cpp's, of positions

  Costs& operator+=(const Costs& more) noexcept {
    policy += more.policy;
    fusion += more.fusion;
    copying += more.copying;
    removal += more.removal;
    return *this;
  }
};

struct CellUse {
  std::size_t in_use = 0;
  std::size_t most_reading = 0;  ///< while the prompt was read
  std::size_t most_writing = 0;  ///< while tokens were written
  std::size_t allocated = 0;     ///< by llama.cpp
  std::size_t bytes_each = 0;    ///< keys and values of a cell, in all layers
  std::size_t policy_bytes = 0;  ///< of the policies, besides keys and values
};

/// The larger of each number, where one session comes after another.
[[nodiscard]] inline CellUse larger_of(const CellUse& a, const std::optional<CellUse>& other) {
  if (!other) return a;
  const CellUse& b = *other;
  return {.in_use = (std::max)(a.in_use, b.in_use),
          .most_reading = (std::max)(a.most_reading, b.most_reading),
          .most_writing = (std::max)(a.most_writing, b.most_writing),
          .allocated = (std::max)(a.allocated, b.allocated),
          .bytes_each = a.bytes_each,
          .policy_bytes = (std::max)(a.policy_bytes, b.policy_bytes)};
}

/// body(block) for blocks of at most `size` tokens, in order.
template <class Body>
void in_blocks(std::span<const llama_token> tokens, std::size_t size, const Body& body) {
  while (!tokens.empty()) {
    const std::size_t count = (std::min)(size, tokens.size());
    body(tokens.first(count));
    tokens = tokens.subspan(count);
  }
}

/// A token that a sequence has written, and that it reads now.
struct Step {
  std::size_t sequence = 0;
  llama_token token = 0;
};

/// Sequences that share the cells of one context. Thread safety: none.
template <EvictionPolicy Policy>
class Session : private AttentionListener {
 public:
  /// \param context_options its cells are chosen here
  /// \param tokens          of the prompts and the responses together, or `unlimited`
  Session(const Model& model, Scope scope, const typename Policy::Options& options,
          ContextOptions context_options, std::size_t tokens)
      : block_(context_options.block),
        context_(model, with_cells(context_options, Policy(options).slots(), tokens), this) {
    HeadCounts heads = model.heads();
    if (context_.full_layers().size() < heads.layers) {
      require_recent(Policy(options).plan().rules, model.window());
    }
    heads.layers = context_.full_layers().size();
    for (std::size_t i = 0; i < context_options.sequences; ++i) {
      sequences_.push_back({SharedCells<Policy>(heads, scope, options, context_.cells())});
    }
  }

  /// Reads a prompt, or a later turn, in blocks: the cache never holds more than the capacity and a
  /// block.
  void read(std::span<const llama_token> tokens, std::size_t sequence = 0) {
    Sequence& own = sequences_[sequence];
    own.cells.forget_most_in_use();
    in_blocks(tokens, block_, [&](std::span<const llama_token> block) {
      entries_.clear();
      for (std::size_t i = 0; i < block.size(); ++i) {
        entries_.push_back({block[i], own.position + static_cast<Position>(i), sequence});
      }
      parts_ = {{sequence, 0, block.size()}};
      decode();
    });
    own.most_reading = (std::max)(own.most_reading, own.cells.most_in_use());
    own.cells.forget_most_in_use();
  }

  /// Reads one token of each of some sequences, at once.
  void step(std::span<const Step> tokens) {
    entries_.clear();
    parts_.clear();
    for (const Step& step : tokens) {
      Sequence& own = sequences_[step.sequence];
      carry_out(step.sequence, own.cells.make_room(own.position));
      parts_.push_back({step.sequence, entries_.size(), 1});
      entries_.push_back({step.token, own.position, step.sequence});
    }
    decode();
  }
  void step(llama_token token) {
    const Step one{0, token};
    step({&one, 1});
  }

  [[nodiscard]] const Context& context() const noexcept { return context_; }
  [[nodiscard]] Context& context() noexcept { return context_; }
  [[nodiscard]] std::size_t sequences() const noexcept { return sequences_.size(); }
  /// The position of a sequence's next token.
  [[nodiscard]] Position position(std::size_t sequence = 0) const noexcept {
    return sequences_[sequence].position;
  }

  /// Tokens that a sequence can still read; `unlimited` where the policy evicts.
  [[nodiscard]] std::size_t room(std::size_t sequence = 0) const {
    std::size_t room = unlimited;
    for (const Unit<Policy>& unit : sequences_[sequence].cells.units()) {
      room = (std::min)(room, unit.room());
    }
    return room;
  }

  /// Writes the first sequence to a state: cells and policies.
  void save(StateFile& state) const requires HasState<Policy> {
    const Sequence& own = sequences_.front();
    const CellTable& table = own.cells.table();
    std::vector<std::int32_t> ranks(table.size(), -1);
    state.cells.next = own.position;
    for (Cell cell = 0; cell < table.size(); ++cell) {
      if (table.position(cell) == no_position) continue;
      ranks[cell] = static_cast<std::int32_t>(state.cells.positions.size());
      state.cells.positions.push_back(table.position(cell));
    }
    for (const Unit<Policy>& unit : own.cells.units()) {
      std::vector<std::int32_t>& slots = state.cells.slots.emplace_back();
      for (Slot slot = 0; slot < unit.policy().slots(); ++slot) {
        const Cell cell = unit.cell(slot);
        slots.push_back(cell == no_cell ? -1 : ranks[cell]);
      }
      const auto bytes = unit.state();
      state.policies.insert(state.policies.end(), bytes.begin(), bytes.end());
    }
    state.memory = context_.save();
  }

  /// Takes over a state. \pre nothing has been read
  /// \throws std::exception if it is not that of this model, policy and scope.
  void restore(const StateFile& state) requires HasState<Policy> {
    Sequence& own = sequences_.front();
    std::vector<std::vector<Cell>> units;
    for (const std::vector<std::int32_t>& slots : state.cells.slots) {
      std::vector<Cell>& cells = units.emplace_back();
      for (const std::int32_t rank : slots) {
        cells.push_back(rank < 0 ? no_cell : static_cast<Cell>(rank));
      }
    }
    own.cells.restore(state.cells.positions, units, state.policies);
    own.position = state.cells.next;
    context_.restore(state.memory);
  }

  /// Of all sequences.
  [[nodiscard]] CellUse cell_use() const {
    CellUse use{.allocated = context_.cells(),
                .bytes_each = context_.tensors().bytes_of_cell(context_.full_layers())};
    for (const Sequence& own : sequences_) {
      use.in_use += own.cells.table().in_use();
      use.most_reading += own.most_reading;
      use.most_writing += own.cells.most_in_use();
      use.policy_bytes += own.cells.memory().total();
    }
    return use;
  }
  [[nodiscard]] Costs costs() const {
    const auto seconds = [](Stopwatch::Clock::duration time) {
      return std::chrono::duration<double>(time).count();
    };
    Costs costs{.copying = seconds(copying_), .removal = seconds(removal_)};
    for (const Sequence& own : sequences_) {
      costs.policy += seconds(own.cells.policy_time());
      costs.fusion += seconds(own.cells.fusion_time());
    }
    return costs;
  }

 private:
  struct Sequence {
    SharedCells<Policy> cells;
    Position position = 0;  ///< of the next token
    std::size_t most_reading = 0;
  };
  /// A sequence's tokens in the batch.
  struct Part {
    std::size_t sequence;
    std::size_t begin;
    std::size_t count;
  };

  /// llama.cpp removes a position from the cache of the layers that slide too, so a token may only
  /// be evicted once their window has passed it.
  static void require_recent(const EvictionRules& rules, std::size_t window) {
    if (rules.schedule == Schedule::never) return;
    require(rules.recent >= window, "recent tokens of the policy", rules.recent,
            "at least " + std::to_string(window) + ", the window of the model's layers that slide");
  }

  /// A cell for every slot, and for every token of a block until the selection.
  [[nodiscard]] static ContextOptions with_cells(ContextOptions options, std::size_t slots,
                                                 std::size_t tokens) {
    options.cells = (std::min)(options.sequences * slots + options.block, tokens);
    return options;
  }

  void arrived(std::span<const Cell> cells) override {
    for (const Part& part : parts_) {
      Sequence& own = sequences_[part.sequence];
      own.cells.arrive(own.position, cells.subspan(part.begin, part.count));
    }
  }
  void attended(std::size_t layer, const AttentionWeights& weights) override {
    for (const Part& part : parts_) {
      sequences_[part.sequence].cells.attend(layer, weights, part.begin);
    }
  }

  void attended(std::size_t layer, const ggml_tensor* node, const ggml_tensor* keys,
                const ggml_tensor* values) override {
    switch (keys->type) {
      case GGML_TYPE_F32:
        return attend<float>(layer, node, keys, values);
      case GGML_TYPE_F16:
        return attend<Eigen::half>(layer, node, keys, values);
      case GGML_TYPE_BF16:
        return attend<Eigen::bfloat16>(layer, node, keys, values);
      default:
        throw std::runtime_error("keys are quantized");
    }
  }
  template <Scalar T>
  void attend(std::size_t layer, const ggml_tensor* node, const ggml_tensor* keys,
              const ggml_tensor* values) {
    const FlashInputs inputs = read_flash(node);
    if (keys->ne[0] != values->ne[0] || keys->type != values->type) {
      throw std::runtime_error(
          "--flash-attention: keys and values must have one size and type: run without it");
    }
    for (const Part& part : parts_) {
      sequences_[part.sequence].cells.attend(
          layer,
          LayerInputs<T>{.queries = inputs.queries.data(),
                         .keys = static_cast<const T*>(keys->data),
                         .values = static_cast<const T*>(values->data),
                         .head_dim = inputs.head_dim,
                         .scale = inputs.scale},
          part.begin);
    }
  }

  void decode() {
    context_.decode(entries_);
    for (const Part& part : parts_) {
      Sequence& own = sequences_[part.sequence];
      own.position += static_cast<Position>(part.count);
      carry_out(part.sequence, own.cells.settle());
    }
  }

  void carry_out(std::size_t sequence, const Release& release) {
    {
      const Stopwatch watch(copying_);
      for (const CellCopy& copy : release.copies) {
        sequences_[sequence].cells.each_head(copy.unit, [&](std::size_t layer, std::size_t head) {
          context_.tensors().copy(context_.full_layers()[layer], head, copy.from, copy.to);
        });
      }
    }
    const Stopwatch watch(removal_);
    for (const Position position : release.positions) context_.remove(position, sequence);
  }

  std::size_t block_;
  Context context_;
  std::vector<Sequence> sequences_;
  std::vector<Entry> entries_;  ///< of the batch
  std::vector<Part> parts_;     ///< of the batch
  Stopwatch::Clock::duration copying_{};
  Stopwatch::Clock::duration removal_{};
};

/// llama.cpp alone, for comparison: no callback, nothing evicted.
class PlainSession {
 public:
  PlainSession(const Model& model, ContextOptions options, std::size_t tokens)
      : block_(options.block),
        context_(model, with_cells(options, tokens), nullptr),
        positions_(options.sequences) {}

  void read(std::span<const llama_token> tokens, std::size_t sequence = 0) {
    in_blocks(tokens, block_, [&](std::span<const llama_token> block) {
      entries_.clear();
      for (const llama_token token : block) {
        entries_.push_back({token, positions_[sequence]++, sequence});
      }
      context_.decode(entries_);
    });
  }
  void step(std::span<const Step> tokens) {
    entries_.clear();
    for (const Step& step : tokens) {
      entries_.push_back({step.token, positions_[step.sequence]++, step.sequence});
    }
    context_.decode(entries_);
  }
  void step(llama_token token) {
    const Step one{0, token};
    step({&one, 1});
  }
  [[nodiscard]] std::size_t room(std::size_t /*sequence*/ = 0) const {
    std::size_t used = 0;
    for (const Position position : positions_) used += static_cast<std::size_t>(position);
    return context_.cells() - used;
  }
  [[nodiscard]] const Context& context() const noexcept { return context_; }
  [[nodiscard]] std::size_t sequences() const noexcept { return positions_.size(); }
  [[nodiscard]] Position position(std::size_t sequence = 0) const noexcept {
    return positions_[sequence];
  }

 private:
  [[nodiscard]] static ContextOptions with_cells(ContextOptions options, std::size_t tokens) {
    options.cells = tokens;
    return options;
  }

  std::size_t block_;
  Context context_;
  std::vector<Position> positions_;  ///< of the next token of every sequence
  std::vector<Entry> entries_;       ///< of the batch
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_SESSION_HPP
