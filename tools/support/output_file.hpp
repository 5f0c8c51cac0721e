// SPDX-License-Identifier: Apache-2.0
/// \file
/// Files that are complete or absent: written beside their name, then renamed.
#ifndef MORPHKV_TOOLS_SUPPORT_OUTPUT_FILE_HPP
#define MORPHKV_TOOLS_SUPPORT_OUTPUT_FILE_HPP

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>

namespace morphkv::support {

/// A result cannot be written; the input is not at fault.
class OutputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

/// The unfinished files of this process, which a signal that ends it removes.
class UnfinishedFiles {
 public:
  static void add(const char* path) {
    static const bool installed = install();
    static_cast<void>(installed);
    for (auto& entry : paths) {
      const char* free = nullptr;
      if (entry.compare_exchange_strong(free, path)) return;
    }
  }
  static void remove(const char* path) {
    for (auto& entry : paths) {
      const char* own = path;
      if (entry.compare_exchange_strong(own, nullptr)) return;
    }
  }

 private:
  static bool install() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
      if (std::signal(signal, &end) == SIG_IGN) std::signal(signal, SIG_IGN);
    }
    return true;
  }
  static void end(int signal) {
    for (const auto& entry : paths) {
      const char* path = entry.load();
      if (path != nullptr) ::unlink(path);
    }
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }

  static_assert(std::atomic<const char*>::is_always_lock_free, "signal handlers read it");
  inline static std::array<std::atomic<const char*>, 16> paths{};
};

}  // namespace detail

/// A file that appears under its name in finish(), not before. An existing file of that name
/// survives until then. A device or pipe is written in place.
class OutputFile {
 public:
  /// \throws OutputError if the file cannot be created.
  explicit OutputFile(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code error;
    const auto type = std::filesystem::status(path_, error).type();
    const bool in_place = type != std::filesystem::file_type::not_found &&
                          type != std::filesystem::file_type::regular;
    written_ = path_.string() + (in_place ? "" : ".part");
    if (!in_place) detail::UnfinishedFiles::add(written_.c_str());
    stream_.open(written_, std::ios::binary);
    if (!stream_) {
      abandon();
      fail();
    }
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() {
    if (!finished_) abandon();
  }

  [[nodiscard]] std::ostream& stream() noexcept { return stream_; }

  /// \throws OutputError if not everything that went into stream() could be written.
  void check() const {
    if (!stream_) fail();
  }
  void finish() {
    stream_.close();
    check();
    if (written_ != path_) {
      std::error_code error;
      std::filesystem::rename(written_, path_, error);
      if (error) throw OutputError(path_.string() + ": " + error.message());
      detail::UnfinishedFiles::remove(written_.c_str());
    }
    finished_ = true;
  }

 private:
  [[noreturn]] void fail() const {
    throw OutputError(path_.string() + ": the file cannot be written");
  }
  void abandon() noexcept {
    if (written_ == path_) return;
    std::error_code ignored;
    std::filesystem::remove(written_, ignored);
    detail::UnfinishedFiles::remove(written_.c_str());
  }

  std::filesystem::path path_;
  std::string written_;
  std::ofstream stream_;
  bool finished_ = false;
};

/// Writes a whole file, and creates its folder. \throws OutputError if that fails.
inline void write_file(const std::filesystem::path& path, const std::string& text) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  OutputFile file(path);
  file.stream() << text;
  file.finish();
}

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_OUTPUT_FILE_HPP
