// SPDX-License-Identifier: Apache-2.0
/// \file
/// The result in one sentence.
#ifndef MORPHKV_TOOLS_DEMO_HEADLINE_HPP
#define MORPHKV_TOOLS_DEMO_HEADLINE_HPP

#include <cmath>
#include <span>
#include <string>
#include <string_view>

#include "comparison/experiment.hpp"
#include "comparison/numbers.hpp"
#include "comparison/workload.hpp"

namespace morphkv::demo {

using namespace comparison;

namespace detail {

/// The best of the outcomes within `budget` whose key begins with `prefix`.
[[nodiscard]] inline const Outcome* best_at(std::span<const Outcome> outcomes,
                                            const Workload& workload, double budget,
                                            std::string_view prefix) {
  const Outcome* best = nullptr;
  for (const Outcome& outcome : outcomes.subspan(1)) {
    const Variant& variant = outcome.variant;
    if (variant.budget != budget || !variant.fits || !variant.policy.starts_with(prefix)) continue;
    if (best == nullptr || outcome.measure(workload).mean > best->measure(workload).mean) {
      best = &outcome;
    }
  }
  return best;
}

/// The budget nearest to a quarter.
[[nodiscard]] inline double headline_budget(std::span<const Outcome> outcomes) {
  double chosen = 0;
  for (const Outcome& outcome : outcomes.subspan(1)) {
    const double budget = outcome.variant.budget;
    if (chosen == 0 || std::abs(budget - 0.25) < std::abs(chosen - 0.25)) chosen = budget;
  }
  return chosen;
}

}  // namespace detail

/// \param outcomes the full cache's first
[[nodiscard]] inline std::string headline(std::span<const Outcome> outcomes,
                                          const Workload& workload) {
  const double budget = detail::headline_budget(outcomes);
  const Outcome* best = detail::best_at(outcomes, workload, budget, "");
  if (best == nullptr) return "The full cache alone: nothing to compare it with";
  const auto share = [&](const Outcome& outcome) {
    return percent(outcome.measure(workload).mean);
  };
  const bool graded = workload.is_graded();
  std::string text = "With " + percent(budget) + " of the memory, " + best->variant.name +
                     (graded ? " gets " + share(*best) + " right"
                             : " writes " + share(*best) + " of the full cache's text");
  std::string others = graded ? "the full cache " + share(outcomes.front()) : "";
  for (const char* key : {"morphkv", "streaming_llm"}) {
    const Outcome* other = detail::best_at(outcomes, workload, budget, key);
    if (other == nullptr || other == best) continue;
    if (key == std::string_view("morphkv") && best->variant.policy.starts_with("morphkv")) continue;
    const bool recent = key == std::string_view("streaming_llm");
    const std::string name = recent ? "only the newest words" : other->variant.name;
    others += (others.empty() ? "" : ", ") + name + " " + share(*other);
  }
  return others.empty() ? text : text + "; " + others;
}

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_HEADLINE_HPP
