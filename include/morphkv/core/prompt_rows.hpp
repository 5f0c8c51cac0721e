// SPDX-License-Identifier: Apache-2.0
/// \file
/// The attention rows of a block of tokens that arrive together, computed when a policy asks.
#ifndef MORPHKV_CORE_PROMPT_ROWS_HPP
#define MORPHKV_CORE_PROMPT_ROWS_HPP

#include <cstddef>

#include "morphkv/core/status.hpp"

namespace morphkv { inline namespace v0 {

/// A source of attention rows. The columns are the head's slots in use, then the block's tokens; a
/// row has a weight for every slot and for the block's tokens up to its own, and the rest is 0.
///
/// It refers to memory of the caller and is valid during the call that it is passed to.
class PromptRows {
 public:
  /// A row function: writes the row of the block's token `query` to `row`, `columns()` weights.
  /// It returns Status::bad_row, and writes anything, if there is none.
  using Function = Status (*)(void* context, std::size_t query, float* row);

  PromptRows(std::size_t tokens, std::size_t columns, std::size_t group, void* context,
             Function fused_row, Function logit_rows) noexcept
      : tokens_(tokens),
        columns_(columns),
        group_(group),
        context_(context),
        fused_(fused_row),
        logits_(logit_rows) {}

  /// Tokens of the block.
  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }
  /// Slots in use, and the block's tokens.
  [[nodiscard]] std::size_t columns() const noexcept { return columns_; }
  /// Query heads that were fused.
  [[nodiscard]] std::size_t group() const noexcept { return group_; }

  /// The fused row of the block's token `query`: [columns()].
  Status fused(std::size_t query, float* row) const { return fused_(context_, query, row); }
  /// The scaled logits of its query heads, minus infinity where it sees nothing:
  /// [group][columns()].
  Status logits(std::size_t query, float* rows) const { return logits_(context_, query, rows); }

 private:
  std::size_t tokens_;
  std::size_t columns_;
  std::size_t group_;
  void* context_;
  Function fused_;
  Function logits_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_PROMPT_ROWS_HPP
