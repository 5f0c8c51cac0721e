// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page: one file, no network.
#ifndef MORPHKV_BENCH_PAPERS_PAGE_HPP
#define MORPHKV_BENCH_PAPERS_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "comparison/page.hpp"

namespace morphkv::papers {

inline constexpr char page_body[] = R"html(<body>
<main>
<p class="kicker">morphkv, the benchmarks of the papers</p>
<h1 id="headline"></h1>
<p class="lead" id="lead"></p>

<h2>Scores</h2>
<p class="note">From 0 to 100, with the 95 % interval over prompts (bootstrap). Bytes: of the whole cache
at the end of the response.</p>
<div class="scroll"><table id="scores"></table></div>
<p class="note" id="not-scored"></p>

<h2>Responses</h2>
<p class="note">The full cache beside a policy. From where the texts differ, the policy's is red.</p>
<div class="controls" id="controls"></div>
<div class="words"><div><h3 id="full-title"></h3><div class="text-box"><p class="prose" id="full"></p></div></div>
<div><h3 id="other-title"></h3><div class="text-box"><p class="prose" id="other"></p></div></div></div>
<footer id="footer"></footer>
</main>
)html";

inline constexpr char page_script[] = R"js(
const names = report.policies.map(p => p.policy);
const number = i => i === null ? "\u2013" : make("span", {}, i.mean.toFixed(1) + " ",
  make("span", { class: "range" }, i.low === null ? "" : `${i.low.toFixed(1)} to ${i.high.toFixed(1)}`));
const named = policy => make("span", {},
  make("span", { class: "swatch", style: `background: var(--${policy})` }), " " + policy);
byId("headline").textContent = names.length > 1
  ? `${names.slice(1).join(", ")} beside the full cache` : "The full cache";
byId("lead").textContent = `${report.run.model.name} answers ${report.prompts.length} prompts of ` +
  `${[...new Set(report.prompts.map(p => p.benchmark))].join(", ")}. Settings: ` +
  report.policies.slice(1).map(p => `${p.policy} (` + Object.entries(p.settings).map(([name, value]) =>
    `${name} ${value}`).join(", ") + ")").join("; ") + ".";

const rows = [];
for (const group of report.groups) {
  rows.push(group.title);
  for (const c of group.caches) rows.push([named(c.policy), number(c.score), number(c.minus_full),
    c.of_full === null ? "\u2013" : percent(c.of_full), c.tokens.toFixed(1), bytes(c.bytes)]);
}
fillTable(byId("scores"), ["Policy", "Score", "Minus full", "Of full", "Tokens", "Bytes"], rows);

byId("not-scored").textContent = report.not_scored.length
  ? `Not scored here: ${report.not_scored.join("; ")}.` : "";

let prompt = 0, policy = Math.min(1, names.length - 1);
function title(element, answer, name) {
  element.textContent = `${name}: ${answer.tokens} tokens` +
    (answer.score === null ? "" : `, score ${answer.score.toFixed(1)}`);
}
function show() {
  const answers = report.prompts[prompt].answers;
  const [full, other] = [answers[0], answers[policy]];
  title(byId("full-title"), full, "full");
  title(byId("other-title"), other, names[policy]);
  byId("full").textContent = full.text;
  let same = 0;
  while (same < other.text.length && other.text[same] === full.text[same]) ++same;
  byId("other").replaceChildren(other.text.slice(0, same),
    make("span", { class: "other" }, other.text.slice(same)));
}
const controls = byId("controls");
controls.append(
  chooser("Prompt", report.prompts.map(p => `${p.benchmark}, ${p.group}: ${p.place.split("/").pop()}, ` +
    `${p.prompt_tokens} tokens${p.truncated ? ", truncated" : ""}`), prompt, i => { prompt = i; show(); }),
  chooser("Policy", names, policy, i => { policy = i; show(); }));
show();
const run = report.run;
byId("footer").textContent =
  `${run.command}: ${Math.round(run.seconds)} s on ${run.machine}, ${run.threads} threads; ` +
  `${run.compiler}; morphkv ${run.morphkv}${run.git ? ` (${run.git})` : ""}; cache elements ` +
  `${run.cache_element}; ${run.date}. All figures are in papers.json.`;
)js";

/// \param report what papers.json holds
[[nodiscard]] inline std::string make_page(const nlohmann::ordered_json& report) {
  return comparison::make_page({.title = "morphkv: the benchmarks of the papers",
                                .body = page_body,
                                .constants = {{"report", report}},
                                .scripts = {page_script}});
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_PAGE_HPP
