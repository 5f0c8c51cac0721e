// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page's text and the script that fills it.
#ifndef MORPHKV_BENCH_ACCURACY_PAGE_PARTS_HPP
#define MORPHKV_BENCH_ACCURACY_PAGE_PARTS_HPP

namespace morphkv::accuracy {

inline constexpr char page_title[] = "morphkv: memory against accuracy";

inline constexpr char page_body[] = R"html(<body>
<main>
<p class="kicker">morphkv, accuracy benchmark</p>
<h1 id="headline"></h1>
<p class="lead">A model writes long responses with the full cache, and again with caches of a constant
size under each policy. All policies get the same bytes: keys, values, positions, windows, scores and
working space. What they cost in accuracy is below.</p>

<h2>What to choose</h2>
<p class="note" id="choice-note"></p>
<div class="scroll"><table id="choice"></table></div>

<h2>Targets</h2>
<div class="scroll"><table id="rows"></table></div>

<div id="families"></div>

<section id="length-section">
<h2>Accuracy against the length of the response</h2>
<p class="note" id="length-note"></p>
<figure id="lengths"></figure>
<div class="scroll"><table id="length-table"></table></div>
</section>

<h2>How to read this</h2>
<ul class="method" id="method"></ul>
<footer id="footer"></footer>
</main>
)html";

inline constexpr char page_script[] = R"js(
const share = i => make("span", {}, percent(i.mean, 1) + " ",
  make("span", { class: "range" }, `${(100 * i.low).toFixed(1)}\u2013${(100 * i.high).toFixed(1)}`));

const swatch = r => make("span", {},
  make("span", { class: "swatch", style: `background: ${colour(r)}` }), r.name);
const label = r => r.policy === "full" ? r.name : `${r.name}, ${percent(r.budget)}`;
const nameOf = (family, policy) => family.results.find(r => r.policy === policy)?.name ?? policy;

// ---- the answer
const first = report.families[0];
const nearQuarter = (a, b) => Math.abs(b.budget - 0.25) < Math.abs(a.budget - 0.25) ? b : a;
const main = report.advice.filter(a => a.family === first.title).reduce(nearQuarter);
const bestOf = (family, advice) => family.results.find(
  r => r.policy === advice.policy && Math.abs(r.budget - advice.budget) < 1e-9);
const best = bestOf(first, main);
byId("headline").textContent =
  `With ${percent(main.budget)} of the memory, ${best.name} gets ${percent(best.accuracy.mean)} ` +
  `right; the full cache ${percent(first.results[0].accuracy.mean)}`;
byId("choice-note").textContent =
  "The most accurate policy within each budget. \u201cLevel\u201d: policies whose 95 % intervals " +
  "overlap its own, so that this run does not tell them apart.";
fillTable(byId("choice"), ["|Task", "Memory", "|Policy", "Accuracy", "|Settings", "|Level"],
  report.advice.map(advice => {
    const family = report.families.find(f => f.title === advice.family);
    const chosen = bestOf(family, advice);
    return [advice.family, percent(advice.budget), swatch(chosen), share(chosen.accuracy),
      advice.settings, advice.level.map(key => nameOf(family, key)).join(", ")];
  }));

fillTable(byId("rows"), ["|Measure", "|Policy", "Value", "95 % interval", "Target", "Met", "|Note"],
  report.rows.map(row => [row.measure, nameOf(first, row.policy),
    row.value.toFixed(1), row.interval.map(v => v.toFixed(1)).join(" to "), row.target,
    make("span", { class: row.met ? "good" : "bad" }, row.met ? "yes" : "no"),
    `${row.unit}${row.note ? "; " + row.note : ""}`]));

// ---- the families
function familyTable(table, family) {
  const columns = Object.keys(family.results[0].columns ?? {});
  const withLoss = "loss" in family.results[0];
  const rows = [];
  let budget = 1;
  for (const r of family.results) {
    if (r.budget !== budget) {
      budget = r.budget;
      rows.push(`At most ${percent(budget)} of the full cache's bytes: ` +
        `${bytes(budget * family.results[0].bytes)}`);
    }
    rows.push([swatch(r), r.capacity || "all", bytes(r.bytes) + (r.within_budget ? "" : " *"),
      share(r.accuracy), r.prompts, ...columns.map(c => percent(r.columns[c].mean, 1)),
      ...(withLoss ? [r.loss.toFixed(3)] : []), r.settings]);
  }
  fillTable(table, ["|Policy", "Capacity", "Whole cache", "Accuracy, 95 % interval", "Prompts",
    ...columns, ...(withLoss ? ["loss"] : []), "|Settings"], rows);
}

for (const family of report.families) {
  const plot = make("figure", { class: "plot" });
  const heads = make("div");
  const table = make("table");
  byId("families").append(
    make("h2", {}, family.title),
    make("p", {}, family.description),
    make("p", { class: "note" }, `Accuracy: ${family.measure}. Prompts of up to ` +
      `${family.prompt_tokens} tokens, responses of up to ${family.response_tokens}; model ` +
      `${family.model}. Bars: 95 % intervals. Hover for details.`),
    plot,
    make("h3", {}, "Which positions a head holds"),
    make("p", { class: "note" }, "One response under the policy chosen here. Across: its steps. Up: " +
      "positions in the text, blue while the head holds the token. A mark is a token that the correct " +
      "response needs at that step: a dot if a head chosen here holds it, a red cross if it is gone. " +
      "A policy fails where no head that would look the token up still has it."),
    heads,
    make("details", {}, make("summary", {}, "All figures"), make("div", { class: "scroll" }, table)));
  memoryPlot(plot, family.results,
    { measureOf: r => r.accuracy, measureName: "Accuracy", policies: report.policies });
  familyTable(table, family);
  const trail = trails[family.family];
  const shown = trail.outcomes.map(i => family.results[i]);
  const start = shown.findIndex(r => r.policy === "recommended_shared" && r.budget < 0.2);
  headsPicture(heads, trail, shown.map(label), Math.max(start, 0));
}

// ---- the lengths
if (report.lengths.length === 0) {
  byId("length-section").hidden = true;
} else {
  const [shortest] = report.lengths;
  const longest = report.lengths.at(-1);
  byId("length-note").textContent =
    `Every cache has the same bytes at all lengths, ${bytes(shortest.results[1].bytes)}, but the full ` +
    "cache. The logs have no periodic rules here: the model loses these in long logs even with the " +
    "full cache.";
  const points = report.lengths.flatMap(l => l.results.slice(1).map(r => ({ policy: r.policy,
    name: r.name, at: l.length, ...r.accuracy, loose: false,
    about: [`responses of ${l.length} tokens`, r.settings] })));
  linePlot(byId("lengths"), points, { low: shortest.length / 2, high: longest.length * 1.1,
    measure: "Accuracy", title: "Tokens of the response (logarithmic)",
    ticks: report.lengths.map(l => [l.length, l.length]),
    reference: { at: longest.length, mean: longest.results[0].accuracy.mean, name: "Full cache" } },
    report.policies);
  fillTable(byId("length-table"), ["|Policy", ...report.lengths.map(l => `${l.length}`), "|Settings"],
    shortest.results.map((r, i) =>
      [swatch(r), ...report.lengths.map(l => share(l.results[i].accuracy)), r.settings]));
}

// ---- the method
byId("method").append(...[
  "Every response is written freely: no word comes from anywhere but the model, so a wrong word can " +
    "lead to the next. The first tokens come from the same pass over the prompt for all policies.",
  "Memory is every byte of the cache at the end of the response. Each policy got the greatest " +
    "capacity whose bytes fit the budget. A policy that keeps the whole response (*) fits no budget; " +
    "it is drawn where its bytes are.",
  "Settings were chosen for each policy, budget and task on prompts of other seeds than those " +
    "reported, among the same number of windows for all. Both \u201cRecommended\u201d are one rule " +
    "for all tasks and budgets: what the library proposes for a capacity.",
  "\u201cSnapKV + recent\u201d bounds SnapKV's cache by a window over the response. It is a variant " +
    "of ours, for a comparison at equal bytes; SnapKV's authors keep the whole response.",
  "Intervals are 95 %, over prompts: the checks of one response are not independent. A policy wrote " +
    "for more prompts until half its interval was below its target, or the prompts were used up.",
  "The models are small and were trained for these tasks alone. Rankings depend on the model and the " +
    "task; larger models need their own measurement.",
].map(text => make("li", {}, text)));
const run = report.run;
byId("footer").textContent =
  `${run.command}: ${Math.round(run.seconds)} s on ${run.machine}, ${run.threads} threads; ` +
  `${run.compiler}; morphkv ${run.morphkv}${run.git ? ` (${run.git})` : ""}; seeds ` +
  `${report.seeds.join(", ")}; cache elements ${run.cache_element}; ${run.date}. All figures are in ` +
  "accuracy.json.";
)js";

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_PAGE_PARTS_HPP
