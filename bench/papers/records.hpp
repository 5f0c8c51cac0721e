// SPDX-License-Identifier: Apache-2.0
/// \file
/// The objects of a benchmark's file.
#ifndef MORPHKV_BENCH_PAPERS_RECORDS_HPP
#define MORPHKV_BENCH_PAPERS_RECORDS_HPP

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "papers/text.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"

namespace morphkv::papers {

/// An object of a file. Its path is the file and the line, "data.jsonl:3", so messages name both.
using Record = support::JsonFile;

namespace detail {

inline constexpr std::size_t max_depth = 20;  ///< of any benchmark's file: 3

[[nodiscard]] inline nlohmann::json parsed(const std::filesystem::path& place,
                                           const std::string& text) {
  const std::size_t depth = support::json_depth(text);
  support::expect(depth <= max_depth, place, "nesting of the JSON text", depth,
                  "at most " + std::to_string(max_depth));
  return nlohmann::json::parse(text, nullptr, false);
}

}  // namespace detail

/// The objects of a JSON list or of JSON lines.
/// \throws std::runtime_error naming the file, and the line or entry, that is not valid
[[nodiscard]] inline std::vector<Record> read_records(const std::filesystem::path& file) {
  support::InputFile input(file);
  const std::string text = input.read_text(input.size(), "the objects");
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) support::fail(file, "the file is empty");
  std::vector<Record> records;
  const auto add = [&](const std::string& place, nlohmann::json object, const char* what) {
    if (!object.is_object()) {
      support::fail(place, std::string(what) + " must be a JSON object; the file may be truncated");
    }
    records.emplace_back(place, std::move(object));
  };
  if (text[first] == '[') {
    nlohmann::json list = detail::parsed(file, text);
    if (!list.is_array()) {
      support::fail(file, "the file must be a JSON list of objects; it may be truncated");
    }
    for (nlohmann::json& object : list) {
      add(file.string() + ", entry " + std::to_string(records.size() + 1), std::move(object),
          "the entry");
    }
    if (records.empty()) support::fail(file, "the list has no entries");
    return records;
  }
  std::size_t number = 0;
  for (const std::string_view line : split(text, "\n")) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = file.string() + ":" + std::to_string(number);
    add(place, detail::parsed(place, std::string(line)), "the line");
  }
  return records;
}

/// A field that is a list of texts. \param at_least so many
[[nodiscard]] inline std::vector<std::string> texts(const Record& record, const std::string& field,
                                                    std::size_t at_least) {
  const nlohmann::json value = record.has(field) ? record.object()[field] : nlohmann::json();
  const auto is_text = [](const nlohmann::json& element) { return element.is_string(); };
  const bool valid = value.is_array() && value.size() >= at_least &&
                     std::all_of(value.begin(), value.end(), is_text);
  support::expect(valid, record.path(), field, value.dump(),
                  "a list of at least " + std::to_string(at_least) + " texts");
  return value.get<std::vector<std::string>>();
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_RECORDS_HPP
