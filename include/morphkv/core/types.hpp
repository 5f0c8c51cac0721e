// SPDX-License-Identifier: Apache-2.0
/// \file
/// The words that every part of the library shares.
#ifndef MORPHKV_CORE_TYPES_HPP
#define MORPHKV_CORE_TYPES_HPP

#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/core/status.hpp"

namespace morphkv::inline v0 {

/// A token's absolute place in its sequence, from 0.
using Position = std::int32_t;
/// A physical row of a head's keys and values.
using Slot = std::uint32_t;

/// The position of a slot whose token has been evicted and that waits for the next one.
inline constexpr Position no_position = -1;
/// No slot: a token that is not kept.
inline constexpr Slot no_slot = std::numeric_limits<Slot>::max();

/// How the rows of the G query heads of a group become the one row of their KV head, after softmax.
/// `sum` ranks tokens exactly as `mean` does, and is computed as the mean, so that a weight of a
/// fused row is never above 1.
enum class GroupFusion { max, mean, sum };

/// Where a policy puts a new token.
struct Placement {
  Status status = Status::ok;
  Slot slot = no_slot;             ///< write the key and the value here
  Position evicted = no_position;  ///< the token that lay there, if it was still alive
};

}  // namespace morphkv::inline v0

#endif  // MORPHKV_CORE_TYPES_HPP
