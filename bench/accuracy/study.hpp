// SPDX-License-Identifier: Apache-2.0
/// \file
/// What is measured: every policy at every budget, every length at one budget, and the tuning.
#ifndef MORPHKV_BENCH_ACCURACY_STUDY_HPP
#define MORPHKV_BENCH_ACCURACY_STUDY_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "accuracy/families.hpp"
#include "accuracy/knob_table.hpp"
#include "accuracy/policies.hpp"
#include "comparison/experiment.hpp"
#include "llama/model.hpp"

namespace morphkv::accuracy {

struct Plan {
  std::vector<double> budgets;  ///< shares of the full cache's bytes
  std::vector<std::string> policies;
  std::vector<std::string> length_policies;  ///< of these, those that are compared at every length
  std::vector<std::uint64_t> seeds;
  std::size_t prompts = 0;         ///< at most, of each family
  std::size_t length_prompts = 0;  ///< at most, of each length
  double length_budget = 0.25;     ///< of the full cache at the shortest length
  comparison::Effort effort;
};

/// Every policy at every budget.
struct FamilyRun {
  Family family;
  comparison::Workload workload;
  std::vector<comparison::Outcome> outcomes;  ///< the full cache's first, then by budget
};

/// Every policy with the same bytes, at one length.
struct LengthRun {
  std::size_t length = 0;
  comparison::Workload workload;
  std::vector<comparison::Outcome> outcomes;  ///< the full cache's first
};

/// Those of all contenders whose keys are named.
[[nodiscard]] inline std::vector<comparison::Contender> chosen_contenders(
    const std::vector<std::string>& keys) {
  std::vector<comparison::Contender> contenders = all_contenders();
  std::erase_if(contenders, [&](const auto& contender) {
    return std::find(keys.begin(), keys.end(), contender.key) == keys.end();
  });
  return contenders;
}

namespace detail {

[[nodiscard]] inline comparison::Task task_of(const Plan& plan,
                                              const comparison::Workload& workload) {
  return comparison::task_of(workload, plan.seeds.front());
}

/// The chosen policies at one budget, with the knobs that tuning has found.
inline void add_variants(const Plan& plan, const std::vector<std::string>& policies,
                         const KnobTable& table, const Family& family, const CacheShape& shape,
                         const comparison::Workload& workload, double budget,
                         std::vector<comparison::Variant>& variants) {
  const auto bytes = static_cast<std::size_t>(budget * comparison::full_bytes(shape, workload));
  for (const comparison::Contender& contender : chosen_contenders(policies)) {
    const comparison::Knobs knobs = table.find(family.key, budget, contender);
    auto variant = contender.fit(shape, task_of(plan, workload), knobs, budget, bytes);
    if (variant) variants.push_back(std::move(*variant));
  }
}

}  // namespace detail

[[nodiscard]] inline FamilyRun run_family(const Plan& plan, const KnobTable& table,
                                          const Family& family, const llama::Model& model) {
  FamilyRun run{family, family.make(plan.prompts, plan.seeds, family.length), {}};
  std::vector<comparison::Variant> variants = {comparison::full_variant()};
  for (const double budget : plan.budgets) {
    detail::add_variants(plan, plan.policies, table, family, model.shape(), run.workload, budget,
                         variants);
  }
  run.outcomes = comparison::run_experiment(model, run.workload, std::move(variants), plan.effort);
  return run;
}

/// The bytes are a share of the full cache's at the shortest length; the full cache grows.
[[nodiscard]] inline std::vector<LengthRun> run_lengths(const Plan& plan, const KnobTable& table,
                                                        const Family& family,
                                                        const llama::Model& model) {
  comparison::Effort effort = plan.effort;
  effort.round = 8;  // long responses are dear, above all with the full cache, which settles soon
  std::vector<LengthRun> runs;
  std::vector<comparison::Variant> variants = {comparison::full_variant()};
  for (const std::size_t length : family.lengths) {
    LengthRun run{length, family.make(plan.length_prompts, plan.seeds, length), {}};
    if (runs.empty()) {
      detail::add_variants(plan, plan.length_policies, table, family, model.shape(), run.workload,
                           plan.length_budget, variants);
    }
    run.outcomes = comparison::run_experiment(model, run.workload, variants, effort);
    runs.push_back(std::move(run));
  }
  return runs;
}

/// Chooses the knobs of every policy at every budget: those that fare best on the plan's seeds.
inline void tune_family(const Plan& plan, const Family& family, const llama::Model& model,
                        KnobTable& table) {
  const comparison::Workload workload = family.make(plan.prompts, plan.seeds, family.length);
  const CacheShape shape = model.shape();
  const double full = comparison::full_bytes(shape, workload);
  for (const double budget : plan.budgets) {
    std::vector<comparison::Variant> variants;
    for (const comparison::Contender& contender : chosen_contenders(plan.policies)) {
      if (contender.candidates.size() < 2) continue;
      for (const comparison::Knobs& knobs : contender.candidates) {
        auto variant = contender.fit(shape, detail::task_of(plan, workload), knobs, budget,
                                     static_cast<std::size_t>(budget * full));
        if (variant) variants.push_back(std::move(*variant));
      }
    }
    const auto outcomes =
        comparison::run_experiment(model, workload, std::move(variants), plan.effort);
    const comparison::Outcome* best = nullptr;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      const comparison::Outcome& outcome = outcomes[i];
      std::printf("%3.0f %%  %-24s %5.1f  %s\n", 100 * budget, outcome.variant.name.c_str(),
                  100 * outcome.accuracy.mean, outcome.variant.settings.c_str());
      if (best == nullptr || outcome.accuracy.mean > best->accuracy.mean) best = &outcome;
      const bool last =
          i + 1 == outcomes.size() || outcomes[i + 1].variant.policy != outcome.variant.policy;
      if (!last) continue;
      table.set(family.key, budget, best->variant.policy, best->variant.knobs);
      best = nullptr;
    }
    std::fflush(stdout);
  }
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_STUDY_HPP
