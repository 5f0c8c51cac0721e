// SPDX-License-Identifier: Apache-2.0
/// \file
/// The results as JSON: the figures for demo.json, and what the page draws beside them.
#ifndef MORPHKV_EXAMPLES_DEMO_REPORT_HPP
#define MORPHKV_EXAMPLES_DEMO_REPORT_HPP

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "demo/contenders.hpp"
#include "demo/experiment.hpp"
#include "demo/headline.hpp"
#include "demo/machine.hpp"
#include "demo/workload.hpp"
#include "llama/model.hpp"
#include "llama/tokenizer.hpp"
#include "morphkv/version.hpp"

namespace morphkv::demo {

/// What the command line said, and how long it took.
struct RunFacts {
  std::string command;
  std::string model_name;
  std::uint64_t seed = 0;
  std::size_t threads = 0;
  double seconds = 0;
};

namespace detail {

using Json = nlohmann::ordered_json;

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

[[nodiscard]] inline Json task_json(const Workload& workload) {
  double prompt_tokens = 0;
  double response_tokens = 0;
  for (const Prompt& prompt : workload.prompts) {
    prompt_tokens += static_cast<double>(prompt.tokens.size());
    response_tokens += static_cast<double>(prompt.response_tokens);
  }
  const auto count = static_cast<double>(workload.prompts.size());
  return {{"name", workload.task},
          {"description", workload.description},
          {"graded", workload.is_graded()},
          {"measure", workload.measure},
          {"prompts", workload.prompts.size()},
          {"mean_prompt_tokens", prompt_tokens / count},
          {"mean_response_tokens", response_tokens / count}};
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

[[nodiscard]] inline Json sample_json(const Sample& sample, bool graded) {
  Json json = {{"tokens", sample.response.tokens.size()},
               {"prefill_seconds", sample.response.prefill_seconds},
               {"decode_seconds", sample.response.decode_seconds},
               {"bytes", sample.response.memory.total()},
               {"agreement", sample.agreement},
               {"agreeing_start", sample.agreeing_start}};
  if (graded) {
    std::size_t correct = 0;
    for (const Check& check : sample.score.checks) correct += check.correct ? 1 : 0;
    json["accuracy"] = sample.score.accuracy;
    json["checks"] = sample.score.checks.size();
    json["correct"] = correct;
  } else {
    json["loss"] = sample.loss;
  }
  return json;
}

[[nodiscard]] inline Json outcome_json(const Outcome& outcome, bool graded) {
  const Variant& variant = outcome.variant;
  Json json = {{"policy", variant.policy},
               {"name", variant.name},
               {"settings", variant.settings},
               {"budget", variant.budget},
               {"within_budget", variant.fits},
               {"capacity", variant.capacity},
               {"bytes", outcome.bytes},
               {"bytes_share", outcome.bytes_share},
               {"bytes_by_kind", memory_json(outcome.samples.front().response.memory)}};
  if (graded) {
    json["accuracy"] = interval_json(outcome.accuracy);
  } else {
    json["loss"] = outcome.loss;
  }
  json["agreement"] = interval_json(outcome.agreement);
  json["agreeing_start"] = outcome.agreeing_start;
  json["tokens_per_second"] = outcome.tokens_per_second;
  for (const Sample& sample : outcome.samples) {
    json["prompts"].push_back(sample_json(sample, graded));
  }
  return json;
}

/// 16-bit numbers, little-endian, in base64.
[[nodiscard]] inline std::string base64(std::span<const std::uint16_t> numbers) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  std::uint32_t bits = 0;
  int count = 0;
  for (const std::uint16_t number : numbers) {
    for (const std::uint32_t byte : {number & 0xFFU, static_cast<std::uint32_t>(number) >> 8U}) {
      bits = (bits << 8U) | byte;
      if (++count == 3) {
        for (int shift = 18; shift >= 0; shift -= 6) text += digits[(bits >> shift) & 63U];
        bits = 0;
        count = 0;
      }
    }
  }
  if (count > 0) {
    bits <<= 8U * static_cast<unsigned>(3 - count);
    for (int digit = 0; digit <= count; ++digit) text += digits[(bits >> (18 - 6 * digit)) & 63U];
    text.append(static_cast<std::size_t>(3 - count), '=');
  }
  return text;
}

/// What the first prompt's response looks like under one variant.
[[nodiscard]] inline Json trail_json(const Sample& sample) {
  Json json = {
      {"response", sample.response.tokens}, {"checks", Json::array()}, {"last", Json::array()}};
  for (const Check& check : sample.score.checks) {
    json["checks"].push_back({check.begin, check.end, check.correct, check.label});
  }
  for (const auto& head : sample.response.lifetimes.last()) json["last"].push_back(base64(head));
  return json;
}

}  // namespace detail

/// The figures: demo.json.
[[nodiscard]] inline nlohmann::ordered_json figures_json(const llama::Model& model,
                                                         const Workload& workload,
                                                         std::span<const Outcome> outcomes,
                                                         const RunFacts& facts) {
  nlohmann::ordered_json json = {{"headline", headline(outcomes, workload)},
                                 {"model", detail::model_json(model, facts.model_name)},
                                 {"task", detail::task_json(workload)},
                                 {"run", detail::run_json(facts)}};
  for (const Contender& contender : all_contenders()) {
    json["policies"][contender.key] = contender.description;
  }
  for (const Outcome& outcome : outcomes) {
    json["results"].push_back(detail::outcome_json(outcome, workload.is_graded()));
  }
  return json;
}

/// The first prompt, response by response: what each head held, and the words.
[[nodiscard]] inline nlohmann::ordered_json trails_json(const Workload& workload,
                                                        std::span<const Outcome> outcomes,
                                                        const llama::Tokenizer& tokenizer) {
  const Prompt& prompt = workload.prompts.front();
  nlohmann::ordered_json json = {{"prompt", prompt.tokens},
                                 {"line_token", workload.line_token},
                                 {"needs", nlohmann::ordered_json::array()}};
  const Lifetimes& lifetimes = outcomes.front().samples.front().response.lifetimes;
  json["layers"] = lifetimes.layers();
  json["heads"] = lifetimes.heads();
  for (const Need& need : prompt.needs) json["needs"].push_back({need.step, need.position});
  std::set<int> used(prompt.tokens.begin(), prompt.tokens.end());
  for (const Outcome& outcome : outcomes) {
    const Sample& sample = outcome.samples.front();
    used.insert(sample.response.tokens.begin(), sample.response.tokens.end());
    json["trails"].push_back(detail::trail_json(sample));
  }
  // Any token but the first one of a text: pieces keep their leading space.
  for (const int token : used) json["words"][std::to_string(token)] = tokenizer.piece(0, token);
  return json;
}

}  // namespace morphkv::demo

#endif  // MORPHKV_EXAMPLES_DEMO_REPORT_HPP
