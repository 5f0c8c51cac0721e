// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page's text.
#ifndef MORPHKV_TOOLS_DEMO_PAGE_BODY_HPP
#define MORPHKV_TOOLS_DEMO_PAGE_BODY_HPP

namespace morphkv::demo {

inline constexpr char page_title[] = "morphkv: long responses in little memory";

inline constexpr char page_body[] = R"html(<body>
<main>
<p class="kicker">morphkv demo</p>
<h1 id="headline"></h1>
<p class="lead" id="lead"></p>
<p id="task"></p>

<h2 id="plot-title"></h2>
<p class="note" id="plot-note"></p>
<figure id="plot"></figure>

<h2>What a head keeps</h2>
<p>Each column is a step of one response, each row a position in the text: blue where the head still
holds that token. <span id="heads-needs"></span></p>
<div id="heads"></div>

<h2>All figures</h2>
<div class="scroll"><table id="table"></table></div>
<p class="note" id="table-note"></p>

<h2>The same response under two policies</h2>
<p id="words-note"></p>
<details><summary>The prompt</summary><div class="text-box" id="prompt-text"></div></details>
<div class="words" id="words"></div>

<section id="real-text"></section>

<h2>What your model would need</h2>
<p>Every byte that the library counts for MorphKV, beside the keys and values of a cache that keeps
everything.</p>
<div id="memory"></div>

<h2>How to read this</h2>
<ul class="method" id="method"></ul>
<footer id="footer"></footer>
</main>
)html";

inline constexpr char page_lead_script[] = R"js(
const graded = figures.task.graded;
const results = figures.results;
const measureOf = result => graded ? result.accuracy : result.agreement;
const measureName = graded ? "Accuracy" : "Agreement with the full cache";
const word = id => trails.words[id] ?? "";
const label = result => result.policy === "full" ? result.name
  : `${result.name}, ${bytes(result.bytes)} (${percent(result.bytes_share)})`;

// What is drawn at first: the best of MorphKV at the budget nearest a quarter, beside recent tokens.
const headlineBudget = results.slice(1).map(r => r.budget)
  .reduce((a, b) => Math.abs(b - 0.25) < Math.abs(a - 0.25) ? b : a, 9);
function resultLike(test) {
  const found = results.findIndex((r, i) => i > 0 && r.budget === headlineBudget && test(r));
  return found < 0 ? results.length - 1 : found;
}
const bestMean = Math.max(...results
  .filter(r => r.policy.startsWith("morphkv") && r.budget === headlineBudget)
  .map(r => measureOf(r).mean));
const firstChoice = resultLike(r => r.policy.startsWith("morphkv") && measureOf(r).mean === bestMean);

byId("headline").textContent = figures.headline;
const model = figures.model;
const task = figures.task;
byId("lead").textContent =
  `A language model keeps the keys and values of every token it has read: its cache grows with each ` +
  `token it writes. Here a trained model wrote ${task.prompts} responses of about ` +
  `${Math.round(task.mean_response_tokens)} tokens, each to a prompt of about ` +
  `${Math.round(task.mean_prompt_tokens)}, first with the full cache of ` +
  `${bytes(results[0].bytes)} and then with caches of a constant size that evict tokens.`;
byId("task").textContent = "The task: " + task.description;

byId("plot-title").textContent = graded ? "Accuracy against memory" : "Agreement against memory";
byId("plot-note").textContent = (graded ? "Share of the prompt's demands that are fulfilled"
  : "Share of tokens equal to those written with the full cache") +
  ", by the bytes of the whole cache. Bars: 95 % intervals. Hover for details.";
memoryPlot(byId("plot"), results, { measureOf, measureName, policies: figures.policies });
if (trails.needs.length > 0) {
  byId("heads-needs").append("Dots mark where the correct response has to look something up (across: " +
    "when; up: where it stands): a dot if a head chosen here still holds it, a red cross if not.");
}
headsPicture(byId("heads"), trails, results.map(label), firstChoice);

const method = [
  "Every response is written freely and greedily: no word comes from anywhere but the model, so a " +
    "wrong word can lead to the next.",
  graded ? "Accuracy is the share of " + task.measure + ": the mean over prompts of the mean over " +
    "the kinds of rule. Agreement is the share of tokens that equal the full cache's at the same place."
    : "Agreement is the share of tokens that equal the full cache's at the same place. Loss is the " +
    "mean of -ln p of the text, a token, for the same model with the full cache: lower is more like it.",
  "Memory is every byte of the cache at the end of the response, averaged over prompts: keys, values, " +
    "positions, the window of attention rows, scores and working space. Each policy got the greatest " +
    "capacity whose bytes fit the budget.",
  "SnapKV compresses the prompt only and keeps the whole response, so no budget binds it here: it is " +
    "drawn where its bytes are, and is given that share of the prompt to keep.",
  "Error bars and ranges are 95 % intervals over prompts like these. Where two overlap, this run does " +
    "not tell the policies apart. All policies wrote for the same prompts.",
  "Microseconds per token are spent in the cache alone: to append, attend and choose a victim in all " +
    "layers, while other threads run. The model's own work is shared by all the responses to a prompt.",
  `The model is small (${(model.parameters / 1e6).toFixed(2)} million parameters, ${model.layers} ` +
    `layers, ${model.kv_heads} KV heads of ${model.head_dim}). Rankings depend on the model and the ` +
    "task; larger models need their own measurement.",
];
if (results.some(r => r.settings.includes("protect_prompt"))) {
  method.splice(4, 0, "Random keeps the whole prompt where it fits beside the window. There this control " +
    "has all that the prompt says without choosing, so what a score is worth shows only at budgets " +
    "smaller than the prompt.");
}
byId("method").append(...method.map(text => make("li", {}, text)));
const run = figures.run;
byId("footer").textContent =
  `Model ${model.name}. ${run.command}: ${Math.round(run.seconds)} s on ${run.machine}, ` +
  `${run.threads} threads; ${run.compiler}; morphkv ${run.morphkv}` +
  (run.git ? ` (${run.git})` : "") + `; seed ${run.seed}; cache elements ${run.cache_element}; ` +
  `${run.date}. All figures are in demo.json.`;
)js";

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_PAGE_BODY_HPP
