// SPDX-License-Identifier: Apache-2.0
/// \file
/// The bytes of a saved cache: written, and read back with nothing taken on trust.
#ifndef MORPHKV_CACHE_SNAPSHOT_HPP
#define MORPHKV_CACHE_SNAPSHOT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/core/byte_stream.hpp"
#include "morphkv/core/crc32.hpp"
#include "morphkv/core/error.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The layout of a snapshot, in the byte order of the machine that wrote it:
///
/// | bytes | what |
/// |---|---|
/// | 8 | "morphkv" and a zero |
/// | 4, 4 | snapshot_version and snapshot_byte_order |
/// | 8 | bytes of all that follows the checksum |
/// | 4 | their CRC-32 |
/// | 4 | zeros |
/// | ... | numbers of 8 bytes and pieces of memory, in the order in which they were put |
inline constexpr std::uint32_t snapshot_version = 2;
inline constexpr std::uint32_t snapshot_byte_order = 0x01020304;

struct SnapshotHeader {
  char magic[8] = {'m', 'o', 'r', 'p', 'h', 'k', 'v', '\0'};
  std::uint32_t version = snapshot_version;
  std::uint32_t byte_order = snapshot_byte_order;
  std::uint64_t bytes = 0;
  std::uint32_t checksum = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(SnapshotHeader) == 32);

/// A ByteWriter of a snapshot's body.
class SnapshotWriter : public ByteWriter {
 public:
  SnapshotWriter() : ByteWriter(sizeof(SnapshotHeader)) {}

  [[nodiscard]] std::vector<std::byte> finish() && {
    const std::span<const std::byte> body = std::span(bytes_).subspan(sizeof(SnapshotHeader));
    SnapshotHeader header;
    header.bytes = body.size();
    header.checksum = crc32(body);
    std::memcpy(bytes_.data(), &header, sizeof header);
    return std::move(bytes_);
  }
};

/// A ByteReader of the body of what a SnapshotWriter wrote.
class SnapshotReader : public ByteReader {
 public:
  /// \throws std::invalid_argument unless the header is right, naming what does not fit
  explicit SnapshotReader(std::span<const std::byte> snapshot) {
    SnapshotHeader header;
    require(snapshot.size() >= sizeof header, "bytes of the snapshot", snapshot.size(),
            "at least those of a header, " + std::to_string(sizeof header));
    const SnapshotHeader expected;
    std::memcpy(&header, snapshot.data(), sizeof header);
    require(std::equal(header.magic, std::end(header.magic), expected.magic), "snapshot",
            "something else", "one that KVCache::save wrote");
    require(header.byte_order == expected.byte_order, "byte order of the snapshot",
            header.byte_order, "that of this machine");
    require(header.version == expected.version, "version of the snapshot", header.version,
            std::to_string(expected.version));
    left_ = snapshot.subspan(sizeof header);
    require(header.bytes == left_.size(), "bytes after the header", left_.size(),
            std::to_string(header.bytes));
    require(header.checksum == crc32(left_), "checksum of the snapshot", crc32(left_),
            std::to_string(header.checksum));
  }
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_SNAPSHOT_HPP
