// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page: one file, no network.
#ifndef MORPHKV_EXAMPLES_DEMO_PAGE_HPP
#define MORPHKV_EXAMPLES_DEMO_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "demo/page_body.hpp"
#include "demo/page_heads.hpp"
#include "demo/page_plot.hpp"
#include "demo/page_style.hpp"
#include "demo/page_table.hpp"
#include "demo/page_words.hpp"

namespace morphkv::demo {

namespace detail {

/// JSON inside a script element: nothing in it may end the element.
[[nodiscard]] inline std::string embedded(const nlohmann::ordered_json& json) {
  std::string text = json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
  for (std::size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at)) {
    text.replace(at, 1, "\\u003c");
  }
  return text;
}

}  // namespace detail

[[nodiscard]] inline std::string make_page(const nlohmann::ordered_json& figures,
                                           const nlohmann::ordered_json& trails) {
  std::string page = page_head;
  page += std::string("<style>") + page_style + "</style>\n</head>\n" + page_body;
  page += "<script>\n\"use strict\";\nconst figures = " + detail::embedded(figures) +
          ";\nconst trails = " + detail::embedded(trails) + ";\n";
  page += page_common_script;
  page += page_plot_script;
  page += page_heads_script;
  page += page_table_script;
  page += page_words_script;
  page += "</script>\n</body>\n</html>\n";
  return page;
}

}  // namespace morphkv::demo

#endif  // MORPHKV_EXAMPLES_DEMO_PAGE_HPP
