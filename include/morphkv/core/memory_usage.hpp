// SPDX-License-Identifier: Apache-2.0
/// \file
/// Bytes by kind.
#ifndef MORPHKV_CORE_MEMORY_USAGE_HPP
#define MORPHKV_CORE_MEMORY_USAGE_HPP

#include <cstddef>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Every byte that a cache, a head or a policy holds. Comparisons of policies are made on
/// `total()`.
struct MemoryUsage {
  std::size_t keys = 0;
  std::size_t values = 0;
  std::size_t positions = 0;  ///< positions, protection bits and the order of arrival
  std::size_t window = 0;     ///< rows of the recent window
  std::size_t scores = 0;     ///< what ranks tokens, beside the window
  std::size_t history = 0;    ///< what a rollback needs
  std::size_t scratch = 0;    ///< working space of a step, shared by all layers

  [[nodiscard]] constexpr std::size_t total() const noexcept {
    return keys + values + positions + window + scores + history + scratch;
  }
  constexpr MemoryUsage& operator+=(const MemoryUsage& other) noexcept {
    keys += other.keys;
    values += other.values;
    positions += other.positions;
    window += other.window;
    scores += other.scores;
    history += other.history;
    scratch += other.scratch;
    return *this;
  }
  friend constexpr bool operator==(const MemoryUsage&, const MemoryUsage&) = default;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_MEMORY_USAGE_HPP
