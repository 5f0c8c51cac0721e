// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the fuzzers share: choices from the fuzzer's bytes, and files that a reader must read or
/// refuse.
#ifndef MORPHKV_TESTS_FUZZ_FUZZ_INPUT_HPP
#define MORPHKV_TESTS_FUZZ_FUZZ_INPUT_HPP

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tools/temporary_folder.hpp"

namespace morphkv::testing {

/// Calls of what is tested so far.
inline std::uint64_t operations = 0;

/// Ends the fuzzer, which then saves the input.
[[noreturn]] inline void fuzz_failure(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

inline void fuzz_check(bool holds, const std::string& what) {
  if (!holds) fuzz_failure(what);
}

/// The fuzzer's bytes, read one after the other. Beyond the end they are zeros.
class FuzzBytes {
 public:
  FuzzBytes(const std::uint8_t* data, std::size_t size)
      : bytes_(reinterpret_cast<const char*>(data), size) {}

  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  [[nodiscard]] std::size_t byte() {
    if (empty()) return 0;
    const auto first = static_cast<std::uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return first;
  }
  /// Below `bound`, which is at most 65,536.
  [[nodiscard]] std::size_t below(std::size_t bound) {
    const std::size_t low = byte();
    return (bound > 256 ? low + 256 * byte() : low) % bound;
  }
  /// Up to the next byte 0, which is skipped.
  [[nodiscard]] std::string text() {
    const std::size_t end = bytes_.find('\0');
    std::string text(bytes_.substr(0, end));
    bytes_.remove_prefix(end == std::string_view::npos ? bytes_.size() : end + 1);
    return text;
  }
  [[nodiscard]] std::string_view rest() const { return bytes_; }

 private:
  std::string_view bytes_;
};

/// Calls a reader, which must read the files in `folder` or refuse them with a message that names
/// one of them. \return whether it has read them
template <class Read>
bool reads_or_refuses(const std::filesystem::path& folder, const Read& read) {
  try {
    read();
    return true;
  } catch (const std::runtime_error& error) {
    const std::string message = error.what();
    fuzz_check(message.find(folder.string()) != std::string::npos,
               "the message names no file: " + message);
  }  // any other exception ends the fuzzer
  return false;
}

/// A safetensors file: the text up to the byte 0 as its header, then so many bytes of data; or the
/// bytes as they are.
inline std::string safetensors_bytes(FuzzBytes& bytes) {
  if (bytes.byte() % 8 == 7) return std::string(bytes.rest());
  const std::size_t data = bytes.below(4096);
  const std::string header = bytes.text();
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    file[i] = static_cast<char>((std::uint64_t{header.size()} >> (8 * i)) & 0xffU);
  }
  file += header;
  file += std::string(bytes.rest().substr(0, data));
  file.resize(8 + header.size() + data, '\0');
  return file;
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_FUZZ_FUZZ_INPUT_HPP
