// SPDX-License-Identifier: Apache-2.0
//
// The rows of the report as a page of its own: nothing is loaded from elsewhere.
#ifndef MORPHKV_BENCH_KERNELS_PAGE_HPP
#define MORPHKV_BENCH_KERNELS_PAGE_HPP

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <ostream>
#include <string>

#include "kernels/report.hpp"
#include "support/output_file.hpp"

namespace morphkv::bench {

inline constexpr const char* page_style = R"(
:root{color-scheme:light dark;--met:#2a9d6f;--not:#d2622a;--line:#8884}
body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:.2rem}h2{margin:2.2rem 0 .4rem;font-size:1.15rem}
p{max-width:50rem}.note{opacity:.75}
table{border-collapse:collapse;width:100%}
th{position:sticky;top:0;background:Canvas;font-weight:600}
td,th{padding:.25rem .6rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:middle}
td.met,td.not{white-space:nowrap}td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.bar{position:relative;width:15rem;height:.9rem;background:#8882;border-radius:3px;overflow:hidden}
.bar i{position:absolute;left:0;top:0;bottom:0;border-radius:3px;background:var(--not)}
.bar.met i{background:var(--met)}
.bar b{position:absolute;left:50%;top:0;bottom:0;width:2px;background:CanvasText}
.met{color:var(--met)}.not{color:var(--not)}
)";

inline std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '&') {
      result += "&amp;";
    } else {
      result += c;
    }
  }
  return result;
}

/// The row's value on a scale that ends at twice the target.
inline std::string bar(const Row& row) {
  char text[160];
  const double percent = 100 * (std::clamp)(row.value / (2 * row.target_value), 0.0, 1.0);
  std::snprintf(text, sizeof text,
                "<div class=\"bar%s\"><i style=\"width:%.1f%%\"></i><b></b></div>",
                row.met ? " met" : "", percent);
  return text;
}

inline std::string target_of(const Row& row) {
  std::string sign = row.target.substr(0, 2) == "<=" ? "at most" : "at least";
  return sign + row.target.substr(2) + ' ' + row.unit;
}

inline void write_row(std::ostream& page, const Row& row, bool with_target) {
  char value[64];
  std::snprintf(value, sizeof value, "%.2f %s", row.value, row.unit.c_str());
  page << "<tr><td>" << escaped(row.measure) << "<td class=number>" << value;
  if (with_target) {
    page << "<td class=number>" << target_of(row) << "<td>" << bar(row)
         << "<td class=" << (row.met ? "met>met" : "not>not met");
  }
  page << "<td class=note>" << escaped(row.limit) << '\n';
}

/// The rows for which `belongs` holds, under a title; nothing if there are none.
template <class Belongs>
void write_section(std::ostream& page, const char* title, bool with_target, Belongs belongs) {
  if (std::none_of(rows().begin(), rows().end(), belongs)) return;
  page << "<h2>" << title << "</h2><table><tr><th>measure<th>value"
       << (with_target ? "<th>target<th>against it<th>" : "") << "<th>beside it\n";
  for (const Row& row : rows()) {
    if (belongs(row)) write_row(page, row, with_target);
  }
  page << "</table>\n";
}

inline void write_page(const std::filesystem::path& path, const Setting& setting) {
  const auto has_target = [](const Row& row) { return !row.target.empty(); };
  const auto targets = std::count_if(rows().begin(), rows().end(), has_target);
  const auto met = std::count_if(rows().begin(), rows().end(),
                                 [&](const Row& row) { return has_target(row) && row.met; });
  std::filesystem::create_directories(path.parent_path());
  support::OutputFile file(path);
  std::ostream& page = file.stream();
  page << "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width\"><title>morphkv: kernels</title><style>"
       << page_style << "</style><h1>The kernels against their targets</h1><p class=note>"
       << escaped(setting.cpu) << " &middot; kernels for " << escaped(setting.kernels)
       << " &middot; " << escaped(setting.date) << "</p><p>" << met << " of " << targets
       << " targets are met. One thread; 32 query heads, 8 KV heads, head_dim 128. Ratios are "
          "medians "
          "of variants that took turns in one process; cold means that layers rotate through more "
          "than 160 MB. The line in the middle of a bar is the target, its end twice the "
          "target.</p>\n";
  write_section(page, "This machine", false, [](const Row& row) { return row.is_machine; });
  write_section(page, "Against the targets", true, has_target);
  write_section(page, "Without a target", false,
                [&](const Row& row) { return !has_target(row) && !row.is_machine; });
  page << "</html>\n";
  file.finish();
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_PAGE_HPP
