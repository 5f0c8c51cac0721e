// SPDX-License-Identifier: Apache-2.0
/// \file
/// The arguments of the kernels that have many, the same for every version.
#ifndef MORPHKV_KERNELS_ARGUMENTS_HPP
#define MORPHKV_KERNELS_ARGUMENTS_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/core/rows.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv::inline v0::kernels {

/// Memory that the caller reads right after a kernel. A kernel that has finished its own reads asks
/// for it, so that the memory is never idle. A hint: null is fine, and so is any address.
struct ReadSoon {
  const void* data = nullptr;
  std::size_t bytes = 0;
};

/// The arguments of decode_attention. Nothing is owned. Rows of keys and values lie as Rows says,
/// the values by the same table as the keys.
template <Scalar T>
struct DecodeAttention {
  const float* query = nullptr;  ///< [group][head_dim]
  const T* keys = nullptr;       ///< [tokens][stride], or pages of them
  const T* values = nullptr;     ///< [tokens][stride], or pages of them
  std::size_t tokens = 0;        ///< at least 1
  std::size_t group = 1;
  std::size_t head_dim = 0;
  std::size_t stride = 0;  ///< elements between the rows of two tokens, at least head_dim
  const std::int32_t* pages = nullptr;  ///< [tokens / page_rows, rounded up]; null: in one piece
  std::size_t page_rows = 0;            ///< rows of a page, at least 1 where there is a table
  std::size_t page_stride = 0;          ///< elements between the beginnings of two pages
  float scale = 1;                      ///< of the logits; usually 1 / sqrt(head_dim)
  GroupFusion fusion = GroupFusion::max;
  float* weights = nullptr;  ///< working space, [group][weight_stride]
  std::size_t weight_stride = 0;
  float* output = nullptr;       ///< [group][head_dim]
  float* row = nullptr;          ///< [tokens]: the fused row, or null if not wanted
  float* log_sum_exp = nullptr;  ///< [group], or null if not wanted
  ReadSoon next[4] = {};  ///< what the caller reads next: a score's memory, another head's keys

  [[nodiscard]] Rows<const T> key_rows() const noexcept {
    return {keys, stride, pages, page_rows, page_stride};
  }
  [[nodiscard]] Rows<const T> value_rows() const noexcept {
    return {values, stride, pages, page_rows, page_stride};
  }
};

/// The arguments of score_prompt. Nothing is owned.
template <Scalar T>
struct ScorePrompt {
  const T* queries = nullptr;  ///< [rows][query_stride]: each [group][head_dim]
  const T* keys = nullptr;     ///< [tokens][stride]
  std::size_t rows = 0;        ///< queries that vote: the last ones of the prompt
  std::size_t tokens = 0;      ///< at least rows; query r sees tokens 0 ... tokens - rows + r
  std::size_t group = 1;
  std::size_t head_dim = 0;
  std::size_t query_stride = 0;  ///< elements between two queries, at least group * head_dim
  std::size_t stride = 0;        ///< elements between two keys, at least head_dim
  float scale = 1;               ///< of the logits
  GroupFusion fusion = GroupFusion::mean;
  const float* log_sum_exp = nullptr;  ///< [rows][group], as the engine has it, or null
  float* sums = nullptr;               ///< [tokens]: the sum over the queries of their fused rows
  /// score_prompt_workspace() numbers on a cache line, or null. Without log_sum_exp they spare the
  /// second computation of every logit.
  float* workspace = nullptr;
};

/// Numbers of the workspace of score_prompt: the logits of a vector of queries.
[[nodiscard]] constexpr std::size_t score_prompt_workspace(std::size_t tokens,
                                                           std::size_t group) noexcept {
  return (tokens + 3) / 4 * 4 * group * 16;
}

/// One step of a sliding maximum over three blocks of R / 2 rows, which never does more at one step
/// than at another: the oldest block leaves row by row, the middle one is whole, and the newest one
/// grows in the rows that the oldest has left. All are rows of binary16 patterns, one a slot.
///
/// At step j of a block of B rows: `newest` is row j of the oldest block's memory; `suffix` is its
/// row j + 1, null at the last step; `grown` is row B - 2 - j of the middle block and `grown_from`
/// the row after it, both null at the last step, so that the middle block holds suffix maxima by
/// the time it becomes the oldest. Then the newest block becomes the middle one.
struct MaxBlocks {
  std::uint16_t* newest = nullptr;
  std::uint16_t* prefix = nullptr;        ///< maximum over the newest block
  const std::uint16_t* middle = nullptr;  ///< maximum over the middle block: its last prefix
  const std::uint16_t* suffix = nullptr;
  std::uint16_t* grown = nullptr;
  const std::uint16_t* grown_from = nullptr;
  bool opens = false;  ///< step 0: the prefix begins anew
};

}  // namespace morphkv::inline v0::kernels

#endif  // MORPHKV_KERNELS_ARGUMENTS_HPP
