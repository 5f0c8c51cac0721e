// SPDX-License-Identifier: Apache-2.0
/// \file
/// The tables on the terminal.
#ifndef MORPHKV_BENCH_ACCURACY_TABLES_HPP
#define MORPHKV_BENCH_ACCURACY_TABLES_HPP

#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "accuracy/advice.hpp"
#include "accuracy/study.hpp"
#include "accuracy/targets.hpp"
#include "comparison/experiment.hpp"
#include "comparison/numbers.hpp"

namespace morphkv::accuracy {

namespace detail {

/// " 73.1 +- 1.9".
[[nodiscard]] inline std::string accuracy_text(const comparison::Interval& interval) {
  const std::string mean = comparison::fixed(100 * interval.mean, 1);
  return std::string(5 - (std::min<std::size_t>)(mean.size(), 5), ' ') + mean + " +- " +
         comparison::fixed(50 * (interval.high - interval.low), 1);
}

inline void print_outcome(const comparison::Outcome& outcome, bool with_loss) {
  const comparison::Variant& variant = outcome.variant;
  const std::string capacity = variant.capacity > 0 ? std::to_string(variant.capacity) : "all";
  std::printf("%-24s %8s %9s%s %-13s %4zu ", variant.name.c_str(), capacity.c_str(),
              comparison::bytes_text(outcome.bytes).c_str(), variant.fits ? " " : "*",
              accuracy_text(outcome.accuracy).c_str(), outcome.samples.size());
  for (const comparison::Interval& column : outcome.columns) {
    std::printf(" %10.1f", 100 * column.mean);
  }
  if (with_loss) std::printf(" %10.3f", outcome.loss);
  std::printf("  %s\n", variant.settings.c_str());
}

}  // namespace detail

inline void print_family(const FamilyRun& run) {
  std::printf("\n%s: accuracy in %% with half its 95 %% interval\n", run.family.title.c_str());
  std::printf("%-24s %8s %9s  %-13s %4s ", "policy", "capacity", "cache", "accuracy", "n");
  for (const std::string& column : run.workload.columns) std::printf(" %10s", column.c_str());
  if (run.workload.loss_prompts > 0) std::printf(" %10s", "loss");
  std::printf("  settings\n");
  double budget = 1;
  for (const comparison::Outcome& outcome : run.outcomes) {
    if (outcome.variant.budget != budget) {
      budget = outcome.variant.budget;
      std::printf("-- at most %s of the full cache's bytes\n", comparison::percent(budget).c_str());
    }
    detail::print_outcome(outcome, run.workload.loss_prompts > 0);
  }
  std::printf(
      "n: prompts. Cache: every byte at the end of the response. *: above the budget, since it "
      "keeps "
      "the\nwhole response.\n");
}

inline void print_lengths(const std::vector<LengthRun>& runs) {
  if (runs.empty()) return;
  std::printf("\nAccuracy by the length of the response, every cache of the same bytes\n%-24s",
              "policy");
  for (const LengthRun& run : runs) std::printf(" %13zu", run.length);
  std::printf("\n");
  for (std::size_t i = 0; i < runs.front().outcomes.size(); ++i) {
    std::printf("%-24s", runs.front().outcomes[i].variant.name.c_str());
    for (const LengthRun& run : runs) {
      std::printf(" %13s", detail::accuracy_text(run.outcomes[i].accuracy).c_str());
    }
    std::printf("  %s\n", runs.front().outcomes[i].variant.settings.c_str());
  }
}

inline void print_rows(const std::vector<TargetRow>& rows) {
  if (rows.empty()) return;
  std::printf("\nTargets, on long responses with instructions\n");
  for (const TargetRow& row : rows) {
    std::printf("%s\n    %s: %.1f [%.1f, %.1f] %s; wanted: %s; %s\n", row.measure.c_str(),
                row.policy.c_str(), row.value.mean, row.value.low, row.value.high, row.unit.c_str(),
                row.target.c_str(), row.met ? "met" : "NOT met");
    if (!row.note.empty()) std::printf("    %s\n", row.note.c_str());
  }
}

inline void print_advice(const std::vector<Advice>& advice) {
  std::string family;
  for (const Advice& one : advice) {
    if (one.family != family) std::printf("\nWhat to choose, for %s\n", one.family.c_str());
    family = one.family;
    std::printf("  %s\n", sentence(one).c_str());
  }
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_TABLES_HPP
