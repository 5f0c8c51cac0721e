// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where and when a run took place, and with which code.
#ifndef MORPHKV_TOOLS_COMPARISON_MACHINE_HPP
#define MORPHKV_TOOLS_COMPARISON_MACHINE_HPP

#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

namespace morphkv::comparison {

/// The processor's name and its threads.
[[nodiscard]] inline std::string machine_text() {
  std::ifstream info("/proc/cpuinfo");
  std::string model = "unknown processor";
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      model = line.substr(colon + 2);
      break;
    }
  }
  return model + ", " + std::to_string(std::thread::hardware_concurrency()) + " hardware threads";
}

[[nodiscard]] inline std::string date_text() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  char text[32];
  gmtime_r(&now, &utc);
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

[[nodiscard]] inline std::string compiler_text() {
#ifdef __clang__
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

/// The commit of the current folder, "-dirty" if files have changed; empty outside a repository.
[[nodiscard]] inline std::string git_text() {
  const auto close = [](std::FILE* pipe) { pclose(pipe); };
  const std::unique_ptr<std::FILE, decltype(close)> pipe(
      popen("git describe --always --dirty --abbrev=10 2>/dev/null", "r"), close);
  char line[128] = "";
  if (!pipe || std::fgets(line, sizeof(line), pipe.get()) == nullptr) return {};
  std::string text = line;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_MACHINE_HPP
