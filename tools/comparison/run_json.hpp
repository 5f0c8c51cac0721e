// SPDX-License-Identifier: Apache-2.0
/// \file
/// What was run, and with what, as JSON.
#ifndef MORPHKV_EXAMPLES_COMPARISON_RUN_JSON_HPP
#define MORPHKV_EXAMPLES_COMPARISON_RUN_JSON_HPP

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

/// What the command line said, and how long it took.
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

[[nodiscard]] inline std::size_t parameters(const llama::Model& model) {
  Eigen::Index count = model.embedding.size() + model.norm.size() + model.untied_classifier.size();
  for (const llama::Layer& layer : model.layers) {
    count += layer.attention_norm.size() + layer.query.size() + layer.key.size() +
             layer.value.size() + layer.output.size() + layer.feed_forward_norm.size() +
             layer.gate.size() + layer.up.size() + layer.down.size();
  }
  return static_cast<std::size_t>(count);
}

[[nodiscard]] inline Json model_json(const llama::Model& model, const std::string& name) {
  const llama::Config& c = model.config;
  return {{"name", name},
          {"parameters", parameters(model)},
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

[[nodiscard]] inline Json memory_json(const MemoryUsage& memory) {
  return {{"keys", memory.keys},      {"values", memory.values}, {"positions", memory.positions},
          {"window", memory.window},  {"scores", memory.scores}, {"history", memory.history},
          {"scratch", memory.scratch}};
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_EXAMPLES_COMPARISON_RUN_JSON_HPP
