// SPDX-License-Identifier: Apache-2.0
/// \file
/// How every program ends: its exit code and its one message.
#ifndef MORPHKV_TOOLS_SUPPORT_PROGRAM_HPP
#define MORPHKV_TOOLS_SUPPORT_PROGRAM_HPP

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>

#include "support/output_file.hpp"

namespace morphkv::support {

inline constexpr int exit_machine = 1;  ///< the disk is full, memory is exhausted
inline constexpr int exit_input = 2;    ///< the command line or an input file is not valid

/// \throws OutputError if something written to the standard output is lost.
inline void flush_standard_output() {
  std::cout.flush();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout) {
    throw OutputError("the standard output cannot be written");
  }
}

/// The command line as text, the program without its folder.
[[nodiscard]] inline std::string command_text(int count, const char* const* words) {
  std::string text = std::filesystem::path(words[0]).filename().string();
  for (int i = 1; i < count; ++i) text += std::string(" ") + words[i];
  return text;
}

/// Parses the command line, then calls `body`. An exception ends the program with its message.
/// \return the exit code
int run_program(const char* name, CLI::App& app, int count, const char* const* words, auto&& body) {
  const auto complain = [&](const char* message, int code) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s: %s\n", name, message);
    return code;
  };
  try {
    try {
      app.parse(count, words);
      body();
    } catch (const CLI::Success& request) {  // --help or --version
      app.exit(request);
    }
    flush_standard_output();
    return 0;
  } catch (const OutputError& error) {
    return complain(error.what(), exit_machine);
  } catch (const std::bad_alloc&) {
    return complain("there is not enough memory; a smaller capacity, model or input needs less",
                    exit_machine);
  } catch (const std::exception& error) {
    return complain(error.what(), exit_input);
  }
}

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_PROGRAM_HPP
