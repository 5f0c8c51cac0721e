// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reading of untrusted files: no read goes past the end, and every message names the
/// file.
#ifndef MORPHKV_TOOLS_SUPPORT_INPUT_FILE_HPP
#define MORPHKV_TOOLS_SUPPORT_INPUT_FILE_HPP

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

namespace morphkv::support {

static_assert(std::endian::native == std::endian::little,
              "the file formats read here are little-endian, and are read without conversion");

/// "<file>: <what is wrong>".
[[noreturn]] inline void fail(const std::filesystem::path& file, const std::string& message) {
  throw std::runtime_error(file.string() + ": " + message);
}

/// Fails with "<file>: <field> = <given>: must be <allowed>" unless `valid`.
template <class Value>
void expect(bool valid, const std::filesystem::path& file, const std::string& field,
            const Value& given, const std::string& allowed) {
  if (valid) return;
  std::ostringstream message;
  message << field << " = " << given << ": must be " << allowed;
  fail(file, message.str());
}

class InputFile {
 public:
  /// \throws std::runtime_error if there is no such file, or it cannot be read.
  explicit InputFile(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path_, error)) fail(path_, "there is no such file");
    size_ = std::filesystem::file_size(path_, error);
    stream_.open(path_, std::ios::binary);
    if (error || !stream_) fail(path_, "the file cannot be read");
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  [[nodiscard]] std::uint64_t left() const noexcept { return size_ - position_; }

  /// \throws std::runtime_error if `offset` is past the end.
  void seek(std::uint64_t offset) {
    expect(offset <= size_, path_, "offset", offset,
           "within the " + std::to_string(size_) + " bytes");
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(offset));
    position_ = offset;
  }

  /// The next `count` numbers. What they are goes into the message if the file is too short.
  template <class T>
  requires std::is_trivially_copyable_v<T>
  [[nodiscard]] std::vector<T> read(std::uint64_t count, const std::string& what) {
    if (count > left() / sizeof(T)) {
      fail(path_, "the file ends inside " + what + ": " + std::to_string(count) + " x " +
                      std::to_string(sizeof(T)) + " bytes expected, " + std::to_string(left()) +
                      " left");
    }
    std::vector<T> numbers(static_cast<std::size_t>(count));
    const auto bytes = static_cast<std::streamsize>(count * sizeof(T));
    stream_.read(reinterpret_cast<char*>(numbers.data()), bytes);
    if (stream_.gcount() != bytes) fail(path_, "reading " + what + " failed");
    position_ += count * sizeof(T);
    return numbers;
  }

  template <class T>
  [[nodiscard]] T read_one(const std::string& what) {
    return read<T>(1, what).front();
  }

  [[nodiscard]] std::string read_text(std::uint64_t bytes, const std::string& what) {
    const std::vector<char> text = read<char>(bytes, what);
    return {text.begin(), text.end()};
  }

 private:
  std::filesystem::path path_;
  std::ifstream stream_;
  std::uint64_t size_ = 0;
  std::uint64_t position_ = 0;
};

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_INPUT_FILE_HPP
