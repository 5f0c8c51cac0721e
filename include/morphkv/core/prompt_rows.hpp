// SPDX-License-Identifier: Apache-2.0
/// \file
/// The attention rows of a block of tokens that arrive together, computed when a policy asks.
#ifndef MORPHKV_CORE_PROMPT_ROWS_HPP
#define MORPHKV_CORE_PROMPT_ROWS_HPP

#include <cstddef>

#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A source of attention rows. The columns are the head's slots in use, then the block's tokens; a
/// row has a weight for every slot and for the block's tokens up to its own, and the rest is 0.
///
/// It refers to memory of the caller and is valid during the call that it is passed to.
class PromptRows {
 public:
  /// A row function: writes the fused row of the block's token `query`, `columns()` weights. If it
  /// returns Status::bad_row, what it has written means nothing.
  using Function = Status (*)(void* context, std::size_t query, float* row);
  /// Writes the key, [key_dim], or the value, [value_dim], of a column.
  using Numbers = void (*)(void* context, std::size_t column, float* numbers);

  /// Keys and values are for a StoringPolicy: their dimensions are 0 where there are none.
  PromptRows(std::size_t tokens, std::size_t columns, void* context, Function fused_row,
             std::size_t key_dim = 0, Numbers key_of = nullptr, std::size_t value_dim = 0,
             Numbers value_of = nullptr) noexcept
      : tokens_(tokens),
        columns_(columns),
        context_(context),
        fused_(fused_row),
        key_dim_(key_dim),
        key_(key_of),
        value_dim_(value_dim),
        value_(value_of) {}

  /// Tokens of the block.
  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }
  /// Slots in use, and the block's tokens.
  [[nodiscard]] std::size_t columns() const noexcept { return columns_; }
  /// Of a key and of a value; 0 if there are none.
  [[nodiscard]] std::size_t key_dim() const noexcept { return key_dim_; }
  [[nodiscard]] std::size_t value_dim() const noexcept { return value_dim_; }

  /// The fused row of the block's token `query`: [columns()].
  Status fused(std::size_t query, float* row) const { return fused_(context_, query, row); }
  /// The key, [key_dim()], and the value, [value_dim()], of a column that holds a token, as the
  /// cache stores them. \pre the dimension is not 0
  void key(std::size_t column, float* numbers) const { key_(context_, column, numbers); }
  void value(std::size_t column, float* numbers) const { value_(context_, column, numbers); }

 private:
  std::size_t tokens_;
  std::size_t columns_;
  void* context_;
  Function fused_;
  std::size_t key_dim_;
  Numbers key_;
  std::size_t value_dim_;
  Numbers value_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_PROMPT_ROWS_HPP
