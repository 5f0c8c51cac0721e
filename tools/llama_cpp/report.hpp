// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a run of llama_cpp reports: JSON, and lines on standard error.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_REPORT_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_REPORT_HPP

#include <llama.h>

#include <cstddef>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "llama_cpp/arguments.hpp"
#include "llama_cpp/session.hpp"

namespace morphkv::llama_cpp {

/// What one sequence has read and written.
struct Text {
  std::vector<llama_token> prompt;
  std::vector<llama_token> written;
  std::string text;
};

struct Report {
  std::vector<Text> texts;
  double read_seconds = 0;
  double write_seconds = 0;
  std::size_t state_bytes = 0;      ///< of the first sequence, as llama.cpp counts them
  nlohmann::ordered_json options;   ///< of the policy
  std::optional<CellUse> cells;     ///< none without a policy
  Costs costs;                      ///< of all that was read and written
  std::vector<std::string> places;  ///< the buffers of keys and values
  nlohmann::ordered_json measured;  ///< by --evaluate or --passkeys

  [[nodiscard]] std::size_t written() const noexcept {
    std::size_t sum = 0;
    for (const Text& text : texts) sum += text.written.size();
    return sum;
  }
  [[nodiscard]] std::size_t read() const noexcept {
    std::size_t sum = 0;
    for (const Text& text : texts) sum += text.prompt.size();
    return sum;
  }
};

namespace detail {

[[nodiscard]] inline nlohmann::ordered_json scaled(const Costs& costs, double scale) {
  return {{"policy", costs.policy * scale},
          {"fusion", costs.fusion * scale},
          {"copying", costs.copying * scale},
          {"removal", costs.removal * scale}};
}

/// Costs in microseconds, divided between the tokens written.
[[nodiscard]] inline nlohmann::ordered_json costs_per_token(const Report& report) {
  return scaled(report.costs, 1e6 / static_cast<double>(report.written()));
}

}  // namespace detail

[[nodiscard]] inline nlohmann::ordered_json to_json(const Arguments& arguments,
                                                    const Report& report) {
  nlohmann::ordered_json json = {{"format", "morphkv-llama-cpp-1"},
                                 {"llama_cpp", MORPHKV_LLAMA_CPP_VERSION},
                                 {"model", arguments.model.filename().string()},
                                 {"scope", arguments.scope}};
  if (report.cells) {
    json["policy"] = arguments.policy.policy;
    json["options"] = report.options;
    const CellUse& cells = *report.cells;
    json["cells"] = {{"in_use", cells.in_use},
                     {"most_reading", cells.most_reading},
                     {"most_writing", cells.most_writing},
                     {"allocated", cells.allocated},
                     {"bytes_each", cells.bytes_each},
                     {"places", report.places}};
    json["policy_bytes"] = cells.policy_bytes;
    json["seconds"] = detail::scaled(report.costs, 1);
    if (report.written() > 0) json["microseconds_per_token"] = detail::costs_per_token(report);
  }
  if (!report.measured.is_null()) json.update(report.measured);
  if (report.texts.empty()) return json;
  json["state_bytes"] = report.state_bytes;
  json["read_seconds"] = report.read_seconds;
  json["write_seconds"] = report.write_seconds;
  const auto describe = [](const Text& text) {
    return nlohmann::ordered_json{
        {"prompt_tokens", text.prompt}, {"tokens", text.written}, {"text", text.text}};
  };
  if (report.texts.size() == 1) {
    json.update(describe(report.texts.front()));
  } else {
    for (const Text& text : report.texts) json["sequences"].push_back(describe(text));
  }
  return json;
}

inline void print_report(const Report& report) {
  if (!report.texts.empty()) {
    const double rate =
        report.write_seconds > 0 ? static_cast<double>(report.written()) / report.write_seconds : 0;
    std::fprintf(stderr, "\n\n%zu tokens read in %.2f s, %zu written, %.1f per second.\n",
                 report.read(), report.read_seconds, report.written(), rate);
  }
  if (!report.cells) return;
  const CellUse& c = *report.cells;
  std::fprintf(stderr,
               "Cells in use: %zu; maximum %zu while reading, %zu while writing, of %zu; %zu "
               "bytes each, %zu in use. Policies: %zu bytes.\n",
               c.in_use, c.most_reading, c.most_writing, c.allocated, c.bytes_each,
               c.in_use * c.bytes_each, c.policy_bytes);
  std::fprintf(stderr, "Keys and values lie in:");
  for (const std::string& place : report.places) std::fprintf(stderr, " %s", place.c_str());
  std::fprintf(stderr, ".\n");
  const bool writes = report.written() > 0;
  std::fputs(writes ? "Microseconds per token:" : "Seconds:", stderr);
  const auto costs = writes ? detail::costs_per_token(report) : detail::scaled(report.costs, 1);
  for (const auto& [name, value] : costs.items()) {
    std::fprintf(stderr, " %s %.1f", name.c_str(), value.get<double>());
  }
  std::fprintf(stderr, ".\n");
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_REPORT_HPP
