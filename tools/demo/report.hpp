// SPDX-License-Identifier: Apache-2.0
/// \file
/// The results as JSON: the figures for demo.json, and what the page draws beside them.
#ifndef MORPHKV_TOOLS_DEMO_REPORT_HPP
#define MORPHKV_TOOLS_DEMO_REPORT_HPP

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "comparison/contenders.hpp"
#include "comparison/experiment.hpp"
#include "comparison/outcome_json.hpp"
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
    json["results"].push_back(outcome_json(outcome, workload.is_graded()));
  }
  return json;
}

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_REPORT_HPP
