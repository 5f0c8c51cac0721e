// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pins: the tokens of a block that stay although nothing attends to them yet.
///
/// A decoding score knows what was attended to; a fact in a prompt is often attended to only when a
/// later question asks for it. Two things tell such tokens before that: the norm of their values
/// (cf. VaSE, arXiv 2606.03928) and the attention of the block's last queries, which end an
/// instruction or a question (cf. SnapKV, arXiv 2404.14469). Both are pooled along positions, so
/// that a token is pinned with its neighbours, and multiplied:
///
///     pin_value = average_13(|v|) x (average_25(sum of the last 4 rows) + 2^-30)^(1/16)
///
/// The tokens with the highest values are pinned, recent ones among them: no score evicts them. A
/// pin for ever would cost the response what it needs, so pins are released from the lowest value
/// on, half of them every `pin_half_life` tokens; then a token's score decides.
/// docs/choose_a_policy.md has the measurements.
///
/// Functions of host and device that give the same bits on both.
#ifndef MORPHKV_EVICTION_PINS_HPP
#define MORPHKV_EVICTION_PINS_HPP

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/core/config.hpp"
#include "morphkv/eviction/rules.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Last queries of a block whose attention pins.
inline constexpr std::uint32_t pin_queries = 4;
/// A block of fewer tokens, such as a draft, pins as many tokens as are pinned, by its own values;
/// a longer one pins anew.
inline constexpr std::uint32_t min_pinning_block = 32;

/// The Euclidean norm of `size` numbers; 0 if it is no finite float. In double, where products of
/// floats are exact.
template <class T>
[[nodiscard]] MORPHKV_HOST_DEVICE float pin_norm(const T* numbers, std::size_t size) noexcept {
  double sums[4] = {};  // additions that do not wait for each other
  for (std::size_t d = 0; d < size; ++d) {
    const auto x = static_cast<double>(static_cast<float>(numbers[d]));
    sums[d % 4] += x * x;
  }
  const double norm = std::sqrt((sums[0] + sums[1]) + (sums[2] + sums[3]));
  return norm <= double{std::numeric_limits<float>::max()} ? static_cast<float>(norm) : 0.0F;
}

/// The average of at(rank) around rank `centre`, over `kernel` ranks, of those below `count`; 0
/// beyond them.
MORPHKV_CALLS_FUNCTION
template <class At>
[[nodiscard]] MORPHKV_HOST_DEVICE double average_around(std::uint32_t count, std::uint32_t kernel,
                                                        std::uint32_t centre, const At& at) {
  const std::uint32_t reach = kernel / 2;
  const std::uint32_t begin = centre < reach ? 0 : centre - reach;
  const std::uint32_t end = count - centre > reach ? centre + reach + 1 : count;
  double sum = 0;
  for (std::uint32_t rank = begin; rank < end; ++rank) sum += at(rank);
  return sum / kernel;
}

/// What the token of rank `rank` by position is pinned by, of `count` tokens.
/// \param norm norm(rank) of the token's value, \param attention attention(rank) of the last
///        queries, their sum; both 0 for tokens that stay anyway, so that a sink pins no neighbour
MORPHKV_CALLS_FUNCTION
template <class Norm, class Attention>
[[nodiscard]] MORPHKV_HOST_DEVICE double pin_value(std::uint32_t count, std::uint32_t rank,
                                                   const Norm& norm, const Attention& attention) {
  double attended = average_around(count, 25, rank, attention) + 0x1p-30;
  for (int i = 0; i < 4; ++i) attended = std::sqrt(attended);
  return average_around(count, 13, rank, norm) * attended;
}

/// Pins that are left after `tokens` tokens: half as many after each half-life, and by straight
/// lines between.
[[nodiscard]] MORPHKV_HOST_DEVICE inline std::uint32_t pins_left(const EvictionRules& rules,
                                                                 std::uint32_t tokens) noexcept {
  const std::uint32_t halvings = tokens / rules.pin_half_life;
  if (halvings >= 32) return 0;
  const std::uint32_t pins = rules.pins >> halvings;
  const std::uint64_t going = pins - (pins >> 1U);
  return pins -
         static_cast<std::uint32_t>(going * (tokens % rules.pin_half_life) / rules.pin_half_life);
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_PINS_HPP
