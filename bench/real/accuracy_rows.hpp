// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rows about the generated tasks, from the accuracy.json of ./run bench accuracy.
#ifndef MORPHKV_BENCH_REAL_ACCURACY_ROWS_HPP
#define MORPHKV_BENCH_REAL_ACCURACY_ROWS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "comparison/numbers.hpp"
#include "real/rows.hpp"
#include "resample.hpp"
#include "support/json_file.hpp"

namespace morphkv::real {

namespace detail {

inline constexpr const char* accuracy_policy = "recommended";

/// The accuracy of each prompt, of the results of a policy. \param budget negative: any
[[nodiscard]] inline std::vector<double> accuracies(const nlohmann::json& results,
                                                    const std::string& policy, double budget = -1) {
  for (const nlohmann::json& result : results) {
    const bool same_budget =
        budget < 0 || std::abs(result.at("budget").get<double>() - budget) < 1e-9;
    if (result.at("policy") == policy && same_budget) {
      return result.at("accuracies").get<std::vector<double>>();
    }
  }
  return {};
}

[[nodiscard]] inline double mean_of(const std::vector<double>& values,
                                    const bench::Resample& resample) {
  return resample.mean(values.size(), [&](std::size_t k) { return values[k]; });
}

/// Accuracy lost from the shortest to the longest responses, beyond the full cache's own loss.
inline void add_length_row(const nlohmann::json& lengths, std::vector<Row>& rows) {
  if (lengths.size() < 2) return;
  const nlohmann::json& first = lengths.front();
  const nlohmann::json& last = lengths.back();
  const auto of = [](const nlohmann::json& run, const char* policy) {
    return accuracies(run.at("results"), policy);
  };
  const std::vector<double> ours[] = {of(first, accuracy_policy), of(last, accuracy_policy)};
  const std::vector<double> full[] = {of(first, "full"), of(last, "full")};
  if (ours[0].empty() || ours[1].empty() || full[0].empty() || full[1].empty()) return;
  Row row{"recommended, generated tasks, responses of " +
              std::to_string(last.at("length").get<std::size_t>()) +
              " tokens: points lost beyond the full cache's loss",
          {},
          "at most 3",
          {}};
  row.value = bench::bootstrap(ours[1].size(), [&](const bench::Resample& resample) {
    const auto lost = [&](const std::vector<double>(&runs)[2]) {
      return mean_of(runs[0], resample) - mean_of(runs[1], resample);
    };
    return 100 * (lost(ours) - lost(full));
  });
  row.met = row.value.mean <= 3;
  rows.push_back(row);
}

/// The least change of accuracy since an earlier run, of all families and budgets that both have.
inline void add_change_row(const nlohmann::json& now, const nlohmann::json& before,
                           std::vector<Row>& rows) {
  std::vector<std::pair<std::vector<double>, std::vector<double>>> pairs;
  std::size_t prompts = 1;
  for (const nlohmann::json& family : now) {
    for (const nlohmann::json& earlier : before) {
      if (family.at("family") != earlier.at("family")) continue;
      for (const nlohmann::json& result : family.at("results")) {
        if (result.at("policy") != accuracy_policy) continue;
        std::vector<double> old =
            accuracies(earlier.at("results"), accuracy_policy, result.at("budget"));
        if (old.empty()) continue;
        pairs.emplace_back(result.at("accuracies").get<std::vector<double>>(), std::move(old));
        prompts = (std::max)(prompts, pairs.back().first.size());
      }
    }
  }
  if (pairs.empty()) return;
  Row row{"recommended, generated tasks: least change of " + std::to_string(pairs.size()) +
              " accuracies, points",
          {},
          "at least 0",
          {}};
  row.value = bench::bootstrap(prompts, [&](const bench::Resample& resample) {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [new_run, old_run] : pairs) {
      least = (std::min)(least, 100 * (mean_of(new_run, resample) - mean_of(old_run, resample)));
    }
    return least;
  });
  row.met = row.value.mean >= 0;
  rows.push_back(row);
}

[[nodiscard]] inline nlohmann::json list_of(const support::JsonFile& file, const char* name) {
  if (!file.has(name) || !file.object().at(name).is_array()) {
    support::fail(file.path(), std::string("it has no list `") + name +
                                   "`: must be an accuracy.json of ./run bench accuracy");
  }
  return file.object().at(name);
}

}  // namespace detail

/// \param now    an accuracy.json
/// \param before one of an earlier version; empty: without the row of changes
/// \throws std::runtime_error naming the file and what is wrong in it
[[nodiscard]] inline std::vector<Row> accuracy_rows(const std::filesystem::path& now,
                                                    const std::filesystem::path& before) {
  std::vector<Row> rows;
  const support::JsonFile file(now);
  try {
    detail::add_length_row(detail::list_of(file, "lengths"), rows);
    if (before.empty()) return rows;
    detail::add_change_row(detail::list_of(file, "families"),
                           detail::list_of(support::JsonFile(before), "families"), rows);
  } catch (const nlohmann::json::exception& error) {
    support::fail(now, std::string("it is not as ./run bench accuracy writes it: ") + error.what());
  }
  return rows;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_ACCURACY_ROWS_HPP
