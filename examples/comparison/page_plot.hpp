// SPDX-License-Identifier: Apache-2.0
/// \file
/// A plot of a page: memory against accuracy.
#ifndef MORPHKV_EXAMPLES_COMPARISON_PAGE_PLOT_HPP
#define MORPHKV_EXAMPLES_COMPARISON_PAGE_PLOT_HPP

namespace morphkv::comparison {

/// `memoryPlot(place, results, { measureOf, measureName, policies })` draws into an element. The
/// first result is the full cache's; `policies` describes each policy by its key.
inline constexpr char page_plot_script[] = R"js(
function memoryPlot(place, results, { measureOf, measureName, policies: descriptions }) {
  const width = 992, height = 480, top = 34, bottom = 56, left = 54, right = 24;
  const compared = results.slice(1);
  const least = Math.min(...compared.map(r => r.bytes_share), 0.5);
  const lowest = Math.log(least / 2), highest = Math.log(1.12);
  const x = share => left + (width - left - right) * (Math.log(share) - lowest) / (highest - lowest);
  const y = share => top + (height - top - bottom) * (1 - share);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${measureName} against the bytes of the cache; the table below has the figures` });

  for (let share = 0; share <= 1.001; share += 0.2) {
    svg.append(make("line", { x1: left, x2: width - right, y1: y(share), y2: y(share),
      stroke: "var(--grid)" }));
    svg.append(make("text", { x: left - 8, y: y(share) + 4, "text-anchor": "end", class: "tick" },
      percent(share)));
  }
  for (const share of [0.02, 0.05, 0.1, 0.25, 0.5, 1]) {
    if (Math.log(share) < lowest) continue;
    svg.append(make("line", { x1: x(share), x2: x(share), y1: height - bottom,
      y2: height - bottom + 5, stroke: "var(--soft)" }));
    svg.append(make("text", { x: x(share), y: height - bottom + 19, "text-anchor": "middle",
      class: "tick" }, percent(share)));
    svg.append(make("text", { x: x(share), y: height - bottom + 35, "text-anchor": "middle",
      class: "tick" }, bytes(share * results[0].bytes)));
  }
  svg.append(make("text", { x: left, y: height - 4, class: "axis-title" },
    "Bytes of the whole cache, as a share of the full cache's (logarithmic)"));
  svg.append(make("text", { x: 0, y: 14, class: "axis-title" }, measureName));

  // The full cache is the ceiling that everything is measured against.
  const full = measureOf(results[0]).mean;
  svg.append(make("line", { x1: left, x2: width - right, y1: y(full), y2: y(full),
    stroke: "var(--full)", "stroke-dasharray": "2 4" }));
  svg.append(make("circle", { cx: x(1), cy: y(full), r: 5, fill: "var(--full)" }));
  svg.append(make("text", { x: x(1) + 6, y: y(full) - 11, "text-anchor": "end", class: "label" },
    `Full cache ${percent(full)}`));

  const policies = [...new Set(compared.map(r => r.policy))];
  const groups = new Map();
  const dodge = policy => (policies.indexOf(policy) - (policies.length - 1) / 2) * 5;
  const px = r => x(r.bytes_share) + (r.within_budget ? dodge(r.policy) : 0);
  const highlight = chosen => groups.forEach((group, policy) =>
    group.classList.toggle("dim", chosen !== null && policy !== chosen));

  const labels = [];
  for (const policy of policies) {
    const line = compared.filter(r => r.policy === policy)
      .sort((a, b) => a.bytes_share - b.bytes_share);
    const stroke = colour(line[0]);
    const group = make("g", { stroke, fill: stroke });
    groups.set(policy, group);
    const strong = policy.startsWith("morphkv");
    group.append(make("path", { fill: "none", "stroke-width": strong ? 2.8 : 1.8,
      "stroke-linejoin": "round",
      d: line.map((r, i) => `${i ? "L" : "M"}${px(r)},${y(measureOf(r).mean)}`).join("") }));
    for (const r of line) {
      const m = measureOf(r);
      group.append(make("line", { x1: px(r), x2: px(r), y1: y(m.low), y2: y(m.high),
        "stroke-width": 1.2, opacity: 0.65 }));
      group.append(make("circle", { cx: px(r), cy: y(m.mean), r: strong ? 4.6 : 3.8 }));
      const target = make("circle", { cx: px(r), cy: y(m.mean), r: 13, opacity: 0, tabindex: 0 });
      const show = event => {
        highlight(policy);
        const box = target.getBoundingClientRect();
        const at = event.pageX ? event : { pageX: box.right + scrollX, pageY: box.top + scrollY };
        showTip(at, r.name, [
          `${percent(m.mean, 1)} (${interval(m)})`,
          `${bytes(r.bytes)}, ${percent(r.bytes_share, 1)} of the full cache`,
          `capacity ${r.capacity}: ${r.settings}`]);
      };
      const leave = () => { hideTip(); highlight(null); };
      target.addEventListener("pointermove", show);
      target.addEventListener("focus", show);
      target.addEventListener("pointerleave", leave);
      target.addEventListener("blur", leave);
      group.append(target);
    }
    svg.append(group);
    labels.push({ policy, name: line[0].name, group, stroke, x: px(line[0]),
      y: y(measureOf(line[0]).mean), bound: line.some(r => r.within_budget) });
  }

  // A name beside the first point of its line; those at the same place are moved apart.
  const arrange = list => {
    list.sort((a, b) => a.y - b.y);
    list.forEach((l, i) => { l.at = i ? Math.max(l.y, list[i - 1].at + 17) : l.y; });
    const excess = Math.max(0, (list.at(-1)?.at ?? 0) - (height - bottom - 4));
    list.forEach(l => { l.at -= excess; });
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
    const name = compared.find(r => r.policy === policy).name;
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
)js";

}  // namespace morphkv::comparison

#endif  // MORPHKV_EXAMPLES_COMPARISON_PAGE_PLOT_HPP
