// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vocabulary of vectors in standard C++, for one lane: a loop over it is the reference for the
/// loops over wider vectors, and does the elements that do not fill one of them.
#ifndef MORPHKV_KERNELS_ISA_PORTABLE_HPP
#define MORPHKV_KERNELS_ISA_PORTABLE_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/dispatch.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::portable {

using Floats = float;
using U16s = std::uint16_t;
using F16s = std::uint16_t;
using U32s = std::uint32_t;
using U64s = std::uint64_t;
using F64s = double;
using Lanes = bool;

inline constexpr std::size_t lanes = 1;
inline constexpr std::size_t u16_lanes = 1;

[[nodiscard]] inline Lanes clear_bits(const std::uint64_t* words, std::size_t index) noexcept {
  return !test_bit(words, index);
}
[[nodiscard]] inline Lanes clear_u16_bits(const std::uint64_t* words, std::size_t index) noexcept {
  return !test_bit(words, index);
}
[[nodiscard]] inline std::uint32_t bits(Lanes some) noexcept { return some ? 1U : 0U; }
[[nodiscard]] inline bool any(Lanes some) noexcept { return some; }
[[nodiscard]] inline Lanes bit_or(Lanes a, Lanes b) noexcept { return a || b; }

template <class T>
[[nodiscard]] T broadcast(T x) noexcept {
  return x;
}
template <Scalar T>
[[nodiscard]] Floats load(const T* p) noexcept {
  return static_cast<float>(*p);
}
template <class T>
[[nodiscard]] T load(const T* p) noexcept {
  return *p;
}
template <class T>
inline constexpr float load_factor = 1;
[[nodiscard]] inline F16s load_f16(const std::uint16_t* p) noexcept { return *p; }
[[nodiscard]] inline U16s load_rounded(const float* p) noexcept { return to_half_bits(*p); }
template <class T, class Vector>
void store(T* p, Vector a) noexcept {
  *p = static_cast<T>(a);
}

template <class T>
[[nodiscard]] T min(T a, T b) noexcept {
  return (std::min)(a, b);
}
template <class T>
[[nodiscard]] T max(T a, T b) noexcept {
  return (std::max)(a, b);
}
template <class T>
[[nodiscard]] T masked_min(Lanes at, T a, T b) noexcept {
  return at ? (std::min)(a, b) : a;
}
template <class T>
[[nodiscard]] Lanes equal(T a, T b) noexcept {
  return a == b;
}
template <class T>
[[nodiscard]] T reduce_min(T a) noexcept {
  return a;
}
[[nodiscard]] inline std::uint32_t reduce_max(U32s a) noexcept { return a; }
[[nodiscard]] inline U32s as_u32(Floats a) noexcept { return std::bit_cast<std::uint32_t>(a); }
[[nodiscard]] inline F16s to_f16(Floats a) noexcept { return to_half_bits(a); }
using morphkv::fine_units;
using morphkv::half_units;
template <class T>
[[nodiscard]] F64s to_f64(T a) noexcept {
  return static_cast<double>(a);
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD::portable

#endif  // MORPHKV_KERNELS_ISA_PORTABLE_HPP
