// SPDX-License-Identifier: Apache-2.0
/// \file
/// The window's update in standard C++: the reference for the vector versions, which leave it the
/// slots from `begin` on that do not fill a vector.
///
/// Every function returns the least score among the slots whose protection bit is clear, or the
/// greatest value of its type if there is none; without protection bits nothing is sought.
#ifndef MORPHKV_KERNELS_PORTABLE_WINDOW_UPDATE_HPP
#define MORPHKV_KERNELS_PORTABLE_WINDOW_UPDATE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/half_bits.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace portable {

[[nodiscard]] inline bool is_candidate(const std::uint64_t* protected_bits,
                                       std::size_t slot) noexcept {
  return protected_bits != nullptr && !test_bit(protected_bits, slot);
}

/// sums += row - oldest, then oldest = row (rounded to binary16).
inline std::uint32_t slide_sum(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, std::uint16_t* oldest,
                               std::uint32_t* sums, std::size_t begin = 0) noexcept {
  std::uint32_t least = std::numeric_limits<std::uint32_t>::max();
  for (std::size_t s = begin; s < slots; ++s) {
    const std::uint16_t bits = to_half_bits(row[s]);
    sums[s] += half_units(bits) - half_units(oldest[s]);
    oldest[s] = bits;
    if (is_candidate(protected_bits, s)) least = (std::min)(least, sums[s]);
  }
  return least;
}

/// newest = row (rounded to binary16), prefix = max(prefix, row); the score is
/// max(prefix, suffix), or prefix where `suffix` is null.
inline std::uint16_t slide_max(const float* row, std::size_t slots,
                               const std::uint64_t* protected_bits, const std::uint16_t* suffix,
                               std::uint16_t* newest, std::uint16_t* prefix,
                               std::size_t begin = 0) noexcept {
  std::uint16_t least = std::numeric_limits<std::uint16_t>::max();
  for (std::size_t s = begin; s < slots; ++s) {
    newest[s] = to_half_bits(row[s]);
    prefix[s] = (std::max)(prefix[s], newest[s]);
    const std::uint16_t score = suffix == nullptr ? prefix[s] : (std::max)(prefix[s], suffix[s]);
    if (is_candidate(protected_bits, s)) least = (std::min)(least, score);
  }
  return least;
}

/// rows[r] = max over rows r ... count - 1, for every r: the flip of a two-stack window.
inline void suffix_max(std::uint16_t* rows, std::size_t stride, std::size_t count,
                       std::size_t slots, std::size_t begin = 0) noexcept {
  for (std::size_t r = count - 1; r-- > 0;) {
    std::uint16_t* row = rows + r * stride;
    for (std::size_t s = begin; s < slots; ++s) row[s] = (std::max)(row[s], row[s + stride]);
  }
}

/// scores = row.
inline float replace_row(const float* row, std::size_t slots, const std::uint64_t* protected_bits,
                         float* scores, std::size_t begin = 0) noexcept {
  float least = std::numeric_limits<float>::infinity();
  for (std::size_t s = begin; s < slots; ++s) {
    scores[s] = row[s];
    if (is_candidate(protected_bits, s)) least = (std::min)(least, scores[s]);
  }
  return least;
}

/// sums += row, in units of 2^-40.
inline std::uint64_t add_row(const float* row, std::size_t slots,
                             const std::uint64_t* protected_bits, std::uint64_t* sums,
                             std::size_t begin = 0) noexcept {
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t s = begin; s < slots; ++s) {
    sums[s] += fine_units(row[s]);
    if (is_candidate(protected_bits, s)) least = (std::min)(least, sums[s]);
  }
  return least;
}

/// pane += row and sums += row, in units of 2^-24 of the row rounded to binary16.
inline std::uint32_t add_to_pane(const float* row, std::size_t slots,
                                 const std::uint64_t* protected_bits, std::uint32_t* pane,
                                 std::uint32_t* sums, std::size_t begin = 0) noexcept {
  std::uint32_t least = std::numeric_limits<std::uint32_t>::max();
  for (std::size_t s = begin; s < slots; ++s) {
    const std::uint32_t units = half_units(to_half_bits(row[s]));
    pane[s] += units;
    sums[s] += units;
    if (is_candidate(protected_bits, s)) least = (std::min)(least, sums[s]);
  }
  return least;
}

}}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::portable

#endif  // MORPHKV_KERNELS_PORTABLE_WINDOW_UPDATE_HPP
