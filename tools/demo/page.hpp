// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page: one file, no network.
#ifndef MORPHKV_TOOLS_DEMO_PAGE_HPP
#define MORPHKV_TOOLS_DEMO_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "comparison/page.hpp"
#include "demo/page_body.hpp"
#include "demo/page_memory.hpp"
#include "demo/page_real_text.hpp"
#include "demo/page_table.hpp"
#include "demo/page_words.hpp"

namespace morphkv::demo {

using namespace comparison;

/// \param real_text null where there is no model that reads a real text
[[nodiscard]] inline std::string make_page(const nlohmann::ordered_json& figures,
                                           const nlohmann::ordered_json& trails,
                                           const nlohmann::ordered_json& real_text) {
  return comparison::make_page(
      {.title = page_title,
       .style = page_memory_style,
       .body = page_body,
       .constants = {{"figures", figures},
                     {"trails", trails},
                     {"realText", real_text},
                     {"knownModels", known_models_json()}},
       .scripts = {page_lead_script, page_table_script, page_words_script, page_real_text_script,
                   memory_formula_script, page_memory_script}});
}

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_PAGE_HPP
