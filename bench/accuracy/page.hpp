// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page: one file, no network.
#ifndef MORPHKV_BENCH_ACCURACY_PAGE_HPP
#define MORPHKV_BENCH_ACCURACY_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "accuracy/page_parts.hpp"
#include "comparison/page_common.hpp"
#include "comparison/page_heads.hpp"
#include "comparison/page_plot.hpp"
#include "comparison/page_style.hpp"

namespace morphkv::accuracy {

/// \param report what accuracy.json holds
/// \param trails of each family, as trails_json() gives them
[[nodiscard]] inline std::string make_page(const nlohmann::ordered_json& report,
                                           const nlohmann::ordered_json& trails) {
  std::string page = page_head;
  page += std::string("<style>") + comparison::page_style + "</style>\n</head>\n" + page_body;
  page += "<script>\n\"use strict\";\nconst report = " + comparison::embedded(report) +
          ";\nconst trails = " + comparison::embedded(trails) + ";\n";
  page += comparison::page_common_script;
  page += comparison::page_plot_script;
  page += comparison::page_heads_script;
  page += page_script;
  page += "</script>\n</body>\n</html>\n";
  return page;
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_PAGE_HPP
