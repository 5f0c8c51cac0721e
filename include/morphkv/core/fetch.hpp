// SPDX-License-Identifier: Apache-2.0
/// \file
/// A prefetch for writing.
#ifndef MORPHKV_CORE_FETCH_HPP
#define MORPHKV_CORE_FETCH_HPP

#include <cstddef>

namespace morphkv { inline namespace v0 {

/// Brings memory into the nearest cache, ready to be written: a caller that prefetches all of it
/// first and writes afterwards waits once, not once per piece. Any address is valid; nothing
/// changes.
inline void fetch_to_write(const void* data, std::size_t bytes) noexcept {
  constexpr std::size_t line = 64;
  const char* begin = static_cast<const char*>(data);
  for (std::size_t b = 0; b < bytes; b += line) __builtin_prefetch(begin + b, 1);
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_FETCH_HPP
