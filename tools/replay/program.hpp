// SPDX-License-Identifier: Apache-2.0
/// \file
/// The program: trace in, result out.
#ifndef MORPHKV_TOOLS_REPLAY_PROGRAM_HPP
#define MORPHKV_TOOLS_REPLAY_PROGRAM_HPP

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "morphkv/core/memory_usage.hpp"
#include "morphkv/version.hpp"
#include "replay/command_line.hpp"
#include "replay/progress.hpp"
#include "replay/replay.hpp"
#include "replay/result_writer.hpp"
#include "replay/session.hpp"
#include "replay/trace.hpp"

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

}  // namespace detail

/// \param make_session (settings, trace) -> std::unique_ptr<Session>
/// \throws std::exception if the trace or the settings are not valid.
void run_program(const CommandLine& line, auto&& make_session) {
  const auto start = std::chrono::steady_clock::now();
  const Trace trace = read_trace(line.trace);
  const auto session = make_session(line.settings, trace);
  ResultWriter writer(line.output);
  writer.fields(detail::head_fields(line, trace, *session));
  writer.begin_list("kept");
  Losses losses;
  {
    Progress progress(trace.steps(), line.progress);
    Replay replay(trace, *session, line.settings.compare);
    losses = replay.run(line.settings.chunk, [&](std::size_t step, const KeptOfHeads& kept) {
      writer.row(kept);
      progress.show(step + 1);
    });
  }
  writer.end_list();
  detail::write_losses(writer, "lost_mass", losses, &Loss::lost_mass);
  detail::write_losses(writer, "output_error", losses, &Loss::output_error);
  writer.fields(detail::tail_fields(trace, *session, losses));
  writer.finish();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  detail::print_summary(*session, trace, losses, elapsed.count());
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_PROGRAM_HPP
