// SPDX-License-Identifier: Apache-2.0
/// \file
/// Progress of a replay: one changing line on a terminal, one line per tenth in a log.
#ifndef MORPHKV_TOOLS_REPLAY_PROGRESS_HPP
#define MORPHKV_TOOLS_REPLAY_PROGRESS_HPP

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>

#include "support/parts.hpp"

namespace morphkv::replay {

class Progress {
 public:
  Progress(std::size_t total, bool enabled)
      : total_(total), enabled_(enabled), is_terminal_(isatty(fileno(stderr)) != 0) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (enabled_ && is_terminal_) std::fputs("\r\033[K", stderr);
  }

  /// `done` of the total are done.
  void show(std::size_t done) {
    if (!enabled_ || !is_due(done)) return;
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const double left = seconds * static_cast<double>(total_ - done) / static_cast<double>(done);
    std::fprintf(stderr, "%s%3zu %%  step %zu of %zu, %.0f s, %.0f s left%s",
                 is_terminal_ ? "\r\033[K" : "", 100 * done / total_, done, total_, seconds, left,
                 is_terminal_ ? "" : "\n");
    std::fflush(stderr);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds interval{100};

  [[nodiscard]] bool is_due(std::size_t done) {
    if (!is_terminal_) return tenths_.is_next_done(done, total_);
    const Clock::time_point now = Clock::now();
    if (now - shown_ < interval) return false;
    shown_ = now;
    return true;
  }

  std::size_t total_;
  bool enabled_;
  bool is_terminal_;
  support::Parts tenths_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = Clock::now();
};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_PROGRESS_HPP
