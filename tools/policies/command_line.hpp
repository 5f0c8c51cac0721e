// SPDX-License-Identifier: Apache-2.0
/// \file
/// A policy and its options on a command line, made from the registry's tables.
#ifndef MORPHKV_TOOLS_POLICIES_COMMAND_LINE_HPP
#define MORPHKV_TOOLS_POLICIES_COMMAND_LINE_HPP

#include <CLI/CLI.hpp>
#include <concepts>
#include <cstdint>
#include <iomanip>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "policies/registry.hpp"

namespace morphkv::policies {

inline void write_help_line(std::ostream& out, const std::string& flag, const std::string& text) {
  constexpr int column = 32;
  out << "  " << std::left << std::setw(column) << flag << ' ' << text << '\n';
}

namespace detail {

/// The flags that the help lists under their policies.
inline constexpr const char* policy_group = "policies";

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_group(std::string group, bool is_positional,
                         std::vector<const CLI::Option*> options) const override {
    if (group == policy_group) return "";
    return CLI::Formatter::make_group(std::move(group), is_positional, std::move(options));
  }
};

/// A flag and its default in the words of the help.
template <class Value>
void write_option(std::ostream& out, const std::string& name, const Value& value,
                  const std::string& meaning, bool is_fitted) {
  const std::string flag = flag_name(name);
  if constexpr (std::same_as<Value, bool>) {
    const std::string no = "--no-" + flag.substr(2);
    write_help_line(out, flag, meaning + (value ? " (default; otherwise " + no + ")" : ""));
  } else if constexpr (std::is_enum_v<Value>) {
    write_help_line(out, flag + ' ' + joined(ValueNames<Value>::all, "|"),
                    meaning + " [" + to_json(value).template get<std::string>() + ']');
  } else {
    const std::string text = is_fitted ? "as many as the tokens need" : to_json(value).dump();
    write_help_line(out, flag + (std::is_integral_v<Value> ? " n" : " x"),
                    meaning + " [" + text + ']');
  }
}

/// The value is kept as text and parsed once the policy is known.
template <class Value>
void add_flag(CLI::App& app, OptionTexts& options, const std::string& name) {
  const std::string flag = flag_name(name);
  CLI::Option* option = nullptr;
  if constexpr (std::same_as<Value, bool>) {
    option = app.add_flag_function(
        flag + ",!--no-" + flag.substr(2),
        [&options, name](std::int64_t count) { options[name] = count > 0 ? "true" : "false"; });
  } else {
    option = app.add_option_function<std::string>(
        flag, [&options, name](const std::string& text) { options[name] = text; });
  }
  option->group(policy_group);
}

}  // namespace detail

/// The options of each policy that `each` visits.
[[nodiscard]] std::string policy_help(auto&& each) {
  std::ostringstream out;
  out << "Options of each policy, [default]. Options of another policy are refused.\n";
  each([&]<class P>(const PolicyEntry<P>& entry) {
    out << "\n--policy " << entry.name << ": " << entry.summary << '\n';
    typename P::Options options = entry.at_capacity(default_capacity);
    if constexpr (has_capacity<P>) {
      detail::write_option(out, "capacity", default_capacity, "slots per head", false);
    }
    each_option(options, [&](const std::string& name, auto& field, const char* meaning) {
      detail::write_option(out, name, field, meaning, name == "max_tokens");
    });
  });
  return out.str();
}

/// Adds --policy, the options of all policies that `each` visits, and their help.
void add_policy_options(CLI::App& app, PolicyChoice& choice, auto&& each) {
  app.add_option("--policy", choice.policy, "what the cache keeps: one of the policies below")
      ->type_name("NAME")
      ->capture_default_str();
  std::set<std::string> known;
  const auto add = [&]<class Value>(const std::string& name, const Value&) {
    if (known.insert(name).second) detail::add_flag<Value>(app, choice.options, name);
  };
  add("capacity", default_capacity);
  each([&]<class P>(const PolicyEntry<P>&) {
    typename P::Options options;
    each_option(options, [&](const char* name, auto& field, const char*) { add(name, field); });
  });
  app.formatter(std::make_shared<detail::HelpFormatter>());
  app.footer([each] { return policy_help(each); });
}

inline void add_policy_options(CLI::App& app, PolicyChoice& choice) {
  add_policy_options(app, choice, [](auto&& visit) { each_policy(visit); });
}

}  // namespace morphkv::policies

#endif  // MORPHKV_TOOLS_POLICIES_COMMAND_LINE_HPP
