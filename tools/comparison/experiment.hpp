// SPDX-License-Identifier: Apache-2.0
/// \file
/// Every variant writes every response; then they are compared.
#ifndef MORPHKV_TOOLS_COMPARISON_EXPERIMENT_HPP
#define MORPHKV_TOOLS_COMPARISON_EXPERIMENT_HPP

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comparison/contenders.hpp"
#include "comparison/parallel.hpp"
#include "comparison/progress.hpp"
#include "comparison/statistics.hpp"
#include "comparison/workload.hpp"
#include "comparison/write_responses.hpp"
#include "llama/model.hpp"

namespace morphkv::comparison {

/// One response and its measures.
struct Sample {
  Response response;
  Score score;                     ///< if the task has rules
  double loss = 0;                 ///< of the first prompts only; see full_cache_loss
  double agreement = 0;            ///< share of tokens equal to the full cache's at the same place
  std::size_t agreeing_start = 0;  ///< tokens before the first difference
};

/// One row of the table.
struct Outcome {
  Variant variant;
  std::vector<Sample> samples;  ///< of the first prompts, one each
  double bytes = 0;             ///< mean over prompts, at the end of the response
  double bytes_share = 1;       ///< of the full cache's
  Interval accuracy = {};
  std::vector<Interval> columns;  ///< as the workload names them
  Interval agreement = {};
  double agreeing_start = 0;
  double loss = 0;
  double cache_microseconds = 0;  ///< per token, in the cache alone, while other threads run

  /// The measure that the plot shows: accuracy for tasks with rules, otherwise agreement.
  [[nodiscard]] const Interval& measure(const Workload& workload) const {
    return workload.is_graded() ? accuracy : agreement;
  }
};

/// How much is run.
struct Effort {
  std::size_t threads = 2;
  /// A variant stops once half its interval is below this; 0: it uses every prompt.
  double half_width = 0;
  std::size_t round = 24;  ///< prompts between two such checks
};

namespace detail {

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

[[nodiscard]] inline Interval accuracy_of(const Outcome& outcome) {
  std::size_t checks = 0;
  for (const Sample& sample : outcome.samples) checks += sample.score.checks.size();
  return share_interval(each(outcome.samples, [](const Sample& s) { return s.score.accuracy; }),
                        checks);
}

inline void summarise(const Workload& workload, Outcome& outcome) {
  const auto& samples = outcome.samples;
  double tokens = 0;
  double seconds = 0;
  for (const Sample& sample : samples) {
    tokens += static_cast<double>(sample.response.tokens.size());
    seconds += sample.response.cache_seconds;
  }
  const auto count = static_cast<std::size_t>(tokens);
  outcome.cache_microseconds = tokens > 0 ? 1e6 * seconds / tokens : 0;
  outcome.bytes = mean_of(each(samples, [](const Sample& s) { return s.response.memory.total(); }));
  outcome.accuracy = accuracy_of(outcome);
  for (std::size_t c = 0; c < workload.columns.size(); ++c) {
    outcome.columns.push_back(share_interval(
        each(samples, [&](const Sample& s) { return s.score.columns.at(c); }), samples.size()));
  }
  outcome.agreement =
      share_interval(each(samples, [](const Sample& s) { return s.agreement; }), count);
  outcome.agreeing_start = mean_of(each(samples, [](const Sample& s) { return s.agreeing_start; }));
  std::vector<double> losses = each(samples, [](const Sample& s) { return s.loss; });
  losses.resize((std::min)(losses.size(), workload.loss_prompts));
  outcome.loss = mean_of(losses);
}

/// One prompt, for the outcomes that have not stopped.
inline void write_samples(const llama::Model& model, const Workload& workload,
                          const std::vector<Outcome*>& writing, std::size_t prompt_index) {
  const Prompt& prompt = workload.prompts[prompt_index];
  std::vector<std::unique_ptr<AnyCache>> caches;
  caches.reserve(writing.size());
  for (const Outcome* outcome : writing) {
    caches.push_back(outcome->variant.make_cache(model.shape(), prompt));
  }
  std::vector<Response> responses =
      ResponseWriter(model, prompt, std::move(caches), prompt_index == 0).write();
  for (std::size_t i = 0; i < writing.size(); ++i) {
    Sample& sample = writing[i]->samples[prompt_index];
    sample.response = std::move(responses[i]);
    if (prompt.judge) sample.score = prompt.judge(sample.response.tokens);
    if (prompt_index < workload.loss_prompts) {
      sample.loss = full_cache_loss(model, prompt, sample.response.tokens);
    }
  }
}

/// Those that need more prompts.
[[nodiscard]] inline std::vector<Outcome*> unsettled(std::vector<Outcome>& outcomes,
                                                     const Effort& effort) {
  std::vector<Outcome*> result;
  for (Outcome& outcome : outcomes) {
    const Interval interval = accuracy_of(outcome);
    const bool settled = effort.half_width > 0 && !outcome.samples.empty() &&
                         (interval.high - interval.low) / 2 < effort.half_width;
    if (!settled) result.push_back(&outcome);
  }
  return result;
}

}  // namespace detail

/// Where there is no set length, a response ends where the full cache's does.
inline void settle_lengths(const llama::Model& model, Workload& workload, std::size_t threads) {
  const Variant full = full_variant();
  run_in_parallel(workload.prompts.size(), threads, [&](std::size_t index) {
    Prompt& prompt = workload.prompts[index];
    std::vector<std::unique_ptr<AnyCache>> caches;
    caches.push_back(full.make_cache(model.shape(), prompt));
    const auto responses = ResponseWriter(model, prompt, std::move(caches), false).write();
    prompt.response_tokens = responses.front().tokens.size();
  });
}

/// \param variants the first one is the reference, the full cache
[[nodiscard]] inline std::vector<Outcome> run_experiment(const llama::Model& model,
                                                         const Workload& workload,
                                                         std::vector<Variant> variants,
                                                         const Effort& effort) {
  std::vector<Outcome> outcomes;
  outcomes.reserve(variants.size());
  for (Variant& variant : variants) outcomes.emplace_back().variant = std::move(variant);
  const std::size_t prompts = workload.prompts.size();
  const std::size_t round = effort.half_width > 0 ? effort.round : prompts;
  Progress progress(outcomes.size() * prompts);
  for (std::size_t begin = 0; begin < prompts; begin += round) {
    const std::vector<Outcome*> writing = detail::unsettled(outcomes, effort);
    const std::size_t count = (std::min)(round, prompts - begin);
    progress.skip((outcomes.size() - writing.size()) * count);
    if (writing.empty()) continue;
    for (Outcome* outcome : writing) outcome->samples.resize(begin + count);
    run_in_parallel(count, effort.threads, [&](std::size_t job) {
      detail::write_samples(model, workload, writing, begin + job);
      progress.advance(writing.size(), workload.task);
    });
  }
  for (Outcome& outcome : outcomes) {
    const std::vector<Sample>& references = outcomes.front().samples;
    for (std::size_t p = 0; p < (std::min)(references.size(), outcome.samples.size()); ++p) {
      detail::compare_tokens(references[p].response.tokens, outcome.samples[p]);
    }
    detail::summarise(workload, outcome);
    outcome.bytes_share = outcome.bytes / outcomes.front().bytes;
  }
  return outcomes;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_EXPERIMENT_HPP
