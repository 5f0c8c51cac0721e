// SPDX-License-Identifier: Apache-2.0
/// \file
/// The checksum of ZIP, PNG and Ethernet (CRC-32, ISO 3309).
#ifndef MORPHKV_TOOLS_SUPPORT_CRC32_HPP
#define MORPHKV_TOOLS_SUPPORT_CRC32_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace morphkv::support {

[[nodiscard]] inline std::uint32_t crc32(std::span<const std::byte> bytes) {
  static constexpr auto table = [] {
    std::array<std::uint32_t, 256> remainders{};
    for (std::uint32_t byte = 0; byte < remainders.size(); ++byte) {
      std::uint32_t remainder = byte;
      for (int bit = 0; bit < 8; ++bit) {
        remainder = (remainder >> 1U) ^ ((remainder & 1U) != 0 ? 0xEDB88320U : 0U);
      }
      remainders[byte] = remainder;
    }
    return remainders;
  }();
  std::uint32_t sum = 0xFFFFFFFFU;
  for (const std::byte byte : bytes) {
    sum = (sum >> 8U) ^ table[(sum ^ std::to_integer<std::uint32_t>(byte)) & 0xFFU];
  }
  return ~sum;
}

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_CRC32_HPP
