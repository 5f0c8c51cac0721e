// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page: one file, no network.
#ifndef MORPHKV_BENCH_REAL_PAGE_HPP
#define MORPHKV_BENCH_REAL_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "comparison/page.hpp"
#include "real/page_lookups.hpp"
#include "real/page_responses.hpp"
#include "real/page_texts.hpp"

namespace morphkv::real {

inline constexpr char page_title[] = "morphkv: a real model";

/// Sections of measures that were not taken are removed.
inline constexpr char page_body[] = R"html(<body>
<main>
<p class="kicker">morphkv, benchmark on a real model</p>
<h1 id="headline">Policies on a real model, at equal bytes</h1>
<p class="lead" id="lead"></p>

<section id="targets"><h2>Targets</h2>
<div class="scroll"><table id="rows"></table></div></section>

<section id="language"><h2>Memory against divergence</h2>
<p class="note">KL divergence of the next token's distribution from the full cache's, in nats per token,
mean over texts; bars: 95 % intervals over texts. Lower is better. All policies at one place have the same
bytes. Hover for details.</p>
<figure class="plot" id="plot"></figure>
<details><summary>All figures</summary><div class="scroll"><table id="caches"></table></div></details>
</section>

<section id="long"><h2>A long text</h2>
<p class="note" id="long-note"></p>
<figure class="plot" id="long-plot"></figure>
<details><summary>All figures</summary><div class="scroll"><table id="long-table"></table></div></details>
</section>

<section id="prompt_cut"><h2>A prompt that is cut, and a response that is kept</h2>
<p class="note" id="prompt_cut-note"></p>
<div class="scroll"><table id="prompt_cut-table"></table></div></section>

<section id="formats"><h2>Tokens or bits</h2>
<p class="note" id="formats-note"></p>
<figure class="plot" id="formats-plot"></figure>
<details><summary>All figures</summary><div class="scroll"><table id="formats-table"></table></div></details>
</section>

<section id="lookups"><h2>Retrieval</h2>
<p class="note" id="lookups-note"></p>
<figure class="plot" id="lookup-maps"></figure>
<details><summary>All figures</summary><div id="lookup-tables"></div></details></section>

<section id="responses"><h2>Long responses</h2>
<p class="note" id="responses-note"></p>
<div class="scroll"><table id="responses-table"></table></div>
<div id="response-texts"></div></section>

<section id="held"><h2>Held positions over time</h2>
<p class="note">The first text. Across: its tokens after the prompt. Up: positions in the text, blue while
the head holds the token. The text is under the cursor.</p>
<div id="heads"></div></section>
<footer id="footer"></footer>
</main>
)html";

inline constexpr char page_script[] = R"js(
const [full, ...compared] = report.caches;
const rounded = value => Number(value.toPrecision(4));
// Draws a section, or removes it.
function section(id, measured, draw) {
  if (measured) draw(); else byId(id).remove();
}

section("targets", report.rows.length > 0, () =>
  fillTable(byId("rows"), ["|Measure", "Value", "95 % interval", "|Target", "|Met"],
    report.rows.map(row => [row.measure, rounded(row.value), row.interval.map(rounded).join(" to "),
      row.target,
      row.met === null ? "open" :
        make("span", { class: row.met ? "good" : "bad" }, row.met ? "yes" : "no")])));

section("language", full.kl !== undefined, () => {
  const slots = [...new Set(compared.map(c => c.slots))];
  const middle = compared.filter(c => c.slots === slots[slots.length >> 1]);
  const ours = middle.find(c => c.policy === "recommended");
  const rival = middle.filter(c => c !== ours).reduce((a, b) => b.kl.mean < a.kl.mean ? b : a);
  byId("headline").textContent = `With ${bytes(ours.bytes)}, recommended diverges by ` +
    `${ours.kl.mean.toFixed(3)} nats per token; the best other policy, ${rival.policy}, by ` +
    rival.kl.mean.toFixed(3);
  byId("lead").textContent =
    `${report.run.model.name} reads ${report.texts.length} texts: ${report.prompt} tokens as a ` +
    `prompt, then ${report.response} one by one. Each cache sees the same tokens.`;
  divergencePlot(byId("plot"), compared);
  textsTable(byId("caches"), compared, "kl");
});

section("long", report.long.length > 0, () => {
  byId("long-note").textContent = `One text, ${report.long[0].texts[0].text}: ` +
    `${report.long_prompt} tokens as a prompt, then ${report.long_response} one by one.`;
  divergencePlot(byId("long-plot"), report.long.slice(1));
  textsTable(byId("long-table"), report.long.slice(1), "kl");
});

section("prompt_cut", report.prompt_cut.length > 0, () => {
  const presses = report.prompt_cut.slice(1);
  byId("prompt_cut-note").textContent = `Of ${report.prompt} tokens, ${presses[0].capacity} per ` +
    `head stay; the ${report.response} tokens after them all stay. Nats per token, by text the NLL lost.`;
  textsTable(byId("prompt_cut-table"), presses, "nll_lost");
});

section("formats", report.formats.length > 0, () => {
  byId("formats-note").textContent = "The recommended policy with keys and values in 16 bits, in 8 (q8_0; " +
    "e4m3 with scales of 1), in 4 (q4_0), and in two tiers of these (so many eighths of the slots in the " +
    "first), each with the slots that fit the bytes of the 16-bit cache. In the table also with the slots " +
    "of the 16-bit cache, and as full caches.";
  divergencePlot(byId("formats-plot"),
    report.formats.filter(c => c.bytes > 0 && !c.policy.endsWith("same_slots")));
  textsTable(byId("formats-table"), report.formats.slice(1), "kl");
});

section("lookups", full.lookups !== undefined, () => {
  byId("lookups-note").textContent =
    `A fact is stated in a text of ${report.lookup_tokens} tokens and asked for, at the end of the ` +
    `prompt or in a later turn: the share of the answer's tokens that is right, mean of ` +
    `${report.lookups_per_depth} per depth. Hover for details.`;
  lookupMaps(byId("lookup-maps"), report.caches, report.depths);
  lookupTables(byId("lookup-tables"), report.caches, report.depths);
});

section("responses", report.responses.length > 0, () => {
  byId("responses-note").textContent =
    `Each cache writes its own ${report.story_tokens} tokens for ` +
    `${report.responses[0].responses.length} prompts, sampled with the same random numbers. Then the ` +
    "full cache reads them. Its NLL, in nats per token, is low for a text that repeats itself too, so " +
    "it is to be read beside the share of 4-grams of tokens that are new. Names: capitalised words of " +
    "the first quarter that occur in the last one.";
  responsesTable(byId("responses-table"), report.responses);
  responseTexts(byId("response-texts"), report.responses);
});

section("held", trails !== null, () => headsPicture(byId("heads"), trails, trails.labels, 0));
const run = report.run;
byId("footer").textContent =
  `${run.command}: ${Math.round(run.seconds)} s on ${run.machine}, ${run.threads} threads; ` +
  `${run.compiler}; morphkv ${run.morphkv}${run.git ? ` (${run.git})` : ""}; cache elements ` +
  `${run.cache_element}; ${run.date}. All figures are in real.json.`;
)js";

/// \param report what real.json holds
/// \param trails what trails_json() returns
[[nodiscard]] inline std::string make_page(const nlohmann::ordered_json& report,
                                           const nlohmann::ordered_json& trails) {
  return comparison::make_page(
      {.title = page_title,
       .body = page_body,
       .constants = {{"report", report}, {"trails", trails}},
       .scripts = {page_texts_script, page_lookups_script, page_responses_script, page_script}});
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_PAGE_HPP
