// SPDX-License-Identifier: Apache-2.0
/// \file
/// The checksum of zlib, ZIP and PNG: CRC-32, ISO-HDLC.
#ifndef MORPHKV_CORE_CRC32_HPP
#define MORPHKV_CORE_CRC32_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// O(bytes).
[[nodiscard]] inline std::uint32_t crc32(std::span<const std::byte> bytes) noexcept {
  static constexpr auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t entry = i;
      for (int bit = 0; bit < 8; ++bit) {
        entry = (entry & 1U) != 0 ? 0xedb88320U ^ (entry >> 1U) : entry >> 1U;
      }
      entries[i] = entry;
    }
    return entries;
  }();
  std::uint32_t crc = ~std::uint32_t{0};
  for (const std::byte byte : bytes) {
    crc = table[(crc ^ static_cast<std::uint32_t>(byte)) & 0xffU] ^ (crc >> 8U);
  }
  return ~crc;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_CRC32_HPP
