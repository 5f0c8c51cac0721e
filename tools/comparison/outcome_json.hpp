// SPDX-License-Identifier: Apache-2.0
/// \file
/// The measures of a variant, as JSON.
#ifndef MORPHKV_TOOLS_COMPARISON_OUTCOME_JSON_HPP
#define MORPHKV_TOOLS_COMPARISON_OUTCOME_JSON_HPP

#include <cstddef>

#include "comparison/experiment.hpp"
#include "comparison/run_json.hpp"

namespace morphkv::comparison {

namespace detail {

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

}  // namespace detail

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
    json["prompts"].push_back(detail::sample_json(sample, graded));
  }
  return json;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_OUTCOME_JSON_HPP
