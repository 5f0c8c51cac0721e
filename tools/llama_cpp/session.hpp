// SPDX-License-Identifier: Apache-2.0
/// \file
/// One sequence in llama.cpp with its cache under a policy. It connects two
/// parts: SharedCells selects, Context executes.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_SESSION_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_SESSION_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <span>

#include "llama_cpp/context.hpp"
#include "llama_cpp/model.hpp"
#include "llama_cpp/shared_cells.hpp"

namespace morphkv::llama_cpp {

/// Costs of a run: sums, in seconds.
struct Costs {
  double policy = 0;   ///< placing, observing, choosing cells
  double fusion = 0;   ///< of the rows of heads
  double copying = 0;  ///< keys and values between cells
  double removal = 0;  ///< llama.cpp's, of positions
};

struct CellUse {
  std::size_t in_use = 0;
  std::size_t most_reading = 0;  ///< while the prompt was read
  std::size_t most_writing = 0;  ///< while tokens were written
  std::size_t allocated = 0;     ///< by llama.cpp
  std::size_t bytes_each = 0;    ///< keys and values of a cell, in all layers
  std::size_t policy_bytes = 0;  ///< of the policies, besides keys and values
};

/// body(block) for blocks of at most `size` tokens, in order.
template <class Body>
void in_blocks(std::span<const llama_token> tokens, std::size_t size, const Body& body) {
  while (!tokens.empty()) {
    const std::size_t count = (std::min)(size, tokens.size());
    body(tokens.first(count));
    tokens = tokens.subspan(count);
  }
}

/// Thread safety: none.
template <EvictionPolicy Policy>
class Session : private AttentionListener {
 public:
  /// \param context_options its cells are chosen here
  /// \param tokens          of the prompt and the response together
  Session(const Model& model, Scope scope, const typename Policy::Options& options,
          ContextOptions context_options, std::size_t tokens)
      : block_(context_options.block),
        context_(model, with_cells(context_options, Policy(options).slots(), tokens), this),
        cells_(model.heads(), scope, options, context_.cells()) {}

  /// Reads a prompt, in blocks: the cache never holds more than the capacity and a block.
  void read(std::span<const llama_token> tokens) {
    in_blocks(tokens, block_, [this](std::span<const llama_token> block) { decode(block); });
    most_reading_ = cells_.most_in_use();
    cells_.forget_most_in_use();
  }

  /// Reads the token that was written last.
  void step(llama_token token) {
    carry_out(cells_.make_room(position_));
    decode({&token, 1});
  }

  [[nodiscard]] const Context& context() const noexcept { return context_; }

  [[nodiscard]] CellUse cell_use() const {
    return {.in_use = cells_.table().in_use(),
            .most_reading = most_reading_,
            .most_writing = cells_.most_in_use(),
            .allocated = context_.cells(),
            .bytes_each = context_.tensors().bytes_of_cell(),
            .policy_bytes = cells_.memory().total()};
  }
  [[nodiscard]] Costs costs() const {
    const auto seconds = [](Stopwatch::Clock::duration time) {
      return std::chrono::duration<double>(time).count();
    };
    return {seconds(cells_.policy_time()), seconds(cells_.fusion_time()), seconds(copying_),
            seconds(removal_)};
  }

 private:
  /// A cell for every slot, and for every token of a block until the selection.
  [[nodiscard]] static ContextOptions with_cells(ContextOptions options, std::size_t slots,
                                                 std::size_t tokens) {
    options.cells = (std::min)(slots + options.block, tokens);
    return options;
  }

  void arrived(std::span<const Cell> cells) override { cells_.arrive(position_, cells); }
  void attended(std::size_t layer, const float* weights, std::size_t columns) override {
    cells_.attend(layer, weights, columns);
  }

  void decode(std::span<const llama_token> tokens) {
    context_.decode(tokens, position_);
    position_ += static_cast<Position>(tokens.size());
    carry_out(cells_.settle());
  }

  void carry_out(const Release& release) {
    {
      const Stopwatch watch(copying_);
      for (const CellCopy& copy : release.copies) {
        cells_.each_head(copy.unit, [&](std::size_t layer, std::size_t kv_head) {
          context_.tensors().copy(layer, kv_head, copy.from, copy.to);
        });
      }
    }
    const Stopwatch watch(removal_);
    for (const Position position : release.positions) context_.remove(position);
  }

  std::size_t block_;
  Context context_;
  SharedCells<Policy> cells_;
  Position position_ = 0;  ///< of the next token
  std::size_t most_reading_ = 0;
  Stopwatch::Clock::duration copying_{};
  Stopwatch::Clock::duration removal_{};
};

/// llama.cpp alone, for comparison: no callback, nothing evicted.
class PlainSession {
 public:
  PlainSession(const Model& model, ContextOptions options, std::size_t tokens)
      : block_(options.block), context_(model, with_cells(options, tokens), nullptr) {}

  void read(std::span<const llama_token> tokens) {
    in_blocks(tokens, block_, [this](std::span<const llama_token> block) { decode(block); });
  }
  void step(llama_token token) { decode({&token, 1}); }
  [[nodiscard]] const Context& context() const noexcept { return context_; }

 private:
  [[nodiscard]] static ContextOptions with_cells(ContextOptions options, std::size_t tokens) {
    options.cells = tokens;
    return options;
  }
  void decode(std::span<const llama_token> tokens) {
    context_.decode(tokens, position_);
    position_ += static_cast<Position>(tokens.size());
  }

  std::size_t block_;
  Context context_;
  Position position_ = 0;
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_SESSION_HPP
