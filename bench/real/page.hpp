// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page: one file, no network.
#ifndef MORPHKV_BENCH_REAL_PAGE_HPP
#define MORPHKV_BENCH_REAL_PAGE_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "comparison/page.hpp"

namespace morphkv::real {

inline constexpr char page_title[] = "morphkv: a real model";

inline constexpr char page_body[] = R"html(<body>
<main>
<p class="kicker">morphkv, benchmark on a real model</p>
<h1 id="headline"></h1>
<p class="lead" id="lead"></p>

<h2>Targets</h2>
<div class="scroll"><table id="rows"></table></div>

<h2>Memory against divergence</h2>
<p class="note">KL divergence of the next token's distribution from the full cache's, in nats per token,
mean over texts; bars: 95 % intervals over texts. Lower is better. All policies at one place have the same
bytes. Hover for details.</p>
<figure class="plot" id="plot"></figure>
<details><summary>All figures</summary><div class="scroll"><table id="caches"></table></div></details>

<h2>Retrieval</h2>
<p class="note" id="passkey-note"></p>
<div id="passkeys"></div>

<h2>Held positions over time</h2>
<p class="note">The first text. Across: its tokens after the prompt. Up: positions in the text, blue while
the head holds the token.</p>
<div id="heads"></div>
<footer id="footer"></footer>
</main>
)html";

inline constexpr char page_script[] = R"js(
const [full, ...compared] = report.caches;
const capacities = [...new Set(compared.map(c => c.slots))];
const policies = [...new Set(compared.map(c => c.policy))];
const number = (i, digits) => make("span", {}, i.mean.toFixed(digits) + " ",
  make("span", { class: "range" }, `${i.low.toFixed(digits)}\u2013${i.high.toFixed(digits)}`));
const named = policy => make("span", {},
  make("span", { class: "swatch", style: `background: var(--${policy})` }), " " + policy);

const middle = compared.filter(c => c.slots === capacities[capacities.length >> 1]);
const ours = middle.find(c => c.policy === "recommended");
const rival = middle.filter(c => c !== ours).reduce((a, b) => b.kl.mean < a.kl.mean ? b : a);
byId("headline").textContent = `With ${bytes(ours.bytes)}, recommended diverges by ` +
  `${ours.kl.mean.toFixed(3)} nats per token; the best other policy, ${rival.policy}, by ` +
  rival.kl.mean.toFixed(3);
byId("lead").textContent =
  `${report.run.model.name} reads ${report.texts.length} texts: ${report.prompt} tokens as a prompt, ` +
  `then ${report.response} one by one. Each cache sees the same tokens.`;
fillTable(byId("rows"), ["|Measure", "Value", "95 % interval", "|Target", "|Met"],
  report.rows.map(row => [row.measure, row.value.toFixed(2), row.interval.map(v => v.toFixed(2)).join(" to "), row.target,
    make("span", { class: row.met ? "good" : "bad" }, row.met ? "yes" : "no")]));

// ---- KL against bytes, both logarithmic
function divergencePlot(place) {
  const width = 992, height = 460, top = 20, bottom = 56, left = 64, right = 150;
  const all = compared.flatMap(c => [c.kl.low, c.kl.high]).filter(v => v > 0);
  const least = Math.min(...all) / 1.1, largest = Math.max(...all) * 1.1;
  const bytesOf = slots => compared.find(c => c.slots === slots).bytes;
  const first = Math.log(bytesOf(capacities[0])), last = Math.log(bytesOf(capacities.at(-1)));
  const x = slots => capacities.length === 1 ? (left + width - right) / 2 :
    left + 20 + (width - left - right - 40) * (Math.log(bytesOf(slots)) - first) / (last - first);
  const y = kl => top + (height - top - bottom) * Math.log(largest / Math.max(kl, least)) /
    Math.log(largest / least);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "KL divergence against bytes; the table has the figures" });
  for (const base of [1e-4, 1e-3, 1e-2, 1e-1, 1]) for (const digit of [1, 2, 5]) {
    const kl = base * digit;
    if (kl < least || kl > largest) continue;
    svg.append(make("line", { x1: left, x2: width - right, y1: y(kl), y2: y(kl),
      stroke: "var(--grid)" }),
      make("text", { x: left - 8, y: y(kl) + 4, "text-anchor": "end", class: "tick" },
        Number(kl.toPrecision(1))));
  }
  for (const slots of capacities) [`capacity ${slots}`, bytes(bytesOf(slots))].forEach((text, i) =>
    svg.append(make("text", { x: x(slots), y: height - bottom + 22 + 17 * i, "text-anchor": "middle",
      class: "tick" }, text)));
  const labels = [];
  policies.forEach((policy, index) => {
    const line = compared.filter(c => c.policy === policy);
    const px = c => x(c.slots) + (index - (policies.length - 1) / 2) * 5;
    const group = make("g", { stroke: `var(--${policy})`, fill: `var(--${policy})` });
    group.append(make("path", { fill: "none", "stroke-width": policy === "recommended" ? 2.8 : 1.6,
      d: line.map((c, i) => `${i ? "L" : "M"}${px(c)},${y(c.kl.mean)}`).join("") }));
    for (const c of line) {
      group.append(make("line", { x1: px(c), x2: px(c), y1: y(c.kl.low), y2: y(c.kl.high),
        opacity: 0.6 }));
      const point = make("circle", { cx: px(c), cy: y(c.kl.mean), r: 4.5, tabindex: 0 });
      point.addEventListener("pointermove", event => showTip(event, policy, [
        `KL ${c.kl.mean.toFixed(4)} (${c.kl.low.toFixed(4)} to ${c.kl.high.toFixed(4)})`,
        `NLL lost ${c.nll_lost.mean.toFixed(4)}, top-1 agreement ${percent(c.agreement.mean, 1)}`,
        `${bytes(c.bytes)}, ${c.capacity} slots per head`]));
      point.addEventListener("pointerleave", hideTip);
      group.append(point);
    }
    svg.append(group);
    labels.push({ policy, x: px(line.at(-1)), y: y(line.at(-1).kl.mean) });
  });
  labels.sort((a, b) => a.y - b.y).forEach((l, i) => {
    l.at = i ? Math.max(l.y, labels[i - 1].at + 17) : l.y;
    svg.append(make("text", { x: width - right + 14, y: l.at + 4, class: "label",
      style: `fill: var(--${l.policy})` }, l.policy));
  });
  place.append(svg);
}
divergencePlot(byId("plot"));
fillTable(byId("caches"), ["Policy", "Slots", "Bytes", "KL", "NLL lost", "Top-1 agreement",
  ...report.texts.map(t => t.text)],
  compared.map(c => [named(c.policy), c.capacity, bytes(c.bytes), number(c.kl, 4),
    number(c.nll_lost, 4), percent(c.agreement.mean, 1), ...c.texts.map(t => t.kl.toFixed(4))]));

// ---- passkeys: a table per question, a cell per policy, capacity and depth
byId("passkey-note").textContent =
  `A number of five digits is stated once in ${report.passkey_tokens} tokens; the digits that are ` +
  `right, mean of ${report.passkeys_per_depth} per depth. The full cache: ` +
  full.passkeys.map(p => `${p.digits.mean.toFixed(1)} ${p.question}`).join(", ") + ".";
const cell = digits => make("span", { style: "display: block; padding: 2px 8px; text-align: center;" +
  `background: color-mix(in srgb, var(--held) ${20 * digits}%, var(--past))` }, digits.toFixed(1));
full.passkeys.forEach((kind, k) => {
  const table = make("table");
  byId("passkeys").append(make("h3", {}, kind.question[0].toUpperCase() + kind.question.slice(1)),
    make("div", { class: "scroll" }, table));
  fillTable(table, ["Policy", "Capacity", ...report.depths.map(d => `depth ${percent(d)}`), "Mean"],
    compared.map(c => [named(c.policy), c.slots, ...c.passkeys[k].depths.map(cell),
      number(c.passkeys[k].digits, 2)]));
});

headsPicture(byId("heads"), trails, trails.labels, 0);
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
  return comparison::make_page({.title = page_title,
                                .body = page_body,
                                .constants = {{"report", report}, {"trails", trails}},
                                .scripts = {page_script}});
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_PAGE_HPP
