// SPDX-License-Identifier: Apache-2.0
/// \file
/// Bytes that are written in order, and read back with nothing taken on trust.
#ifndef MORPHKV_CORE_BYTE_STREAM_HPP
#define MORPHKV_CORE_BYTE_STREAM_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "morphkv/core/error.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Numbers of 8 bytes and pieces of memory, in the order in which they are put. Thread safety:
/// none.
class ByteWriter {
 public:
  ByteWriter() = default;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  void put(std::uint64_t number) { put_bytes(std::as_bytes(std::span(&number, 1))); }
  void put_bytes(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

 protected:
  explicit ByteWriter(std::size_t header) : bytes_(header) {}
  std::vector<std::byte> bytes_;
};

/// Reads what a ByteWriter wrote. It allocates only messages.
/// \throws std::invalid_argument, from every function, naming what does not fit
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : left_(bytes) {}

  [[nodiscard]] bool is_empty() const noexcept { return left_.empty(); }
  [[nodiscard]] std::uint64_t take() {
    std::uint64_t number = 0;
    const auto bytes = take_bytes(sizeof number);
    std::memcpy(&number, bytes.data(), sizeof number);
    return number;
  }
  /// A number that has to be at most `limit`.
  [[nodiscard]] std::uint64_t take_at_most(const char* name, std::uint64_t limit) {
    const std::uint64_t saved = take();
    if (saved > limit) refuse(name, saved, "at most " + std::to_string(limit));
    return saved;
  }
  [[nodiscard]] std::span<const std::byte> take_bytes(std::uint64_t count) {
    require(count <= left_.size(), "bytes left in the snapshot", left_.size(),
            "at least " + std::to_string(count));
    const auto bytes = left_.first(static_cast<std::size_t>(count));
    left_ = left_.subspan(bytes.size());
    return bytes;
  }
  /// Fills `to`.
  template <class T>
  void take_into(std::span<T> to) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto bytes = take_bytes(to.size_bytes());
    if (!to.empty()) std::memcpy(static_cast<void*>(to.data()), bytes.data(), bytes.size());
  }
  /// The next number has to be `value`.
  void expect(const char* name, std::uint64_t value) {
    const std::uint64_t saved = take();
    if (saved != value) refuse(name, saved, std::to_string(value));
  }
  void expect_end() const {
    require(left_.empty(), "bytes left in the snapshot", left_.size(), "0");
  }

 protected:
  ByteReader() = default;
  std::span<const std::byte> left_;

 private:
  static void refuse(const char* name, std::uint64_t saved, const std::string& allowed) {
    require(false, std::string(name) + " of the snapshot", saved, allowed);
  }
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_BYTE_STREAM_HPP
