// SPDX-License-Identifier: Apache-2.0
/// \file
/// The answer in plain language: what to choose at each budget.
#ifndef MORPHKV_BENCH_ACCURACY_ADVICE_HPP
#define MORPHKV_BENCH_ACCURACY_ADVICE_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "accuracy/study.hpp"
#include "comparison/experiment.hpp"
#include "comparison/numbers.hpp"

namespace morphkv::accuracy {

/// One family at one budget.
struct Advice {
  std::string family;
  double budget = 0;
  const comparison::Outcome* best = nullptr;
  const comparison::Outcome* full = nullptr;
  /// Those that this run does not tell from the best: their intervals overlap. By accuracy.
  std::vector<const comparison::Outcome*> level;
};

[[nodiscard]] inline std::vector<Advice> advise(const FamilyRun& run,
                                                const std::vector<double>& budgets) {
  std::vector<Advice> result;
  for (const double budget : budgets) {
    std::vector<const comparison::Outcome*> ranked;
    for (const comparison::Outcome& outcome : run.outcomes) {
      const comparison::Variant& variant = outcome.variant;
      if (variant.fits && std::abs(variant.budget - budget) < 1e-9) ranked.push_back(&outcome);
    }
    if (ranked.empty()) continue;
    std::stable_sort(ranked.begin(), ranked.end(), [](const auto* a, const auto* b) {
      return a->accuracy.mean > b->accuracy.mean;
    });
    Advice advice{run.family.title, budget, ranked.front(), &run.outcomes.front(), {}};
    for (std::size_t i = 1; i < ranked.size(); ++i) {
      if (ranked[i]->accuracy.high >= advice.best->accuracy.low) advice.level.push_back(ranked[i]);
    }
    result.push_back(advice);
  }
  return result;
}

/// "At 25 % of the memory: Decayed max (window 137, half-life 137, 4 sinks), 87.1 %; the full cache
/// 99.9 %. Not told apart from it: MorphKV max 85.0 %."
[[nodiscard]] inline std::string sentence(const Advice& advice) {
  const auto share = [](const comparison::Outcome& outcome) {
    return comparison::percent(outcome.accuracy.mean, 1);
  };
  std::string text = "At " + comparison::percent(advice.budget) +
                     " of the memory: " + advice.best->variant.name + " (" +
                     advice.best->variant.settings + "), " + share(*advice.best) +
                     "; the full cache " + share(*advice.full) + ".";
  std::string others;
  for (const comparison::Outcome* outcome : advice.level) {
    others += (others.empty() ? "" : ", ") + outcome->variant.name + " " + share(*outcome);
  }
  return others.empty() ? text : text + " Not told apart from it: " + others + ".";
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_ADVICE_HPP
