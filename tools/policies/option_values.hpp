// SPDX-License-Identifier: Apache-2.0
/// \file
/// Values of options as text: parsing with a complete error message, and printing.
#ifndef MORPHKV_TOOLS_POLICIES_OPTION_VALUES_HPP
#define MORPHKV_TOOLS_POLICIES_OPTION_VALUES_HPP

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include "morphkv/core/types.hpp"

namespace morphkv::policies {

/// "--protect-prompt" for "protect_prompt".
[[nodiscard]] inline std::string flag_name(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

/// \throws std::invalid_argument "--window = x: must be <allowed>"
[[noreturn]] inline void refuse(const std::string& name, const std::string& given,
                                const std::string& allowed) {
  throw std::invalid_argument(flag_name(name) + " = " + given + ": must be " + allowed);
}

/// "a, b, c" for a separator of ", ".
[[nodiscard]] inline std::string joined(const auto& words, std::string_view separator) {
  std::string text;
  for (const auto& word : words) {
    if (!text.empty()) text += separator;
    text += word;
  }
  return text;
}

/// The names of an enumeration's values, in the order of the values.
template <class Enum>
struct ValueNames;
template <>
struct ValueNames<Fusion> {
  static constexpr std::array<std::string_view, 2> all = {"sum", "max"};
};
template <>
struct ValueNames<GroupFusion> {
  static constexpr std::array<std::string_view, 3> all = {"max", "mean", "sum"};
};
template <>
struct ValueNames<Pooling> {
  static constexpr std::array<std::string_view, 2> all = {"avg", "max"};
};

namespace detail {

/// Whether all of `text` is a number.
template <class Number>
[[nodiscard]] bool parse_number(const std::string& text, Number& number) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, number);
  return result.ec == std::errc{} && result.ptr == end;
}

}  // namespace detail

/// A count of tokens or slots is at most the largest position; a seed is any 64-bit number.
inline void parse(const std::string& name, const std::string& text, std::size_t& value) {
  constexpr std::size_t maximum = 2147483646;
  const bool number = detail::parse_number(text, value);
  if (name == "seed") {
    if (!number) refuse(name, text, "an unsigned 64-bit integer");
  } else if (!number || value > maximum) {
    refuse(name, text, "an integer from 0 to " + std::to_string(maximum));
  }
}

inline void parse(const std::string& name, const std::string& text, double& value) {
  if (!detail::parse_number(text, value)) refuse(name, text, "a number");
}

inline void parse(const std::string& name, const std::string& text, bool& value) {
  if (text != "true" && text != "false") refuse(name, text, "true or false");
  value = text == "true";
}

template <class Enum>
requires std::is_enum_v<Enum>
void parse(const std::string& name, const std::string& text, Enum& value) {
  constexpr auto& names = ValueNames<Enum>::all;
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) refuse(name, text, joined(names, ", "));
  value = static_cast<Enum>(found - names.begin());
}

template <class Value>
[[nodiscard]] nlohmann::json to_json(const Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    return ValueNames<Value>::all.at(static_cast<std::size_t>(value));
  } else {
    return value;
  }
}

/// A value of to_json() as a command line gives it.
[[nodiscard]] inline std::string text_of(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float() && std::isinf(value.get<double>())) return "inf";
  return value.dump();
}

}  // namespace morphkv::policies

#endif  // MORPHKV_TOOLS_POLICIES_OPTION_VALUES_HPP
