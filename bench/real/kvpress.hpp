// SPDX-License-Identifier: Apache-2.0
/// \file
/// Our cut prompts beside those of kvpress, which another program measures.
#ifndef MORPHKV_BENCH_REAL_KVPRESS_HPP
#define MORPHKV_BENCH_REAL_KVPRESS_HPP

#include <cstddef>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "real/rows.hpp"
#include "real/study.hpp"
#include "support/input_file.hpp"

namespace morphkv::real {

/// NLL lost in nats per token, by press and text.
using PressFigures = std::map<std::string, std::map<std::string, double>>;

/// \param path     a JSON list of {"press": name, "text": name, "nll_lost": number}; entries with
///                 another "capacity", such as the full cache's null, are left out
/// \param capacity tokens that stay of a prompt
/// \throws std::runtime_error naming the file and what is wrong in it
[[nodiscard]] inline PressFigures read_press_figures(const std::filesystem::path& path,
                                                     std::size_t capacity) {
  support::InputFile file(path);
  const auto list = nlohmann::json::parse(file.read_text(file.size(), "the JSON text"), nullptr,
                                          /*allow_exceptions=*/false);
  if (!list.is_array() || list.empty()) {
    support::fail(path, "must be a JSON list of {press, text, nll_lost}");
  }
  PressFigures figures;
  for (const nlohmann::json& entry : list) {
    const auto field = [&](const char* name) {
      return entry.is_object() && entry.contains(name) ? entry[name] : nlohmann::json();
    };
    if (!field("press").is_string() || !field("text").is_string() ||
        !field("nll_lost").is_number()) {
      support::fail(path, "must be a JSON list of {press, text, nll_lost}; it has " + entry.dump());
    }
    if (entry.contains("capacity") && entry["capacity"] != capacity) continue;
    figures[entry["press"]][entry["text"]] = entry["nll_lost"];
  }
  if (figures.empty()) {
    support::fail(path, "it has no press with capacity " + std::to_string(capacity));
  }
  return figures;
}

namespace detail {

/// Our press with the least mean NLL lost.
[[nodiscard]] inline std::size_t best_press(const std::vector<TextResult>& texts) {
  std::size_t best = 1;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t c = 1; c < texts.front().caches.size(); ++c) {
    double sum = 0;
    for (const TextResult& text : texts) sum += text.caches[c].nll_lost;
    if (sum < least) {
      least = sum;
      best = c;
    }
  }
  return best;
}

}  // namespace detail

/// The NLL that our best press loses. \param figures of kvpress; empty: the row has no verdict
/// \throws std::invalid_argument if no press has a figure for each of the texts
[[nodiscard]] inline Row prompt_cut_row(const Results& results, const PressFigures& figures) {
  const std::vector<TextResult>& texts = results.cut_texts;
  const std::size_t ours = detail::best_press(texts);
  Row row{"prompt cut to " + std::to_string(results.presses[ours].capacity) +
              " tokens, response kept, " + results.presses[ours].policy + ": NLL lost",
          bench::bootstrap(texts.size(),
                           [&](const bench::Resample& resample) {
                             return resample.mean(texts.size(), [&](std::size_t t) {
                               return texts[t].caches[ours].nll_lost;
                             });
                           }),
          "less than the best press of kvpress (--kvpress FILE)",
          {}};
  if (figures.empty()) return row;
  std::string best;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [press, by_text] : figures) {
    double sum = 0;
    bool complete = true;
    for (const TextResult& text : texts) {
      const auto found = by_text.find(text.name);
      complete = complete && found != by_text.end();
      if (complete) sum += found->second;
    }
    if (!complete || sum >= least) continue;
    least = sum;
    best = press;
  }
  if (best.empty()) {
    throw std::invalid_argument("--kvpress: no press has figures of all texts, such as " +
                                texts.front().name);
  }
  least /= static_cast<double>(texts.size());
  row.target = "less than " + comparison::fixed(least, 4) + ", " + best + " of kvpress";
  row.met = row.value.mean < least;
  return row;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_KVPRESS_HPP
