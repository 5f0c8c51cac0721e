// SPDX-License-Identifier: Apache-2.0
/// \file
/// The types that every part of the library shares.
#ifndef MORPHKV_CORE_TYPES_HPP
#define MORPHKV_CORE_TYPES_HPP

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string_view>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A token's absolute place in its sequence, from 0.
using Position = std::int32_t;
/// A physical row of a head's keys and values.
using Slot = std::uint32_t;

/// The greatest position that a token can have.
inline constexpr Position max_position = std::numeric_limits<Position>::max() - 1;
/// The position of a slot whose token has been evicted and that waits for the next one.
inline constexpr Position no_position = -1;
/// No slot: a token that is not kept.
inline constexpr Slot no_slot = std::numeric_limits<Slot>::max();

/// How the rows of the G query heads of a group become the one row of their KV head, after softmax.
/// `sum` ranks tokens exactly as `mean` does, and is computed as the mean, so that a weight of a
/// fused row is never above 1.
enum class GroupFusion { max, mean, sum };

/// How the rows of a window become one score per token.
enum class Fusion { sum, max };

/// How neighbours smooth a score: the mean over the kernel, in which places beyond the ends count
/// as zeros, or the maximum.
enum class Pooling { average, max };

/// When a policy evicts.
enum class Schedule {
  on_arrival,  ///< a new token overwrites the one with the lowest score: `capacity` tokens, always
  after_attention,  ///< the step's attention still sees it: one token more than `capacity`
  after_prompt,     ///< once, when the first prompt is longer than `capacity`
  sliding,          ///< a new token overwrites the oldest: no scores
  never
};

/// The outcome of one step. Unless a function says otherwise, nothing has changed when it is not
/// `Status::ok`.
enum class [[nodiscard]] Status{
    ok,
    wrong_size,  ///< a span's size does not match the shape, or there is no such layer or head
    position_backwards,  ///< a position is not greater than the newest one of the head
    not_finite,          ///< a key or value is NaN, infinite, or too large for the cache's type
    position_too_large,  ///< a position is above max_position
    bad_row,      ///< a weight of an attention row is NaN, infinite, negative (or -0) or above 1
    out_of_step,  ///< a row without a token placed since the last one, or layers at other tokens
    full,         ///< every slot is in use and the policy keeps all tokens
    nothing_to_evict,  ///< every slot is in use and every token is protected
    no_memory,         ///< the engine's pages have no slot for the token, or no page is free
    too_far_back,      ///< a rollback asks for more tokens than the history holds
    no_sequence,       ///< an id of a pool names no sequence, or was named before in the same call
};

/// The status in words, for messages and logs.
[[nodiscard]] constexpr std::string_view to_string(Status status) noexcept {
  constexpr std::string_view texts[] = {
      // in the order of Status
      "ok",
      "a span has the wrong size",
      "a position does not go forwards",
      "a key or value is not finite in the cache's type",
      "a position is above max_position",
      "an attention row holds NaN, infinity or a weight outside [0, 1]",
      "a row was observed with no token placed before it, or layers are at other tokens",
      "all slots are in use and the policy evicts nothing",
      "all slots are in use and every token is protected",
      "the engine's pages have no slot for the token, or no page is free",
      "the history does not reach back that far",
      "the pool has no such sequence, or it is named twice",
  };
  static_assert(std::size(texts) == static_cast<std::size_t>(Status::no_sequence) + 1);
  const auto index = static_cast<std::size_t>(status);
  return index < std::size(texts) ? texts[index] : "unknown status";
}

/// Where a policy puts a new token.
struct Placement {
  Status status = Status::ok;
  Slot slot = no_slot;             ///< write the key and the value here
  Position evicted = no_position;  ///< the token that lay there, if it was still alive
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_TYPES_HPP
