// SPDX-License-Identifier: Apache-2.0
/// \file
/// Every variant writes every response; then they are compared.
#ifndef MORPHKV_EXAMPLES_COMPARISON_EXPERIMENT_HPP
#define MORPHKV_EXAMPLES_COMPARISON_EXPERIMENT_HPP

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comparison/contenders.hpp"
#include "comparison/parallel.hpp"
#include "comparison/progress.hpp"
#include "comparison/statistics.hpp"
#include "comparison/workload.hpp"
#include "comparison/write_response.hpp"
#include "llama/model.hpp"

namespace morphkv::comparison {

/// One response and what it is worth.
struct Sample {
  Response response;
  Score score;                     ///< if the task has rules
  double loss = 0;                 ///< if it has none; see full_cache_loss
  double agreement = 0;            ///< share of tokens equal to the full cache's at the same place
  std::size_t agreeing_start = 0;  ///< tokens before the first difference
};

/// One row of the table.
struct Outcome {
  Variant variant;
  std::vector<Sample> samples;  ///< one a prompt
  double bytes = 0;             ///< mean over prompts, at the end of the response
  double bytes_share = 1;       ///< of the full cache's
  Interval accuracy = {};
  Interval agreement = {};
  double agreeing_start = 0;
  double loss = 0;
  double tokens_per_second = 0;  ///< of one thread, while the others run too

  /// What the plot shows: the accuracy where there are rules, else the agreement.
  [[nodiscard]] const Interval& measure(const Workload& workload) const {
    return workload.is_graded() ? accuracy : agreement;
  }
};

namespace detail {

[[nodiscard]] inline Sample write_sample(const llama::Model& model, const Workload& workload,
                                         const Variant& variant, std::size_t prompt_index) {
  const Prompt& prompt = workload.prompts[prompt_index];
  Sample sample;
  sample.response = variant.write(model, prompt, prompt_index == 0);
  if (prompt.judge) {
    sample.score = prompt.judge(sample.response.tokens);
  } else {
    sample.loss = full_cache_loss(model, prompt, sample.response.tokens);
  }
  return sample;
}

inline void compare_tokens(const std::vector<int>& reference, Sample& sample) {
  const std::vector<int>& tokens = sample.response.tokens;
  const std::size_t common = (std::min)(reference.size(), tokens.size());
  std::size_t equal = 0;
  for (std::size_t i = 0; i < common; ++i) equal += reference[i] == tokens[i] ? 1U : 0U;
  const std::size_t longest = (std::max)(reference.size(), tokens.size());
  sample.agreement = longest == 0 ? 1 : static_cast<double>(equal) / static_cast<double>(longest);
  while (sample.agreeing_start < common &&
         reference[sample.agreeing_start] == tokens[sample.agreeing_start]) {
    ++sample.agreeing_start;
  }
}

template <class Value>
[[nodiscard]] std::vector<double> each(const std::vector<Sample>& samples, const Value& value) {
  std::vector<double> values;
  values.reserve(samples.size());
  for (const Sample& sample : samples) values.push_back(static_cast<double>(value(sample)));
  return values;
}

inline void summarise(Outcome& outcome) {
  const auto& samples = outcome.samples;
  double tokens = 0;
  double seconds = 0;
  std::size_t checks = 0;
  for (const Sample& sample : samples) {
    tokens += static_cast<double>(sample.response.tokens.size());
    seconds += sample.response.decode_seconds;
    checks += sample.score.checks.size();
  }
  const auto count = static_cast<std::size_t>(tokens);
  outcome.tokens_per_second = seconds > 0 ? tokens / seconds : 0;
  outcome.bytes = mean_of(each(samples, [](const Sample& s) { return s.response.memory.total(); }));
  outcome.accuracy =
      share_interval(each(samples, [](const Sample& s) { return s.score.accuracy; }), checks);
  outcome.agreement =
      share_interval(each(samples, [](const Sample& s) { return s.agreement; }), count);
  outcome.agreeing_start = mean_of(each(samples, [](const Sample& s) { return s.agreeing_start; }));
  outcome.loss = mean_of(each(samples, [](const Sample& s) { return s.loss; }));
}

}  // namespace detail

/// Where there is no set length, a response ends where the full cache's does.
inline void settle_lengths(const llama::Model& model, Workload& workload, std::size_t threads) {
  const Variant full = full_variant();
  run_in_parallel(workload.prompts.size(), threads, [&](std::size_t index) {
    Prompt& prompt = workload.prompts[index];
    prompt.response_tokens = full.write(model, prompt, false).tokens.size();
  });
}

/// \param variants the first one is the reference, the full cache
[[nodiscard]] inline std::vector<Outcome> run_experiment(const llama::Model& model,
                                                         const Workload& workload,
                                                         std::vector<Variant> variants,
                                                         std::size_t threads) {
  std::vector<Outcome> outcomes;
  outcomes.reserve(variants.size());
  const std::size_t prompts = workload.prompts.size();
  for (Variant& variant : variants) {
    outcomes.push_back({.variant = std::move(variant), .samples = std::vector<Sample>(prompts)});
  }
  Progress progress(outcomes.size() * prompts);
  run_in_parallel(outcomes.size() * prompts, threads, [&](std::size_t job) {
    Outcome& outcome = outcomes[job / prompts];
    const std::size_t prompt = job % prompts;
    outcome.samples[prompt] = detail::write_sample(model, workload, outcome.variant, prompt);
    progress.advance(outcome.variant.name);
  });
  for (Outcome& outcome : outcomes) {
    for (std::size_t p = 0; p < prompts; ++p) {
      detail::compare_tokens(outcomes.front().samples[p].response.tokens, outcome.samples[p]);
    }
    detail::summarise(outcome);
    outcome.bytes_share = outcome.bytes / outcomes.front().bytes;
  }
  return outcomes;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_EXAMPLES_COMPARISON_EXPERIMENT_HPP
