// SPDX-License-Identifier: Apache-2.0
//
// The rows that the measurements yield, as a table and as build/reports/kernels.json.
#ifndef MORPHKV_BENCH_KERNELS_REPORT_HPP
#define MORPHKV_BENCH_KERNELS_REPORT_HPP

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/output_file.hpp"

namespace morphkv::bench {

struct Row {
  std::string measure;
  double value;
  std::string unit;
  std::string target;  ///< in words; empty for a row that only informs
  bool met;
  std::string limit;        ///< what the machine, or the arithmetic, sets as a bound
  double target_value = 0;  ///< the number in `target`
  bool is_machine = false;  ///< what the machine can do, whatever runs on it
};

inline std::vector<Row>& rows() {
  static std::vector<Row> all;
  return all;
}

inline void at_most(std::string measure, double value, double target, std::string unit,
                    std::string limit) {
  char words[32];
  std::snprintf(words, sizeof words, "<= %g", target);
  rows().push_back({std::move(measure), value, std::move(unit), words, value <= target,
                    std::move(limit), target});
}
inline void at_least(std::string measure, double value, double target, std::string unit,
                     std::string limit) {
  char words[32];
  std::snprintf(words, sizeof words, ">= %g", target);
  rows().push_back({std::move(measure), value, std::move(unit), words, value >= target,
                    std::move(limit), target});
}
inline void inform(std::string measure, double value, std::string unit, std::string limit = "") {
  rows().push_back({std::move(measure), value, std::move(unit), "", true, std::move(limit)});
}

inline void inform_of_machine(std::string measure, double value, std::string unit) {
  inform(std::move(measure), value, std::move(unit));
  rows().back().is_machine = true;
}

/// "12.3 GB/s" and the like.
inline std::string in_words(double value, const char* unit) {
  char text[48];
  std::snprintf(text, sizeof text, "%.1f %s", value, unit);
  return text;
}

inline void print_table() {
  std::printf("\n%-82s %9s %-6s %-8s %-4s %s\n", "measure", "value", "unit", "target", "met",
              "limit");
  for (const Row& row : rows()) {
    std::printf("%-82s %9.2f %-6s %-8s %-4s %s\n", row.measure.c_str(), row.value, row.unit.c_str(),
                row.target.c_str(), row.target.empty() ? "" : (row.met ? "yes" : "no"),
                row.limit.c_str());
  }
}

/// Where and when the rows were measured, for those who read them later.
struct Setting {
  std::string cpu;
  std::string kernels;  ///< the version that ran
  std::string date;
};

/// \param report what else is to be said, beside the rows
inline void write_json(const std::filesystem::path& path,
                       nlohmann::json report = nlohmann::json::object()) {
  nlohmann::json table = nlohmann::json::array();
  for (const Row& row : rows()) {
    table.push_back({{"measure", row.measure},
                     {"value", row.value},
                     {"unit", row.unit},
                     {"target", row.target},
                     {"met", row.met},
                     {"limit", row.limit}});
  }
  report["rows"] = table;
  support::write_file(path, report.dump(2) + '\n');
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_REPORT_HPP
