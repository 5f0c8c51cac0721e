// SPDX-License-Identifier: Apache-2.0
/// \file
/// The table on the terminal.
#ifndef MORPHKV_TOOLS_DEMO_TABLE_HPP
#define MORPHKV_TOOLS_DEMO_TABLE_HPP

#include <cstdio>
#include <span>
#include <string>

#include "comparison/experiment.hpp"
#include "comparison/numbers.hpp"
#include "comparison/workload.hpp"

namespace morphkv::demo {

using namespace comparison;

namespace detail {

[[nodiscard]] inline std::string interval_text(const Interval& interval) {
  return fixed(100 * interval.mean, 1) + " % [" + fixed(100 * interval.low, 0) + ", " +
         fixed(100 * interval.high, 0) + "]";
}

inline void print_row(const Outcome& outcome, const Workload& workload) {
  const Variant& variant = outcome.variant;
  const std::string capacity = variant.capacity > 0 ? std::to_string(variant.capacity) : "all";
  const std::string measure =
      workload.is_graded() ? interval_text(outcome.accuracy) : fixed(outcome.loss, 3);
  std::printf("%-15s %8s %9s %7s  %-18s %-18s %8.0f  %s\n", variant.name.c_str(), capacity.c_str(),
              (bytes_text(outcome.bytes) + (variant.fits ? "" : "*")).c_str(),
              percent(1 - outcome.bytes_share).c_str(), measure.c_str(),
              interval_text(outcome.agreement).c_str(), outcome.cache_microseconds,
              variant.settings.c_str());
}

}  // namespace detail

/// \param outcomes the full cache's first, then by budget
inline void print_table(std::span<const Outcome> outcomes, const Workload& workload) {
  std::printf("%-15s %8s %9s %7s  %-18s %-18s %8s  %s\n", "policy", "capacity", "cache", "saved",
              workload.is_graded() ? "accuracy" : "loss of the text", "agrees with full",
              "us/token", "settings");
  double budget = 1;
  for (const Outcome& outcome : outcomes) {
    if (outcome.variant.budget != budget) {
      budget = outcome.variant.budget;
      std::printf("-- at most %s of the full cache's bytes\n", percent(budget).c_str());
    }
    detail::print_row(outcome, workload);
  }
  std::printf(
      "\nIn brackets: 95 %% intervals over prompts. Cache: every byte at the end of the response,\n"
      "scores and windows too. *: above the budget, because the policy keeps the whole response\n"
      "(or the whole prompt at first) whatever its capacity.\n");
}

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_TABLE_HPP
