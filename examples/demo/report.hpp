// SPDX-License-Identifier: Apache-2.0
/// \file
/// The results as JSON: the figures for demo.json, and what the page draws beside them.
#ifndef MORPHKV_EXAMPLES_DEMO_REPORT_HPP
#define MORPHKV_EXAMPLES_DEMO_REPORT_HPP

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "comparison/contenders.hpp"
#include "comparison/experiment.hpp"
#include "comparison/run_json.hpp"
#include "comparison/workload.hpp"
#include "demo/headline.hpp"
#include "llama/model.hpp"

namespace morphkv::demo {

using namespace comparison;

namespace detail {

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

[[nodiscard]] inline Json sample_json(const Sample& sample, bool graded) {
  Json json = {{"tokens", sample.response.tokens.size()},
               {"cache_seconds", sample.response.cache_seconds},
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
  json["cache_microseconds"] = outcome.cache_microseconds;
  for (const Sample& sample : outcome.samples) {
    json["prompts"].push_back(sample_json(sample, graded));
  }
  return json;
}

}  // namespace detail

/// The figures: demo.json.
[[nodiscard]] inline nlohmann::ordered_json figures_json(const llama::Model& model,
                                                         const Workload& workload,
                                                         std::span<const Outcome> outcomes,
                                                         const RunFacts& facts) {
  nlohmann::ordered_json json = {{"headline", headline(outcomes, workload)},
                                 {"model", model_json(model, facts.model_name)},
                                 {"task", detail::task_json(workload)},
                                 {"run", run_json(facts)}};
  for (const Contender& contender : library_contenders()) {
    json["policies"][contender.key] = contender.description;
  }
  for (const Outcome& outcome : outcomes) {
    json["results"].push_back(detail::outcome_json(outcome, workload.is_graded()));
  }
  return json;
}

}  // namespace morphkv::demo

#endif  // MORPHKV_EXAMPLES_DEMO_REPORT_HPP
