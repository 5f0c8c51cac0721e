// SPDX-License-Identifier: Apache-2.0
/// \file
/// Plots of a page: accuracy against memory or another quantity.
#ifndef MORPHKV_TOOLS_COMPARISON_PAGE_PLOT_HPP
#define MORPHKV_TOOLS_COMPARISON_PAGE_PLOT_HPP

namespace morphkv::comparison {

/// `linePlot(place, points, axis, policies)` draws one line per policy into an element, on a
/// logarithmic axis. A point is { policy, name, at, mean, low, high, about, loose }: `about` is
/// shown beside the pointer, and `loose` points are labelled by themselves. The axis is { low,
/// high, title, measure, ticks: [[at, line, ...], ...], reference: { at, mean, name } or null },
/// and `policies` describes each policy by its key.
///
/// `memoryPlot(place, results, { measureOf, measureName, policies })` is such a plot against the
/// bytes of the cache. The first result is the full cache's.
inline constexpr char page_plot_script[] = R"js(
function linePlot(place, points, axis, descriptions) {
  const width = 992, height = 480, top = 34, bottom = 56, left = 54, right = 24;
  const lowest = Math.log(axis.low), highest = Math.log(axis.high);
  const x = at => left + (width - left - right) * (Math.log(at) - lowest) / (highest - lowest);
  const y = share => top + (height - top - bottom) * (1 - share);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${axis.measure} against ${axis.title}; the tables have the figures` });

  for (let share = 0; share <= 1.001; share += 0.2) {
    svg.append(make("line", { x1: left, x2: width - right, y1: y(share), y2: y(share),
      stroke: "var(--grid)" }));
    svg.append(make("text", { x: left - 8, y: y(share) + 4, "text-anchor": "end", class: "tick" },
      percent(share)));
  }
  for (const [at, ...lines] of axis.ticks) {
    if (Math.log(at) < lowest || Math.log(at) > highest) continue;
    svg.append(make("line", { x1: x(at), x2: x(at), y1: height - bottom,
      y2: height - bottom + 5, stroke: "var(--soft)" }));
    lines.forEach((line, i) => svg.append(make("text", { x: x(at), y: height - bottom + 19 + 16 * i,
      "text-anchor": "middle", class: "tick" }, line)));
  }
  svg.append(make("text", { x: left, y: height - 4, class: "axis-title" }, axis.title));
  svg.append(make("text", { x: 0, y: 14, class: "axis-title" }, axis.measure));

  if (axis.reference) {  // the reference of all points
    const { at, mean, name } = axis.reference;
    svg.append(make("line", { x1: left, x2: width - right, y1: y(mean), y2: y(mean),
      stroke: "var(--full)", "stroke-dasharray": "2 4" }));
    svg.append(make("circle", { cx: x(at), cy: y(mean), r: 5, fill: "var(--full)" }));
    svg.append(make("text", { x: x(at) + 6, y: y(mean) - 11, "text-anchor": "end", class: "label" },
      `${name} ${percent(mean)}`));
  }

  const policies = [...new Set(points.map(p => p.policy))];
  const groups = new Map();
  const spread = Math.min(5, 36 / policies.length);
  const dodge = policy => (policies.indexOf(policy) - (policies.length - 1) / 2) * spread;
  const px = p => x(p.at) + (p.loose ? 0 : dodge(p.policy));
  const highlight = chosen => groups.forEach((group, policy) =>
    group.classList.toggle("dim", chosen !== null && policy !== chosen));

  const labels = [];
  for (const policy of policies) {
    const line = points.filter(p => p.policy === policy).sort((a, b) => a.at - b.at);
    const stroke = colour(line[0]);
    const group = make("g", { stroke, fill: stroke });
    groups.set(policy, group);
    const strong = policy.startsWith("morphkv") || policy.startsWith("recommended");
    group.append(make("path", { fill: "none", "stroke-width": strong ? 2.8 : 1.8,
      "stroke-linejoin": "round",
      d: line.map((p, i) => `${i ? "L" : "M"}${px(p)},${y(p.mean)}`).join("") }));
    for (const p of line) {
      group.append(make("line", { x1: px(p), x2: px(p), y1: y(p.low), y2: y(p.high),
        "stroke-width": 1.2, opacity: 0.65 }));
      group.append(make("circle", { cx: px(p), cy: y(p.mean), r: strong ? 4.6 : 3.8 }));
      const target = make("circle", { cx: px(p), cy: y(p.mean), r: 13, opacity: 0, tabindex: 0 });
      const show = event => {
        highlight(policy);
        const box = target.getBoundingClientRect();
        const at = event.pageX ? event : { pageX: box.right + scrollX, pageY: box.top + scrollY };
        showTip(at, p.name, [`${percent(p.mean, 1)} (${interval(p)})`, ...p.about]);
      };
      const leave = () => { hideTip(); highlight(null); };
      target.addEventListener("pointermove", show);
      target.addEventListener("focus", show);
      target.addEventListener("pointerleave", leave);
      target.addEventListener("blur", leave);
      group.append(target);
    }
    svg.append(group);
    labels.push({ policy, name: line[0].name, group, stroke, x: px(line[0]), y: y(line[0].mean),
      bound: line.some(p => !p.loose) });
  }

  // A name beside the first point of its line; those at the same place are moved apart.
  const arrange = list => {
    moveApart(list, 17, height - bottom - 4);
    const edge = Math.min(...list.map(l => l.x)) - 26;
    for (const l of list) {
      l.group.append(make("path", { d: `M${edge + 4},${l.at}L${l.x - 7},${l.y}`, fill: "none",
        "stroke-width": 0.8, opacity: 0.55 }));
      l.group.append(make("text", { x: edge, y: l.at + 4, "text-anchor": "end", class: "label",
        style: `fill: ${l.stroke}` }, l.name));
    }
  };
  arrange(labels.filter(l => l.bound));
  arrange(labels.filter(l => !l.bound));

  const legend = make("ul", { class: "legend", "aria-label": "Policies" });
  for (const policy of policies) {
    const name = points.find(p => p.policy === policy).name;
    const button = make("button", { type: "button", title: descriptions[policy] ?? "" },
      make("span", { class: "swatch", style: `background: var(--${policy})` }), name);
    button.addEventListener("pointerenter", () => highlight(policy));
    button.addEventListener("pointerleave", () => highlight(null));
    button.addEventListener("focus", () => highlight(policy));
    button.addEventListener("blur", () => highlight(null));
    legend.append(make("li", {}, button));
  }
  place.append(svg, legend);
}

function memoryPlot(place, results, { measureOf, measureName, policies }) {
  const [full, ...compared] = results;
  const points = compared.map(r => ({ policy: r.policy, name: r.name, at: r.bytes_share,
    ...measureOf(r), loose: !r.within_budget, about: [
      `${bytes(r.bytes)}, ${percent(r.bytes_share, 1)} of the full cache`,
      `capacity ${r.capacity}: ${r.settings}`] }));
  const least = Math.min(...points.map(p => p.at), 0.5);
  linePlot(place, points, { low: least / 2, high: 1.12, measure: measureName,
    title: "Bytes of the whole cache, as a share of the full cache's (logarithmic)",
    ticks: [0.02, 0.05, 0.1, 0.25, 0.5, 1].map(s => [s, percent(s), bytes(s * full.bytes)]),
    reference: { at: 1, mean: measureOf(full).mean, name: "Full cache" } }, policies);
}
)js";

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_PAGE_PLOT_HPP
