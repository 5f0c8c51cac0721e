// SPDX-License-Identifier: Apache-2.0
/// \file
/// Numbers as text.
#ifndef MORPHKV_TOOLS_COMPARISON_NUMBERS_HPP
#define MORPHKV_TOOLS_COMPARISON_NUMBERS_HPP

#include <cstdio>
#include <string>

namespace morphkv::comparison {

[[nodiscard]] inline std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

/// "93 %".
[[nodiscard]] inline std::string percent(double share, int digits = 0) {
  return fixed(100 * share, digits) + " %";
}

/// "312 KiB", "4.0 MiB".
[[nodiscard]] inline std::string bytes_text(double bytes) {
  const double kib = bytes / 1024;
  if (kib < 10) return fixed(kib, 1) + " KiB";
  if (kib < 1024) return fixed(kib, 0) + " KiB";
  return fixed(kib / 1024, 1) + " MiB";
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_NUMBERS_HPP
