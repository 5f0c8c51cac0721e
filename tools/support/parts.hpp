// SPDX-License-Identifier: Apache-2.0
/// \file
/// When a log gets a line of progress.
#ifndef MORPHKV_TOOLS_SUPPORT_PARTS_HPP
#define MORPHKV_TOOLS_SUPPORT_PARTS_HPP

#include <cstddef>
#include <utility>

namespace morphkv::support {

/// Parts of a run, such as tenths.
class Parts {
 public:
  explicit Parts(std::size_t count = 10) : count_(count) {}

  /// Whether another part has been done since the last call. \pre total > 0
  [[nodiscard]] bool is_next_done(std::size_t done, std::size_t total) {
    const std::size_t part = done * count_ / total;
    return std::exchange(part_, part) != part;
  }

 private:
  std::size_t count_;
  std::size_t part_ = 0;
};

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_PARTS_HPP
