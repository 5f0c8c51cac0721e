// SPDX-License-Identifier: Apache-2.0
/// \file
/// The run and its machine, as JSON.
#ifndef MORPHKV_TOOLS_COMPARISON_RUN_JSON_HPP
#define MORPHKV_TOOLS_COMPARISON_RUN_JSON_HPP

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "comparison/machine.hpp"
#include "comparison/statistics.hpp"
#include "llama/model.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/version.hpp"

namespace morphkv::comparison {

using Json = nlohmann::ordered_json;

/// The command line and its time.
struct RunFacts {
  std::string command;
  std::string model_name;
  std::uint64_t seed = 0;
  std::size_t threads = 0;
  double seconds = 0;
};

[[nodiscard]] inline Json interval_json(const Interval& interval) {
  return {{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

[[nodiscard]] inline Json model_json(const llama::Model& model, const std::string& name) {
  const llama::Config& c = model.config;
  return {{"name", name},
          {"parameters", llama::parameters(model)},
          {"layers", c.layers},
          {"query_heads", c.query_heads},
          {"kv_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"vocabulary", c.vocabulary}};
}

[[nodiscard]] inline Json run_json(const RunFacts& facts) {
  return {{"date", date_text()},         {"command", facts.command},
          {"seed", facts.seed},          {"threads", facts.threads},
          {"seconds", facts.seconds},    {"machine", machine_text()},
          {"compiler", compiler_text()}, {"morphkv", MORPHKV_VERSION_STRING},
          {"git", git_text()},           {"cache_element", "float16"}};
}

/// As a file has it. What is no UTF-8, in a command or a text that a model wrote, is replaced.
[[nodiscard]] inline std::string json_text(const Json& json) {
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

[[nodiscard]] inline Json memory_json(const MemoryUsage& memory) {
  return {{"keys", memory.keys},      {"values", memory.values}, {"positions", memory.positions},
          {"window", memory.window},  {"scores", memory.scores}, {"history", memory.history},
          {"scratch", memory.scratch}};
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_RUN_JSON_HPP
