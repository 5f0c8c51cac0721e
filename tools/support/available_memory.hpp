// SPDX-License-Identifier: Apache-2.0
/// \file
/// Whether something fits in memory, asked before it is allocated: Linux grants pages that it does
/// not have, and then ends the program without a message.
#ifndef MORPHKV_TOOLS_SUPPORT_AVAILABLE_MEMORY_HPP
#define MORPHKV_TOOLS_SUPPORT_AVAILABLE_MEMORY_HPP

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>

namespace morphkv::support {

/// The smaller of the machine's memory and the limit of this process's control group, in bytes.
[[nodiscard]] inline std::uint64_t total_memory() {
  std::uint64_t bytes = std::numeric_limits<std::uint64_t>::max();
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0) {
    bytes = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
  }
  for (const char* file :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::uint64_t limit = 0;
    if (std::ifstream(file) >> limit) bytes = (std::min)(bytes, limit);  // "max": no limit
  }
  return bytes;
}

/// \throws std::invalid_argument "<what>: N bytes, M bytes of memory" if it does not fit.
inline void require_memory(double bytes, const std::string& what) {
  const std::uint64_t total = total_memory();
  if (bytes <= static_cast<double>(total)) return;
  const auto gib = [](double count) {
    return std::to_string(static_cast<std::uint64_t>(count / (1U << 30U))) + " GiB";
  };
  throw std::invalid_argument(what + " needs " + gib(bytes) + " of memory; this machine has " +
                              gib(static_cast<double>(total)));
}

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_AVAILABLE_MEMORY_HPP
