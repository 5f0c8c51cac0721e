// SPDX-License-Identifier: Apache-2.0
/// \file
/// The part of the page about look-ups: depth by capacity, a small heat map per task and policy.
#ifndef MORPHKV_BENCH_REAL_PAGE_LOOKUPS_HPP
#define MORPHKV_BENCH_REAL_PAGE_LOOKUPS_HPP

namespace morphkv::real {

inline constexpr char page_lookups_script[] = R"js(
const shade = share =>
  `color-mix(in oklab, var(--morphkv) ${Math.round(100 * share)}%, var(--past))`;

// Rows: tasks. Columns: policies. In each map, across: depth; up: capacity.
function lookupMaps(place, caches, depths) {
  const policies = [...new Set(caches.map(c => c.policy))];
  const capacities = [...new Set(caches.slice(1).map(c => c.slots))];
  const kinds = caches[0].lookups;
  const left = 168, top = 26, cellHeight = 15, gap = 12, columnWidth = 824 / policies.length;
  const cellWidth = (columnWidth - 10) / depths.length;
  const mapHeight = cellHeight * Math.max(2, capacities.length), rowHeight = mapHeight + gap;
  const height = top + rowHeight * kinds.length + 22;
  const svg = make("svg", { viewBox: `0 0 992 ${height}`, role: "img",
    "aria-label": "Right answers by depth and capacity; the table has the figures" });
  policies.forEach((policy, column) => {
    const x = left + column * columnWidth;
    svg.append(make("text", { x, y: 14, class: "label",
      style: `fill: var(--${policy}); font-size: ${columnWidth < 120 ? 11.5 : 13}px` }, policy));
    const own = caches.filter(c => c.policy === policy);
    kinds.forEach((kind, k) => own.forEach((cache, i) => depths.forEach((depth, d) => {
      const rowsOfMap = mapHeight / own.length;
      const share = cache.lookups[k].depths[d];
      const cell = make("rect", { x: x + d * cellWidth, width: cellWidth - 1,
        y: top + k * rowHeight + mapHeight - (i + 1) * rowsOfMap, height: rowsOfMap - 1,
        style: `fill: ${shade(share)}` });
      cell.addEventListener("pointermove", event => showTip(event, policy, [
        `${kind.task}, ${kind.question}`,
        `depth ${percent(depth)}${cache.slots ? `, capacity ${cache.slots}` : ""}`,
        `${percent(share)} of the answer is right`]));
      cell.addEventListener("pointerleave", hideTip);
      svg.append(cell);
    })));
  });
  kinds.forEach((kind, k) => [kind.task, kind.question].forEach((text, i) =>
    svg.append(make("text", { x: 0, y: top + k * rowHeight + 13 + 16 * i,
      class: i ? "tick" : "" }, text))));
  const y = height - 6;
  svg.append(make("text", { x: left, y, class: "tick" },
    `across: depth ${percent(depths[0])} to ${percent(depths.at(-1))}; ` +
    `up: capacity ${capacities.join(", ")}; right: 0 %`));
  for (let i = 0; i <= 10; ++i) {
    svg.append(make("rect", { x: 620 + 14 * i, y: y - 11, width: 14, height: 13,
      style: `fill: ${shade(i / 10)}` }));
  }
  svg.append(make("text", { x: 780, y, class: "tick" }, "100 %"));
  place.append(svg);
}

// A table per task and question.
function lookupTables(place, caches, depths) {
  const mean = i => make("span", {}, percent(i.mean) + " ",
    make("span", { class: "range" }, `${Math.round(100 * i.low)}\u2013${Math.round(100 * i.high)}`));
  caches[0].lookups.forEach((kind, k) => {
    const table = make("table");
    place.append(make("h3", {}, `${kind.task}, ${kind.question}`),
      make("div", { class: "scroll" }, table));
    fillTable(table, ["Policy", "Capacity", ...depths.map(d => `depth ${percent(d)}`), "Mean"],
      caches.map(c => [named(c.policy), c.slots || "",
        ...c.lookups[k].depths.map(share => percent(share)), mean(c.lookups[k].right)]));
  });
}
)js";

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_PAGE_LOOKUPS_HPP
