// SPDX-License-Identifier: Apache-2.0
/// \file
/// The types that every part of the library shares.
#ifndef MORPHKV_CORE_TYPES_HPP
#define MORPHKV_CORE_TYPES_HPP

#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/core/status.hpp"

namespace morphkv { inline namespace v0 {

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
  never
};

/// Where a policy puts a new token.
struct Placement {
  Status status = Status::ok;
  Slot slot = no_slot;             ///< write the key and the value here
  Position evicted = no_position;  ///< the token that lay there, if it was still alive
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_TYPES_HPP
