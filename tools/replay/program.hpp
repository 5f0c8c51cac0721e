// SPDX-License-Identifier: Apache-2.0
/// \file
/// The program: trace in, result out.
#ifndef MORPHKV_TOOLS_REPLAY_PROGRAM_HPP
#define MORPHKV_TOOLS_REPLAY_PROGRAM_HPP

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "morphkv/core/memory_usage.hpp"
#include "morphkv/version.hpp"
#include "replay/command_line.hpp"
#include "replay/page.hpp"
#include "replay/policies.hpp"
#include "replay/progress.hpp"
#include "replay/recording.hpp"
#include "replay/replay.hpp"
#include "replay/result_writer.hpp"
#include "replay/session.hpp"
#include "replay/settings.hpp"
#include "replay/trace.hpp"
#include "support/output_file.hpp"

namespace morphkv::replay {

namespace detail {

/// The fields that are known before the first token.
[[nodiscard]] inline nlohmann::ordered_json head_fields(const CommandLine& line, const Trace& trace,
                                                        const Session& session) {
  nlohmann::ordered_json fields = {{"format", "morphkv-replay-2"},
                                   {"library_version", MORPHKV_VERSION_STRING}};
  fields.update(session.description());
  fields["scalar"] = line.settings.scalar;
  fields["chunk"] = line.settings.chunk;
  fields["shape"] = {{"tokens", trace.tokens},
                     {"query_heads", trace.shape.query_heads},
                     {"kv_heads", trace.shape.kv_heads},
                     {"head_dim", trace.shape.head_dim}};
  fields["prompt_length"] = trace.prompt_length;
  return fields;
}

inline void write_losses(ResultWriter& writer, const std::string& name, const Losses& losses,
                         double Loss::*number) {
  if (losses.empty()) {
    writer.fields({{name, nullptr}});
    return;
  }
  writer.begin_list(name);
  for (const auto& step : losses) {
    nlohmann::json row = nlohmann::json::array();
    for (const Loss& loss : step) row.push_back(loss.*number);  // NaN becomes null
    writer.row(row);
  }
  writer.end_list();
}

[[nodiscard]] inline nlohmann::ordered_json describe(const MemoryUsage& memory) {
  return {{"keys", memory.keys},       {"values", memory.values}, {"positions", memory.positions},
          {"window", memory.window},   {"scores", memory.scores}, {"history", memory.history},
          {"scratch", memory.scratch}, {"total", memory.total()}};
}

/// The fields that are known after the last token.
[[nodiscard]] inline nlohmann::ordered_json tail_fields(const Trace& trace, const Session& session,
                                                        const Losses& losses) {
  nlohmann::ordered_json fields;
  fields["mean_lost_mass"] = mean_after_prompt(losses, &Loss::lost_mass);
  fields["mean_output_error"] = mean_after_prompt(losses, &Loss::output_error);
  for (std::size_t head = 0; head < trace.shape.kv_heads; ++head) {
    fields["capacities"].push_back(session.capacity(head));
  }
  fields["memory"] = describe(session.memory());
  return fields;
}

inline void print_summary(const Session& session, const Trace& trace, const Losses& losses,
                          double seconds) {
  const nlohmann::ordered_json description = session.description();
  std::string text = "replay: " + description["policy"].get<std::string>();
  text += ", " + std::to_string(trace.tokens) + " tokens";
  if (losses.size() > 1) {
    char numbers[96];
    std::snprintf(numbers, sizeof(numbers), ", mean lost mass %.4g, mean output error %.4g",
                  mean_after_prompt(losses, &Loss::lost_mass),
                  mean_after_prompt(losses, &Loss::output_error));
    text += numbers;
  }
  std::fprintf(stderr, "%s, cache %zu bytes, %.2f s\n", text.c_str(), session.memory().total(),
               seconds);
}

/// Runs a policy, and notes for a page what it does.
inline Losses run_policy(const CommandLine& line, const Settings& settings, const Trace& trace,
                         Session& session, Recording* recording, ResultWriter* writer) {
  Progress progress(trace.steps(), line.progress);
  Replay replay(trace, session, settings.compare);
  Losses losses = replay.run(settings.chunk, [&](std::size_t step, const KeptOfHeads& kept) {
    if (writer != nullptr) writer->row(kept);
    if (recording != nullptr) recording->add(step, kept);
    progress.show(step + 1);
  });
  if (recording != nullptr) recording->finish(session, losses);
  return losses;
}

/// Runs the policy of the settings, and writes its result where one is asked for.
inline void run_chosen(const CommandLine& line, const Trace& trace, Session& session,
                       Recording* recording) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<ResultWriter> writer;
  if (!line.output.empty()) {
    writer.emplace(line.output);
    writer->fields(head_fields(line, trace, session));
    writer->begin_list("kept");
  }
  const Losses losses =
      run_policy(line, line.settings, trace, session, recording, writer ? &*writer : nullptr);
  if (writer) {
    writer->end_list();
    write_losses(*writer, "lost_mass", losses, &Loss::lost_mass);
    write_losses(*writer, "output_error", losses, &Loss::output_error);
    writer->fields(tail_fields(trace, session, losses));
    writer->finish();
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  print_summary(session, trace, losses, elapsed.count());
}

/// The settings of the policies that the page shows beside the chosen one.
/// \throws std::invalid_argument if a name is not that of another policy.
[[nodiscard]] inline std::vector<Settings> settings_beside(const CommandLine& line) {
  std::vector<std::string> names;
  if (line.beside == "all") {
    each_policy([&]<class Policy>(const policies::PolicyEntry<Policy>& entry) {
      if (entry.name != "full") names.emplace_back(entry.name);
    });
    std::erase(names, line.settings.policy);
  } else {
    std::istringstream list(line.beside);
    for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  }
  std::vector<Settings> result;
  for (const std::string& name : names) {
    if (name == line.settings.policy) {
      throw std::invalid_argument("--beside = " + name + ": must be other policies than --policy");
    }
    Settings& settings = result.emplace_back(line.settings);
    settings.policy = name;
    settings.flags.clear();
    policies::with_entry(
        name, each_policy,
        [&]<class P>(const policies::PolicyEntry<P>&) {
          const auto capacity = line.settings.flags.find("capacity");
          if (policies::has_capacity<P> && capacity != line.settings.flags.end()) {
            settings.flags.insert(*capacity);
          }
        },
        "beside");
  }
  return result;
}

}  // namespace detail

/// \param make_session (settings, trace) -> std::unique_ptr<Session>
/// \throws std::exception if the trace or the settings are not valid.
void run_program(const CommandLine& line, auto&& make_session) {
  const Trace trace = read_trace(line.trace);
  const bool has_page = !line.html.empty();
  if (has_page && trace.tokens >= comparison::Lifetimes::never) {
    throw std::invalid_argument("--html: the trace has " + std::to_string(trace.tokens) +
                                " tokens: must have fewer than " +
                                std::to_string(comparison::Lifetimes::never));
  }
  const TraceNotes notes = has_page ? read_notes(line.trace, trace) : TraceNotes{};
  // All of them are made before one runs: what cannot run is said at once.
  const auto session = make_session(line.settings, trace);
  std::vector<Settings> others = detail::settings_beside(line);
  std::erase_if(others, [&](const Settings& settings) {
    try {
      static_cast<void>(make_session(settings, trace));
      return false;
    } catch (const std::invalid_argument& error) {
      if (line.beside != "all") throw;
      std::fprintf(stderr, "replay: %s is left out: %s\n", settings.policy.c_str(), error.what());
      return true;
    }
  });
  std::vector<Recording> recordings(has_page ? 1 + others.size() : 0, Recording(trace));
  detail::run_chosen(line, trace, *session, has_page ? recordings.data() : nullptr);
  for (std::size_t i = 0; i < others.size(); ++i) {
    const auto start = std::chrono::steady_clock::now();
    const auto other = make_session(others[i], trace);
    const Losses losses =
        detail::run_policy(line, others[i], trace, *other, &recordings[1 + i], nullptr);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    detail::print_summary(*other, trace, losses, elapsed.count());
  }
  if (!has_page) return;
  support::write_file(line.html, make_page(std::filesystem::path(line.trace).filename().string(),
                                           line.settings.scalar, trace, notes, recordings));
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_PROGRAM_HPP
