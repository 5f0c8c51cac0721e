// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page of a replay: one file, no network.
#ifndef MORPHKV_TOOLS_REPLAY_PAGE_HPP
#define MORPHKV_TOOLS_REPLAY_PAGE_HPP

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "comparison/page.hpp"
#include "comparison/trails_json.hpp"
#include "morphkv/version.hpp"
#include "replay/page_plot.hpp"
#include "replay/recording.hpp"
#include "replay/trace.hpp"

namespace morphkv::replay {

namespace detail {

inline constexpr char page_body[] = R"html(<body>
<main>
<p class="kicker">morphkv replay</p>
<h1 id="headline"></h1>
<p class="lead" id="lead"></p>

<section id="losses">
<h2>What a step does not see</h2>
<p>The share of the full cache's attention that is on tokens which the policy has evicted, at each step of the
response; mean over heads.</p>
<figure class="plot" id="lost-plot"></figure>
<h2>How far the output is off</h2>
<p>The distance between the output of attention and that of the full cache, relative to the latter.</p>
<figure class="plot" id="error-plot"></figure>
</section>

<h2>All figures</h2>
<div class="scroll"><table id="table"></table></div>

<section id="held">
<h2>What a head keeps</h2>
<p>Each column is a step of the response, each row a position in the text: blue where the head still holds
that token.</p>
<div id="heads"></div>
</section>
<footer id="footer"></footer>
</main>
)html";

inline constexpr char page_script[] = R"js(
const { trace, results } = figures;
const response = trace.tokens - trace.prompt_length;
byId("headline").textContent = `What ${results.length === 1 ? results[0].policy : "each policy"} keeps`;
byId("lead").textContent = [trace.model, trace.layer === null ? "" : `layer ${trace.layer}`]
  .filter(text => text).concat(`a prompt of ${trace.prompt_length} tokens and ${response} more after it, ` +
    `${trace.query_heads} query heads on ${trace.kv_heads} KV heads of ${trace.head_dim}`).join(", ") +
  ". No model runs here: the queries are those that the full cache gave.";
const named = results.map(r => ({ policy: r.policy, name: r.policy, about: r.settings }));
const lines = key => results.map((r, i) => ({ ...named[i], points: r[key] }));
if (results.every(r => r.lost_mass_over_steps.length === 0)) byId("losses").remove();
else {
  stepPlot(byId("lost-plot"), lines("lost_mass_over_steps"), response, "Attention lost");
  stepPlot(byId("error-plot"), lines("output_error_over_steps"), response, "Error of the output");
}
const share = number => number === null ? "" : percent(number, 2);
fillTable(byId("table"), ["|policy", "slots per head", "bytes", "attention lost", "output error", "|options"],
  results.map(r => [r.policy, r.capacity, bytes(r.bytes), share(r.lost_mass), share(r.output_error), r.settings]));
if (response === 0) byId("held").remove();
else headsPicture(byId("heads"), trails, results.map(r => r.policy), 0);
byId("footer").textContent = `${trace.file}; morphkv ${figures.version}; elements of the cache: ${figures.scalar}. ` +
  "Means are over the steps after the prompt and all heads.";
)js";

/// The parts of a trace and of recordings that headsPicture draws. A token's id is its position.
[[nodiscard]] inline nlohmann::ordered_json trails_json(const Trace& trace, const TraceNotes& notes,
                                                        std::span<const Recording> recordings) {
  const auto numbers = [](std::size_t begin, std::size_t end) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (std::size_t i = begin; i < end; ++i) list.push_back(i);
    return list;
  };
  nlohmann::ordered_json json = {{"prompt", numbers(0, trace.prompt_length)},
                                 {"needs", nlohmann::ordered_json::array()},
                                 {"words", nlohmann::ordered_json::object()}};
  // The picture counts layers and heads from 1, a trace from 0.
  json["layers"].push_back(notes.layer.value_or(0) - 1);
  for (const std::size_t head : recordings.front().lifetimes().heads()) {
    json["heads"].push_back(static_cast<long>(head) - 1);
  }
  for (std::size_t i = 0; i < notes.words.size(); ++i) {
    json["words"][std::to_string(i)] = notes.words[i];
  }
  for (const Recording& recording : recordings) {
    nlohmann::ordered_json trail = {{"response", numbers(trace.prompt_length, trace.tokens)}};
    for (const auto& head : recording.lifetimes().last()) {
      trail["last"].push_back(comparison::detail::base64(head));
    }
    json["trails"].push_back(trail);
  }
  return json;
}

/// A colour for every policy that the style of all pages does not know.
[[nodiscard]] inline std::string page_style(std::span<const Recording> recordings) {
  const std::string known = comparison::page_style;
  std::string style;
  for (const Recording& recording : recordings) {
    const auto name = recording.figures()["policy"].get<std::string>();
    if (known.find("--" + name + ":") == std::string::npos) {
      style += ":root { --" + name + ": #0f8f9f; }\n";
    }
  }
  return style;
}

}  // namespace detail

/// \param recordings of policies over the trace; at least one
[[nodiscard]] inline std::string make_page(const std::string& file, const std::string& scalar,
                                           const Trace& trace, const TraceNotes& notes,
                                           std::span<const Recording> recordings) {
  nlohmann::ordered_json figures = {
      {"version", MORPHKV_VERSION_STRING},
      {"scalar", scalar},
      {"trace",
       {{"file", file},
        {"model", notes.model},
        {"layer", notes.layer ? nlohmann::ordered_json(*notes.layer) : nullptr},
        {"tokens", trace.tokens},
        {"prompt_length", trace.prompt_length},
        {"query_heads", trace.shape.query_heads},
        {"kv_heads", trace.shape.kv_heads},
        {"head_dim", trace.shape.head_dim}}}};
  for (const Recording& recording : recordings) figures["results"].push_back(recording.figures());
  return comparison::make_page(
      {.title = "morphkv replay",
       .style = detail::page_style(recordings),
       .body = detail::page_body,
       .constants = {{"figures", figures},
                     {"trails", detail::trails_json(trace, notes, recordings)}},
       .scripts = {page_step_plot_script, detail::page_script}});
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_PAGE_HPP
