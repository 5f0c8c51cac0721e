// SPDX-License-Identifier: Apache-2.0
/// \file
/// The tables of docs/memory.md, from the library's own accounting.
#ifndef MORPHKV_TOOLS_MEMORY_TABLES_HPP
#define MORPHKV_TOOLS_MEMORY_TABLES_HPP

#include <array>
#include <cstddef>
#include <cstdio>
#include <initializer_list>
#include <string>

#include "memory/expected_memory.hpp"
#include "memory/known_models.hpp"

namespace morphkv::memory {

namespace detail {

using Stored = Eigen::bfloat16;

inline constexpr std::array<std::size_t, 3> capacities = {1024, 2048, 4096};

struct Window {
  std::size_t rows;
  std::size_t panes;
  const char* name;
};
inline constexpr std::array<Window, 3> windows = {
    {{0, 0, "default"}, {32, 0, "R = 32"}, {200, 0, "R = 200"}}};

[[nodiscard]] inline MemoryUsage morphkv_memory(const CacheShape& shape, std::size_t capacity,
                                                const Window& window) {
  return expected_memory<Stored, MorphKV>(
      shape, {.capacity = capacity, .window = window.rows, .panes = window.panes});
}

[[nodiscard]] inline std::string text(const char* format, double number) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, number);
  return buffer.data();
}

/// In MiB or GiB, to three digits or so.
[[nodiscard]] inline std::string bytes(std::size_t count) {
  const double mib = static_cast<double>(count) / (1 << 20U);
  return mib < 1024 ? text(mib < 100 ? "%.1f MiB" : "%.0f MiB", mib) : text("%.2f GiB", mib / 1024);
}

[[nodiscard]] inline std::string row(std::initializer_list<std::string> cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

}  // namespace detail

/// Keys and values of the full cache.
[[nodiscard]] inline std::string full_cache_table() {
  using namespace detail;
  std::string table = row({"model", "layers", "KV heads", "head_dim", "a token", "8K tokens",
                           "32K tokens", "128K tokens"}) +
                      "|---|---:|---:|---:|---:|---:|---:|---:|\n";
  for (const KnownModel& model : known_models) {
    const CacheShape& shape = model.shape;
    const std::size_t token = full_bytes<Stored>(shape, 1);
    const auto at = [&](std::size_t tokens) {
      return bytes(tokens * token) + (tokens > model.trained ? " *" : "");
    };
    table += row({model.name, std::to_string(shape.layers), std::to_string(shape.kv_heads),
                  std::to_string(shape.head_dim), std::to_string(token / 1024) + " KiB", at(8192),
                  at(32768), at(131072)});
  }
  return table;
}

/// All bytes of a cache with MorphKV, however long the text.
[[nodiscard]] inline std::string constant_cache_table() {
  using namespace detail;
  std::string table = row({"model", "window", "capacity 1024", "2048", "4096",
                           "2048 weighs as much as a full cache of"}) +
                      "|---|---|---:|---:|---:|---:|\n";
  for (const KnownModel& model : known_models) {
    for (const Window& window : {windows[0], windows[1]}) {
      const auto total = [&](std::size_t capacity) {
        return morphkv_memory(model.shape, capacity, window).total();
      };
      table +=
          row({model.name, window.name, bytes(total(1024)), bytes(total(2048)), bytes(total(4096)),
               std::to_string(total(2048) / full_bytes<Stored>(model.shape, 1)) + " tokens"});
    }
  }
  return table;
}

/// Where the bytes of one cache go.
[[nodiscard]] inline std::string kinds_table() {
  using namespace detail;
  const KnownModel& model = known_models[0];
  std::array<MemoryUsage, 3> usages;
  std::string head = "| |";
  std::string rule = "|---|";
  for (std::size_t i = 0; i < usages.size(); ++i) {
    usages[i] = morphkv_memory(model.shape, 2048, windows[i]);
    head += std::string(" ") + windows[i].name + " |";
    rule += "---:|";
  }
  std::string table = head + "\n" + rule + "\n";
  const auto line = [&](const char* name, auto bytes_of) {
    table += row(
        {name, bytes(bytes_of(usages[0])), bytes(bytes_of(usages[1])), bytes(bytes_of(usages[2]))});
  };
  line("keys and values", [](const MemoryUsage& usage) { return usage.keys + usage.values; });
  line("rows of the window", [](const MemoryUsage& usage) { return usage.window; });
  line("scores", [](const MemoryUsage& usage) { return usage.scores; });
  line("positions and protection", [](const MemoryUsage& usage) { return usage.positions; });
  line("working space", [](const MemoryUsage& usage) { return usage.scratch; });
  line("all", [](const MemoryUsage& usage) { return usage.total(); });
  return table;
}

}  // namespace morphkv::memory

#endif  // MORPHKV_TOOLS_MEMORY_TABLES_HPP
