// SPDX-License-Identifier: Apache-2.0
/// \file
/// The checksum of zlib, ZIP and PNG: CRC-32, ISO-HDLC.
#ifndef MORPHKV_CORE_CRC32_HPP
#define MORPHKV_CORE_CRC32_HPP

#include <cstddef>
#include <cstdint>
#include <span>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// O(bytes): eight at a time, each through a table of its own ("slicing-by-8", Kounavis and Berry,
/// "A systematic approach to building high performance software-based CRC generators", 2005).
[[nodiscard]] inline std::uint32_t crc32(std::span<const std::byte> bytes) noexcept {
  /// of[n][byte]: what the byte does to the checksum n bytes later.
  struct Tables {
    std::uint32_t of[8][256];
  };
  static constexpr Tables tables = [] {
    Tables result{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t entry = i;
      for (int bit = 0; bit < 8; ++bit) {
        entry = (entry & 1U) != 0 ? 0xedb88320U ^ (entry >> 1U) : entry >> 1U;
      }
      result.of[0][i] = entry;
    }
    for (std::size_t n = 1; n < 8; ++n) {
      for (std::size_t i = 0; i < 256; ++i) {
        const std::uint32_t before = result.of[n - 1][i];
        result.of[n][i] = result.of[0][before & 0xffU] ^ (before >> 8U);
      }
    }
    return result;
  }();
  std::uint32_t crc = ~std::uint32_t{0};
  const std::byte* at = bytes.data();
  const std::size_t whole = bytes.size() / 8;
  for (std::size_t eight = 0; eight < whole; ++eight, at += 8) {
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      const auto index = (static_cast<std::uint32_t>(at[i]) ^ crc) & 0xffU;
      next ^= tables.of[7 - i][index];
      crc >>= 8U;
    }
    crc = next;
  }
  for (std::size_t i = 8 * whole; i < bytes.size(); ++i, ++at) {
    crc = tables.of[0][(crc ^ static_cast<std::uint32_t>(*at)) & 0xffU] ^ (crc >> 8U);
  }
  return ~crc;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_CRC32_HPP
