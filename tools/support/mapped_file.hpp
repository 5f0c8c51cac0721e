// SPDX-License-Identifier: Apache-2.0
/// \file
/// A file as memory: the system reads what is used, and programs share it.
#ifndef MORPHKV_TOOLS_SUPPORT_MAPPED_FILE_HPP
#define MORPHKV_TOOLS_SUPPORT_MAPPED_FILE_HPP

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <span>

#include "support/input_file.hpp"

namespace morphkv::support {

/// \pre nobody shortens the file while it is mapped
class MappedFile {
 public:
  /// \throws std::runtime_error if the file cannot be mapped.
  explicit MappedFile(const std::filesystem::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(path, "the file cannot be opened");
    struct stat status {};
    if (::fstat(file, &status) == 0) size_ = static_cast<std::size_t>(status.st_size);
    if (size_ > 0) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    ::close(file);
    if (size_ == 0 || data_ == MAP_FAILED) fail(path, "the file cannot be mapped into memory");
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() { ::munmap(data_, size_); }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(data_), size_};
  }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_MAPPED_FILE_HPP
