// SPDX-License-Identifier: Apache-2.0
/// \file
/// The report as tables on a terminal.
#ifndef MORPHKV_BENCH_REAL_TABLES_HPP
#define MORPHKV_BENCH_REAL_TABLES_HPP

#include <cstddef>
#include <cstdio>
#include <string>

#include "comparison/run_json.hpp"

namespace morphkv::real {

namespace detail {

using comparison::Json;

inline void print_name(const Json& cache) {
  std::printf("%-30s %6zu", cache["policy"].get<std::string>().c_str(),
              cache["capacity"].get<std::size_t>());
}

/// Caches with the fields of texts.
inline void print_texts(const char* title, const Json& caches) {
  if (caches.empty() || !caches.front().contains("kl")) return;
  std::printf("\n%s\n%-30s %6s %9s   %-24s %9s %7s\n", title, "policy", "slots", "KiB", "KL, 95 %",
              "NLL lost", "top-1");
  for (const Json& cache : caches) {
    print_name(cache);
    std::printf(" %9.0f   %.4f (%.4f, %.4f) %9.4f %6.1f%%\n", cache["bytes"].get<double>() / 1024,
                cache["kl"]["mean"].get<double>(), cache["kl"]["low"].get<double>(),
                cache["kl"]["high"].get<double>(), cache["nll_lost"]["mean"].get<double>(),
                100 * cache["agreement"]["mean"].get<double>());
  }
}

inline void print_lookups(const Json& caches) {
  if (!caches.front().contains("lookups")) return;
  std::printf("\nLook-ups: tokens of the answers that are right, in %%\n%-37s", "policy, slots");
  for (const Json& kind : caches.front()["lookups"]) {
    std::printf(" %s", kind["task"].get<std::string>().c_str());
  }
  std::printf("\n%-37s", "");
  for (const Json& kind : caches.front()["lookups"]) {
    const std::string task = kind["task"];
    const bool later = kind["question"].get<std::string>().find("later") != std::string::npos;
    std::printf(" %*s", static_cast<int>(task.size()), later ? "later" : "prompt");
  }
  std::printf("\n");
  for (const Json& cache : caches) {
    print_name(cache);
    for (const Json& kind : cache["lookups"]) {
      std::printf(" %*.0f", static_cast<int>(kind["task"].get<std::string>().size()),
                  100 * kind["right"]["mean"].get<double>());
    }
    std::printf("\n");
  }
}

inline void print_responses(const Json& caches) {
  if (caches.empty()) return;
  std::printf("\nLong responses\n%-30s %6s   %-24s %16s %12s\n", "policy", "slots",
              "NLL of it, full cache", "distinct 4-grams", "names reused");
  for (const Json& cache : caches) {
    print_name(cache);
    std::printf(
        "   %.3f (%.3f, %.3f)     %15.1f%% %12.1f\n", cache["full_nll"]["mean"].get<double>(),
        cache["full_nll"]["low"].get<double>(), cache["full_nll"]["high"].get<double>(),
        100 * cache["distinct"]["mean"].get<double>(), cache["names"]["mean"].get<double>());
  }
}

inline void print_rows(const Json& rows) {
  std::printf("\n");
  for (const Json& row : rows) {
    const char* verdict = row["met"].is_null() ? "open" : row["met"] ? "met" : "not met";
    std::printf("%-7s  %s: %.4g (%.4g to %.4g), target %s\n", verdict,
                row["measure"].get<std::string>().c_str(), row["value"].get<double>(),
                row["interval"][0].get<double>(), row["interval"][1].get<double>(),
                row["target"].get<std::string>().c_str());
  }
}

}  // namespace detail

/// \param report what report_json() returns
inline void print_report(const comparison::Json& report) {
  detail::print_texts("Texts", report["caches"]);
  detail::print_texts("Long text", report["long"]);
  detail::print_texts("Prompt cut, response kept", report["prompt_cut"]);
  detail::print_texts("16, 8 and 4 bits", report["formats"]);
  detail::print_lookups(report["caches"]);
  detail::print_responses(report["responses"]);
  detail::print_rows(report["rows"]);
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_TABLES_HPP
