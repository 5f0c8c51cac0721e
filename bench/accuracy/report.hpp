// SPDX-License-Identifier: Apache-2.0
/// \file
/// The results as JSON: accuracy.json, and what the page draws beside them.
#ifndef MORPHKV_BENCH_ACCURACY_REPORT_HPP
#define MORPHKV_BENCH_ACCURACY_REPORT_HPP

#include <string>
#include <vector>

#include "accuracy/advice.hpp"
#include "accuracy/knob_table.hpp"
#include "accuracy/study.hpp"
#include "accuracy/targets.hpp"
#include "comparison/outcome_json.hpp"
#include "comparison/run_json.hpp"

namespace morphkv::accuracy {

using comparison::Json;

namespace detail {

/// An outcome with the accuracy of every prompt, in place of the demo's details.
[[nodiscard]] inline Json outcome_json(const comparison::Outcome& outcome,
                                       const comparison::Workload& workload) {
  Json json = comparison::outcome_json(outcome, true);
  json.erase("prompts");
  json["knobs"] = knobs_json(outcome.variant.knobs);
  for (std::size_t c = 0; c < workload.columns.size(); ++c) {
    json["columns"][workload.columns[c]] = comparison::interval_json(outcome.columns[c]);
  }
  if (workload.loss_prompts > 0) json["loss"] = outcome.loss;
  json["prompts"] = outcome.samples.size();
  for (const comparison::Sample& sample : outcome.samples) {
    json["accuracies"].push_back(sample.score.accuracy);
  }
  return json;
}

[[nodiscard]] inline Json outcomes_json(const std::vector<comparison::Outcome>& outcomes,
                                        const comparison::Workload& workload) {
  Json json = Json::array();
  for (const comparison::Outcome& outcome : outcomes) {
    json.push_back(outcome_json(outcome, workload));
  }
  return json;
}

}  // namespace detail

[[nodiscard]] inline Json family_json(const FamilyRun& run) {
  const comparison::Task task = comparison::task_of(run.workload, 0);
  return {{"family", run.family.key},
          {"title", run.family.title},
          {"task", run.workload.task},
          {"description", run.workload.description},
          {"measure", run.workload.measure},
          {"model", run.family.model.filename().string()},
          {"prompt_tokens", task.prompt_tokens},
          {"response_tokens", task.response_tokens},
          {"results", detail::outcomes_json(run.outcomes, run.workload)}};
}

[[nodiscard]] inline Json length_json(const LengthRun& run) {
  return {{"length", run.length}, {"results", detail::outcomes_json(run.outcomes, run.workload)}};
}

[[nodiscard]] inline Json row_json(const TargetRow& row) {
  return {{"measure", row.measure},  {"policy", row.policy},
          {"value", row.value.mean}, {"interval", {row.value.low, row.value.high}},
          {"unit", row.unit},        {"target", row.target},
          {"met", row.met},          {"note", row.note}};
}

[[nodiscard]] inline Json advice_json(const Advice& advice) {
  Json json = {{"family", advice.family},
               {"budget", advice.budget},
               {"policy", advice.best->variant.policy},
               {"settings", advice.best->variant.settings},
               {"text", sentence(advice)},
               {"level", Json::array()}};
  for (const comparison::Outcome* outcome : advice.level) {
    json["level"].push_back(outcome->variant.policy);
  }
  return json;
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_REPORT_HPP
