// SPDX-License-Identifier: Apache-2.0
/// \file
/// Progress of a run: one changing line on a terminal, one line per quarter in a log.
#ifndef MORPHKV_TOOLS_COMPARISON_PROGRESS_HPP
#define MORPHKV_TOOLS_COMPARISON_PROGRESS_HPP

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <string>
#include <utility>

#include "support/parts.hpp"

namespace morphkv::comparison {

class Progress {
 public:
  /// \param unit what is counted
  explicit Progress(std::size_t total, std::string unit = "responses")
      : total_(total),
        unit_(std::move(unit)),
        is_terminal_(isatty(fileno(stderr)) != 0),
        start_(Clock::now()) {}

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  ~Progress() {
    if (is_terminal_) std::fputs("\r\033[K", stderr);
  }

  /// Adds finished jobs. Thread-safe.
  void advance(std::size_t count, const std::string& what) {
    const std::lock_guard lock(mutex_);
    done_ += count;
    if (is_terminal_) {
      draw(what);
    } else if (quarters_.is_next_done(done_, total_)) {
      std::fprintf(stderr, "%3zu %%  %zu of %zu %s, %.0f s\n", 100 * done_ / total_, done_, total_,
                   unit_.c_str(), seconds());
    }
  }

  /// Removes jobs that are not needed.
  void skip(std::size_t count) {
    const std::lock_guard lock(mutex_);
    total_ -= count;
  }

  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t width = 30;

  void draw(const std::string& what) const {
    const std::size_t filled = width * done_ / total_;
    const std::string bar = std::string(filled, '#') + std::string(width - filled, '.');
    const double left =
        seconds() * static_cast<double>(total_ - done_) / static_cast<double>(done_);
    std::fprintf(stderr, "\r\033[K[%s] %zu of %zu %s, %.0f s left  %s", bar.c_str(), done_, total_,
                 unit_.c_str(), left, what.c_str());
    std::fflush(stderr);
  }

  std::size_t total_;
  std::string unit_;
  std::size_t done_ = 0;
  support::Parts quarters_{4};
  bool is_terminal_;
  Clock::time_point start_;
  std::mutex mutex_;
};

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_PROGRESS_HPP
