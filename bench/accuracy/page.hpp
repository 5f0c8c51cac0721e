// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page: one file, no network.
#ifndef MORPHKV_BENCH_ACCURACY_PAGE_HPP
#define MORPHKV_BENCH_ACCURACY_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "accuracy/page_parts.hpp"
#include "comparison/page.hpp"

namespace morphkv::accuracy {

/// \param report what accuracy.json holds
/// \param trails of each family, as trails_json() gives them
[[nodiscard]] inline std::string make_page(const nlohmann::ordered_json& report,
                                           const nlohmann::ordered_json& trails) {
  return comparison::make_page({.title = page_title,
                                .body = page_body,
                                .constants = {{"report", report}, {"trails", trails}},
                                .scripts = {page_script}});
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_PAGE_HPP
