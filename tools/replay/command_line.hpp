// SPDX-License-Identifier: Apache-2.0
/// \file
/// The command line, made from the policies' tables of options.
#ifndef MORPHKV_EXAMPLES_REPLAY_COMMAND_LINE_HPP
#define MORPHKV_EXAMPLES_REPLAY_COMMAND_LINE_HPP

#include <CLI/CLI.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphkv/version.hpp"
#include "replay/settings.hpp"

namespace morphkv::replay {

struct CommandLine {
  std::string trace;
  std::string output;
  bool progress = false;
  Settings settings;
};

namespace detail {

/// The flags that policy_help() tells of.
inline constexpr const char* policy_group = "policies";

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_group(std::string group, bool is_positional,
                         std::vector<const CLI::Option*> options) const override {
    if (group == policy_group) return "";
    return CLI::Formatter::make_group(std::move(group), is_positional, std::move(options));
  }
};

inline void write_help_line(std::ostream& out, const std::string& flag, const std::string& text) {
  constexpr int column = 32;
  out << "  " << std::left << std::setw(column) << flag << ' ' << text << '\n';
}

/// What a flag takes, and its default.
template <class Value>
void write_option(std::ostream& out, const std::string& name, const Value& value,
                  const std::string& meaning) {
  if constexpr (std::same_as<Value, bool>) {
    const std::string off = "--no-" + flag_name(name).substr(2);
    const std::string text = meaning + (value ? " (default; else " + off + ")" : "");
    write_help_line(out, flag_name(name), text);
  } else if constexpr (std::is_enum_v<Value>) {
    write_help_line(out, flag_name(name) + ' ' + joined(Words<Value>::all, "|"),
                    meaning + " [" + to_json(value).template get<std::string>() + ']');
  } else {
    const bool is_fitted = name == "max_tokens";
    write_help_line(
        out, flag_name(name) + (std::is_integral_v<Value> ? " n" : " x"),
        meaning + " [" + (is_fitted ? "what the trace needs" : to_json(value).dump()) + ']');
  }
}

[[nodiscard]] inline std::string policy_help() {
  std::ostringstream out;
  out << "Options of each policy, [default]. A policy takes no other's.\n";
  each_policy([&]<class Policy>(const PolicyTag<Policy>& tag) {
    out << "\n--policy " << tag.policy << (has_budget<Policy> ? " (*)" : "") << '\n';
    typename Policy::Options options;
    each_option(options, [&](const char* name, auto& field, const char* meaning) {
      write_option(out, name, field, meaning);
    });
  });
  out << "\nPolicies with (*) take a budget too:\n";
  write_help_line(out, "--budget uniform", "every head has the policy's capacity (default)");
  write_help_line(out, "--budget pyramid", "less for deeper layers (PyramidKV):");
  write_help_line(out, "  --layer l --layers n", "the trace is of layer l, from 0, of n; needed");
  write_help_line(out, "  --beta x", "the last layer keeps 1 / x of the mean [20]");
  write_help_line(out, "--budget adaptive", "the heads share by the prompt's votes (AdaKV):");
  write_help_line(out, "  --floor x", "share of the capacity that every head has [0.2]");
  out << "\nThe result is described in docs/replay.md.";
  return out.str();
}

/// A flag that is written down as text, and judged once the policy is known.
template <class Value>
void add_flag(CLI::App& app, Flags& flags, const std::string& name) {
  const std::string flag = flag_name(name);
  CLI::Option* option = nullptr;
  if constexpr (std::same_as<Value, bool>) {
    option = app.add_flag_function(
        flag + ",!--no-" + flag.substr(2),
        [&flags, name](std::int64_t count) { flags[name] = count > 0 ? "true" : "false"; });
  } else {
    option = app.add_option_function<std::string>(
        flag, [&flags, name](const std::string& text) { flags[name] = text; });
  }
  option->group(policy_group);
}

inline void add_policy_flags(CLI::App& app, Flags& flags) {
  std::set<std::string> known;
  each_policy([&]<class Policy>(const PolicyTag<Policy>&) {
    typename Policy::Options options;
    each_option(options, [&](const char* name, auto& field, const char*) {
      using Value = std::remove_reference_t<decltype(field)>;
      if (known.insert(name).second) add_flag<Value>(app, flags, name);
    });
  });
  for (const char* name : {"budget", "beta", "layer", "layers", "floor"}) {
    add_flag<std::string>(app, flags, name);
  }
}

inline void add_options(CLI::App& app, CommandLine& line) {
  app.add_option("--trace", line.trace, "The trace: a safetensors file with q, k and v")
      ->required()
      ->type_name("FILE");
  app.add_option("--output", line.output, "The result: a JSON file, or - for the standard output")
      ->required()
      ->type_name("FILE");
  app.add_option("--policy", line.settings.policy, "One of those below [morphkv]")
      ->type_name("NAME");
  app.add_option_function<std::string>(
         "--scalar",
         [&line](const std::string& text) {
           if (text != "float" && text != "half" && text != "bfloat16") {
             refuse("scalar", text, "float, half or bfloat16");
           }
           line.settings.scalar = text;
         },
         "What the cache stores: float, half or bfloat16 [float]")
      ->type_name("TYPE");
  app.add_option_function<std::string>(
         "--chunk", [&line](const std::string& text) { parse("chunk", text, line.settings.chunk); },
         "Tokens of the prompt that come at a time; 0 for all at once [0]")
      ->type_name("N");
  app.add_flag_callback(
      "--no-compare", [&line] { line.settings.compare = false; },
      "Leave out the comparison with the full cache: its time grows with tokens^2");
  app.add_flag("--progress", line.progress, "Say how far it is");
}

}  // namespace detail

/// \return nothing if the user asked for help, which has then been printed
/// \throws std::invalid_argument if the command line makes no sense.
[[nodiscard]] inline std::optional<CommandLine> parse_command_line(int count,
                                                                   const char* const* words) {
  CommandLine line;
  CLI::App app(
      "Runs one KV-cache policy over a trace of attention, and writes which tokens it keeps after\n"
      "each step, and how far the step is from the full cache.\n",
      "replay");
  app.set_version_flag("--version", std::string("replay of morphkv ") + MORPHKV_VERSION_STRING);
  detail::add_options(app, line);
  detail::add_policy_flags(app, line.settings.flags);
  app.formatter(std::make_shared<detail::HelpFormatter>());
  app.footer([] { return detail::policy_help(); });
  try {
    app.parse(count, words);
  } catch (const CLI::Success& request) {
    app.exit(request);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw std::invalid_argument(error.what());
  }
  return line;
}

}  // namespace morphkv::replay

#endif  // MORPHKV_EXAMPLES_REPLAY_COMMAND_LINE_HPP
