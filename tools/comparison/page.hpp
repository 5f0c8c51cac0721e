// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page of a comparison: one file, no network.
#ifndef MORPHKV_TOOLS_COMPARISON_PAGE_HPP
#define MORPHKV_TOOLS_COMPARISON_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "comparison/page_common.hpp"
#include "comparison/page_heads.hpp"
#include "comparison/page_plot.hpp"
#include "comparison/page_style.hpp"

namespace morphkv::comparison {

/// What one page has of its own.
struct PageParts {
  std::string title;
  std::string style = {};  ///< after that of all pages
  std::string body;        ///< the body element, which is not closed
  std::vector<std::pair<std::string, nlohmann::ordered_json>> constants;  ///< of the scripts
  std::vector<std::string> scripts;  ///< after those of all pages
};

[[nodiscard]] inline std::string make_page(const PageParts& parts) {
  std::string page = R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
)html";
  page += "<title>" + parts.title + "</title>\n<style>" + page_style + parts.style +
          "</style>\n</head>\n" + parts.body + "<script>\n\"use strict\";\n";
  for (const auto& [name, json] : parts.constants) {
    page += "const " + name + " = " + embedded(json) + ";\n";
  }
  page += page_common_script;
  page += page_plot_script;
  page += page_heads_script;
  for (const std::string& script : parts.scripts) page += script;
  page += "</script>\n</body>\n</html>\n";
  return page;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_PAGE_HPP
