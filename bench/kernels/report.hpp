// SPDX-License-Identifier: Apache-2.0
//
// The rows that the measurements yield: a table, build/reports/kernels.json, and a page with a
// picture of them.
#ifndef MORPHKV_BENCH_KERNELS_REPORT_HPP
#define MORPHKV_BENCH_KERNELS_REPORT_HPP

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace morphkv::bench {

struct Row {
  std::string measure;
  double value;
  std::string unit;
  std::string reach;  ///< in words; empty for a row that only informs
  bool met;
  std::string limit;  ///< what the machine, or the arithmetic, sets as a bound
  double aim = 0;     ///< the number in `reach`
};

inline std::vector<Row>& rows() {
  static std::vector<Row> all;
  return all;
}

inline void at_most(std::string measure, double value, double reach, std::string unit,
                    std::string limit) {
  char words[32];
  std::snprintf(words, sizeof words, "<= %g", reach);
  rows().push_back(
      {std::move(measure), value, std::move(unit), words, value <= reach, std::move(limit), reach});
}
inline void at_least(std::string measure, double value, double reach, std::string unit,
                     std::string limit) {
  char words[32];
  std::snprintf(words, sizeof words, ">= %g", reach);
  rows().push_back(
      {std::move(measure), value, std::move(unit), words, value >= reach, std::move(limit), reach});
}
inline void inform(std::string measure, double value, std::string unit, std::string limit = "") {
  rows().push_back({std::move(measure), value, std::move(unit), "", true, std::move(limit)});
}

/// "12.3 GB/s" and the like.
inline std::string in_words(double value, const char* unit) {
  char text[48];
  std::snprintf(text, sizeof text, "%.1f %s", value, unit);
  return text;
}

inline void print_table() {
  std::printf("\n%-66s %9s %-6s %-8s %-4s %s\n", "measure", "value", "unit", "reach", "met",
              "limit");
  for (const Row& row : rows()) {
    std::printf("%-66s %9.2f %-6s %-8s %-4s %s\n", row.measure.c_str(), row.value, row.unit.c_str(),
                row.reach.c_str(), row.reach.empty() ? "" : (row.met ? "yes" : "no"),
                row.limit.c_str());
  }
}

/// \param report what else is to be said, beside the rows
inline void write_json(const std::filesystem::path& path,
                       nlohmann::json report = nlohmann::json::object()) {
  nlohmann::json table = nlohmann::json::array();
  for (const Row& row : rows()) {
    table.push_back({{"measure", row.measure},
                     {"value", row.value},
                     {"unit", row.unit},
                     {"reach", row.reach},
                     {"met", row.met},
                     {"limit", row.limit}});
  }
  std::filesystem::create_directories(path.parent_path());
  report["rows"] = table;
  std::ofstream(path) << report.dump(2) << '\n';
}

/// One row's bar: its value on a scale that ends at twice the aim, with a line at the aim.
inline std::string bar(const Row& row) {
  constexpr double width = 240;
  const double length = width * (std::clamp)(row.value / (2 * row.aim), 0.0, 1.0);
  char text[400];
  std::snprintf(text, sizeof text,
                "<svg width=\"%g\" height=\"16\" role=\"img\"><rect width=\"%g\" height=\"16\" "
                "fill=\"#8882\"/><rect width=\"%.1f\" height=\"16\" fill=\"%s\"/><line x1=\"%g\" "
                "x2=\"%g\" y2=\"16\" stroke=\"currentColor\" stroke-width=\"2\"/></svg>",
                width, width, length, row.met ? "#4a9" : "#c63", width / 2, width / 2);
  return text;
}

inline std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) result += c == '<' ? "&lt;" : (c == '&' ? "&amp;" : std::string(1, c));
  return result;
}

/// The table as a page of its own: nothing is loaded from elsewhere.
inline void write_page(const std::filesystem::path& path) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream page(path);
  page << "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width\"><title>morphkv: kernels</title><style>"
          ":root{color-scheme:light dark}body{font:15px/1.4 system-ui,sans-serif;max-width:75rem;"
          "margin:2rem auto;padding:0 1rem}td,th{padding:.2rem .6rem;text-align:left;"
          "border-bottom:1px solid "
          "#8884}td:nth-child(2),td:nth-child(3){text-align:right;white-space:nowrap}"
          "</style><h1>What the kernels reach</h1><p>The line in the middle of a bar is the aim; "
          "green where it is met. Rows without a bar inform only.</p><table><tr><th>measure<th>"
          "value<th>aim<th>value against aim<th>limit";
  for (const Row& row : rows()) {
    char value[64];
    std::snprintf(value, sizeof value, "%.2f %s", row.value, row.unit.c_str());
    page << "<tr><td>" << escaped(row.measure) << "<td>" << value << "<td>" << escaped(row.reach)
         << "<td>" << (row.reach.empty() ? "" : bar(row)) << "<td>" << escaped(row.limit);
  }
  page << "</table></html>\n";
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_REPORT_HPP
