// SPDX-License-Identifier: Apache-2.0
/// \file
/// The command line, made from the policies' tables of options.
#ifndef MORPHKV_TOOLS_REPLAY_COMMAND_LINE_HPP
#define MORPHKV_TOOLS_REPLAY_COMMAND_LINE_HPP

#include <CLI/CLI.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "morphkv/version.hpp"
#include "policies/command_line.hpp"
#include "replay/policies.hpp"
#include "replay/settings.hpp"

namespace morphkv::replay {

struct CommandLine {
  std::string trace;
  std::string output;  ///< empty: none
  std::string html;    ///< empty: none
  std::string beside;  ///< other policies on the page, between commas, or all
  bool progress = false;
  Settings settings;
};

namespace detail {

[[nodiscard]] inline std::string replay_help() {
  std::ostringstream out;
  out << policies::policy_help(each_policy);
  std::vector<std::string_view> names;
  each_policy([&]<class Policy>(const policies::PolicyEntry<Policy>& entry) {
    if (has_budget<Policy>) names.push_back(entry.name);
  });
  out << "\nOptions of " << policies::joined(names, ", ") << ":\n";
  policies::write_help_line(out, "--budget uniform", "the same capacity for every head [default]");
  policies::write_help_line(out, "--budget pyramid", "less for deeper layers (PyramidKV):");
  policies::write_help_line(out, "  --layer l --layers n",
                            "the trace is of layer l, from 0, of n; required");
  policies::write_help_line(out, "  --beta x", "the last layer keeps 1 / x of the mean [20]");
  policies::write_help_line(out, "--budget adaptive",
                            "heads share by the prompt's scores (AdaKV):");
  policies::write_help_line(out, "  --floor x", "share of the capacity that every head has [0.2]");
  out << "\ndocs/replay.md describes the result.";
  return out.str();
}

inline void add_options(CLI::App& app, CommandLine& line) {
  app.add_option("--trace", line.trace, "The trace: a safetensors file with q, k and v")
      ->required()
      ->type_name("FILE");
  app.add_option("--output", line.output, "The result: a JSON file, or - for the standard output")
      ->type_name("FILE");
  auto* html = app.add_option("--html", line.html, "A page with plots: a file without references")
                   ->type_name("FILE");
  app.add_option("--beside", line.beside,
                 "Other policies on the page, between commas, or all: at the same capacity, with "
                 "their default options")
      ->needs(html)
      ->type_name("NAMES");
  app.add_option_function<std::string>(
         "--scalar",
         [&line](const std::string& text) {
           if (text != "float" && text != "half" && text != "bfloat16") {
             policies::refuse("scalar", text, "float, half or bfloat16");
           }
           line.settings.scalar = text;
         },
         "What the cache stores: float, half or bfloat16 [float]")
      ->type_name("TYPE");
  app.add_option_function<std::string>(
         "--chunk",
         [&line](const std::string& text) { policies::parse("chunk", text, line.settings.chunk); },
         "Tokens of the prompt that come at a time; 0 for all at once [0]")
      ->type_name("N");
  app.add_flag_callback(
      "--no-compare", [&line] { line.settings.compare = false; },
      "Leave out the comparison with the full cache: its time grows with tokens^2");
  app.add_flag("--progress", line.progress, "Say how far it is");
}

}  // namespace detail

/// \return nothing if the user asked for help, which has then been printed
/// \throws std::invalid_argument if the command line is not valid.
[[nodiscard]] inline std::optional<CommandLine> parse_command_line(int count,
                                                                   const char* const* words) {
  CommandLine line;
  CLI::App app(
      "Runs one KV-cache policy over a trace of attention, and writes which tokens it keeps after\n"
      "each step, and how far the step is from the full cache.\n",
      "replay");
  app.set_version_flag("--version", std::string("replay of morphkv ") + MORPHKV_VERSION_STRING);
  detail::add_options(app, line);
  policies::PolicyChoice choice;
  policies::add_policy_options(app, choice, each_policy);
  for (const std::string& name : budget_options) {
    policies::detail::add_flag<std::string>(app, choice.options, name);
  }
  app.footer([] { return detail::replay_help(); });
  try {
    app.parse(count, words);
  } catch (const CLI::Success& request) {
    app.exit(request);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw std::invalid_argument(error.what());
  }
  if (line.output.empty() && line.html.empty()) {
    throw std::invalid_argument("--output or --html is required: where the result goes");
  }
  line.settings.policy = choice.policy;
  line.settings.flags = choice.options;
  return line;
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_COMMAND_LINE_HPP
