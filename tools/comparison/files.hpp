// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a program writes, and how it was called.
#ifndef MORPHKV_EXAMPLES_COMPARISON_FILES_HPP
#define MORPHKV_EXAMPLES_COMPARISON_FILES_HPP

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace morphkv::comparison {

/// Makes the folder too. \throws std::runtime_error if the file cannot be written.
inline void write_file(const std::filesystem::path& path, const std::string& text) {
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error(path.string() + ": the file cannot be written");
}

/// The command line, with the program's name alone.
[[nodiscard]] inline std::string command_text(int count, char** words) {
  std::string text = std::filesystem::path(words[0]).filename().string();
  for (int i = 1; i < count; ++i) text += std::string(" ") + words[i];
  return text;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_EXAMPLES_COMPARISON_FILES_HPP
