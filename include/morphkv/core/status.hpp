// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a step reports: the hot path never throws.
#ifndef MORPHKV_CORE_STATUS_HPP
#define MORPHKV_CORE_STATUS_HPP

#include <string_view>

namespace morphkv { inline namespace v0 {

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
    no_memory,         ///< the engine's pages have no slot for the token
    too_far_back,      ///< a rollback asks for more tokens than the history holds
    no_sequence,       ///< an id of a pool names no sequence, or was named before in the same call
};

/// The status in words, for messages and logs.
[[nodiscard]] constexpr std::string_view to_string(Status status) noexcept {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::wrong_size:
      return "a span has the wrong size";
    case Status::position_backwards:
      return "a position does not go forwards";
    case Status::not_finite:
      return "a key or value is not finite in the cache's type";
    case Status::position_too_large:
      return "a position is above max_position";
    case Status::bad_row:
      return "an attention row holds NaN, infinity or a weight outside [0, 1]";
    case Status::out_of_step:
      return "a row was observed with no token placed before it, or layers are at other tokens";
    case Status::full:
      return "all slots are in use and the policy evicts nothing";
    case Status::nothing_to_evict:
      return "all slots are in use and every token is protected";
    case Status::no_memory:
      return "the engine's pages have no slot for the token";
    case Status::too_far_back:
      return "the history does not reach back that far";
    case Status::no_sequence:
      return "the pool has no such sequence, or it is named twice";
  }
  return "unknown status";
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_STATUS_HPP
