// SPDX-License-Identifier: Apache-2.0
/// \file
/// Numbers that a text hides and a question asks for.
#ifndef MORPHKV_TOOLS_TASKS_PASSKEY_HPP
#define MORPHKV_TOOLS_TASKS_PASSKEY_HPP

#include <cstddef>
#include <random>
#include <string>

namespace morphkv::tasks {

inline constexpr std::size_t passkey_digits = 5;

[[nodiscard]] inline std::string random_passkey(std::mt19937_64& random) {
  std::string digits;
  for (std::size_t i = 0; i < passkey_digits; ++i) {
    digits += static_cast<char>('0' + static_cast<int>(random() % 10));
  }
  return digits;
}

}  // namespace morphkv::tasks

#endif  // MORPHKV_TOOLS_TASKS_PASSKEY_HPP
