// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page: one file, no network.
#ifndef MORPHKV_TOOLS_DEMO_PAGE_HPP
#define MORPHKV_TOOLS_DEMO_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "comparison/page_common.hpp"
#include "comparison/page_heads.hpp"
#include "comparison/page_plot.hpp"
#include "comparison/page_style.hpp"
#include "demo/page_body.hpp"
#include "demo/page_memory.hpp"
#include "demo/page_table.hpp"
#include "demo/page_words.hpp"

namespace morphkv::demo {

using namespace comparison;

[[nodiscard]] inline std::string make_page(const nlohmann::ordered_json& figures,
                                           const nlohmann::ordered_json& trails) {
  std::string page = page_head;
  page +=
      std::string("<style>") + page_style + page_memory_style + "</style>\n</head>\n" + page_body;
  page += "<script>\n\"use strict\";\nconst figures = " + embedded(figures) +
          ";\nconst trails = " + embedded(trails) +
          ";\nconst knownModels = " + embedded(known_models_json()) + ";\n";
  page += page_common_script;
  page += page_plot_script;
  page += page_heads_script;
  page += page_lead_script;
  page += page_table_script;
  page += page_words_script;
  page += memory_formula_script;
  page += page_memory_script;
  page += "</script>\n</body>\n</html>\n";
  return page;
}

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_PAGE_HPP
