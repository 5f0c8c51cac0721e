// SPDX-License-Identifier: Apache-2.0
/// \file
/// The parts of the page about texts: divergence as a plot and as tables.
#ifndef MORPHKV_BENCH_REAL_PAGE_TEXTS_HPP
#define MORPHKV_BENCH_REAL_PAGE_TEXTS_HPP

namespace morphkv::real {

inline constexpr char page_texts_script[] = R"js(
const number = (i, digits) => make("span", {}, i.mean.toFixed(digits) + " ",
  make("span", { class: "range" }, `${i.low.toFixed(digits)}\u2013${i.high.toFixed(digits)}`));
const named = policy => make("span", {},
  make("span", { class: "swatch", style: `background: var(--${policy})` }), " " + policy);

// KL against bytes, both logarithmic. Without the full cache.
function divergencePlot(place, compared) {
  const capacities = [...new Set(compared.map(c => c.slots))];
  const policies = [...new Set(compared.map(c => c.policy))];
  const width = 992, height = 460, top = 20, bottom = 56, left = 64, right = 190;
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

// A row per cache. With several texts there are intervals, and the figure of each text.
function textsTable(place, caches, perText) {
  const several = caches[0].texts.length > 1;
  const show = i => several ? number(i, 4) : i.mean.toFixed(4);
  const bounded = caches.some(c => c.bytes > 0);
  fillTable(place, ["Policy", "Slots", ...(bounded ? ["Bytes"] : []), "KL", "NLL lost",
    "Top-1 agreement", ...(several ? caches[0].texts.map(t => t.text) : [])],
    caches.map(c => [named(c.policy), c.capacity, ...(bounded ? [bytes(c.bytes)] : []), show(c.kl),
      show(c.nll_lost), percent(c.agreement.mean, 1),
      ...(several ? c.texts.map(t => t[perText].toFixed(4)) : [])]));
}
)js";

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_PAGE_TEXTS_HPP
