// SPDX-License-Identifier: Apache-2.0
/// \file
/// JSON objects from files, with messages that name file, field and value.
#ifndef MORPHKV_TOOLS_SUPPORT_JSON_FILE_HPP
#define MORPHKV_TOOLS_SUPPORT_JSON_FILE_HPP

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/input_file.hpp"

namespace morphkv::support {

/// Brackets that are open at once: a parser needs memory for each, a destructor may need stack.
[[nodiscard]] inline std::size_t json_depth(std::string_view text) {
  std::size_t depth = 0;
  std::size_t maximum = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '[' || c == '{') {
      maximum = (std::max)(maximum, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    } else {
      in_string = c == '"';
    }
  }
  return maximum;
}

/// \throws std::runtime_error if `text` is not a JSON object, or nested deeper than any real file.
[[nodiscard]] inline nlohmann::json parse_object(const std::filesystem::path& file,
                                                 const std::string& text) {
  constexpr std::size_t max_depth = 100;
  const std::size_t depth = json_depth(text);
  expect(depth <= max_depth, file, "nesting of the JSON text", depth,
         "at most " + std::to_string(max_depth));
  nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) fail(file, "the file must be a JSON object");
  return object;
}

/// A JSON object and the file that it came from. It notes which fields were asked for, so that a
/// reader can refuse what it does not know; therefore it is not for several threads.
class JsonFile {
 public:
  explicit JsonFile(const std::filesystem::path& path) : path_(path) {
    InputFile file(path);
    object_ = parse_object(path, file.read_text(file.size(), "the JSON text"));
  }
  JsonFile(std::filesystem::path path, nlohmann::json object)
      : path_(std::move(path)), object_(std::move(object)) {}

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] const nlohmann::json& object() const noexcept { return object_; }

  /// A field that is there and is not null.
  [[nodiscard]] bool has(const std::string& field) const {
    asked_.insert(field);
    const auto found = object_.find(field);
    return found != object_.end() && !found->is_null();
  }

  /// An integer in [low, high].
  [[nodiscard]] std::size_t count(const std::string& field, std::size_t low,
                                  std::size_t high) const {
    const nlohmann::json& value = at(field);
    const bool valid = value.is_number_unsigned() && value.get<std::size_t>() >= low &&
                       value.get<std::size_t>() <= high;
    expect(valid, path_, field, value.dump(),
           "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    return value.get<std::size_t>();
  }

  /// A number above 0.
  [[nodiscard]] double positive(const std::string& field) const {
    const nlohmann::json& value = at(field);
    const bool valid = value.is_number() && value.get<double>() > 0;
    expect(valid, path_, field, value.dump(), "a number above 0");
    return value.get<double>();
  }

  [[nodiscard]] bool flag(const std::string& field, bool otherwise) const {
    if (!has(field)) return otherwise;
    expect(at(field).is_boolean(), path_, field, at(field).dump(), "true or false");
    return at(field).get<bool>();
  }

  [[nodiscard]] std::string text(const std::string& field) const {
    expect(at(field).is_string(), path_, field, at(field).dump(), "a text");
    return at(field).get<std::string>();
  }

  /// The names of fields that are not null and that no call has asked for.
  [[nodiscard]] std::vector<std::string> unasked() const {
    std::vector<std::string> names;
    for (const auto& [name, value] : object_.items()) {
      if (!value.is_null() && !asked_.contains(name)) names.push_back(name);
    }
    return names;
  }

  [[nodiscard]] JsonFile part(const std::string& field) const {
    expect(at(field).is_object(), path_, field, at(field).dump(), "an object");
    return {path_, at(field)};
  }

 private:
  [[nodiscard]] const nlohmann::json& at(const std::string& field) const {
    if (!has(field)) fail(path_, "the field " + field + " is missing");
    return object_.at(field);
  }

  std::filesystem::path path_;
  nlohmann::json object_;
  mutable std::set<std::string> asked_;
};

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_JSON_FILE_HPP
