// SPDX-License-Identifier: Apache-2.0
/// \file
/// A plot of the page: a share over the steps, one line per policy.
#ifndef MORPHKV_TOOLS_REPLAY_PAGE_PLOT_HPP
#define MORPHKV_TOOLS_REPLAY_PAGE_PLOT_HPP

namespace morphkv::replay {

/// `stepPlot(place, lines, steps, measure)` draws lines { policy, name, about, points: [[step,
/// share], ...] } into an element.
inline constexpr char page_step_plot_script[] = R"js(
function stepPlot(place, lines, steps, measure) {
  const width = 992, height = 380, top = 34, bottom = 44, left = 62, right = 215;
  const all = lines.flatMap(line => line.points.map(point => point[1]));
  const high = [.001, .002, .005, .01, .02, .05, .1, .15, .2, .3, .4, .5, .6, .8, 1].find(h => h >= Math.max(...all)) ??
    Math.max(...all);
  const x = step => left + (width - left - right) * step / steps;
  const y = share => top + (height - top - bottom) * (1 - share / high);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${measure} over the steps; the table has the means` });
  for (let i = 0; i <= 5; ++i) {
    svg.append(make("line", { x1: left, x2: width - right, y1: y(high * i / 5), y2: y(high * i / 5),
      stroke: "var(--grid)" }));
    svg.append(make("text", { x: left - 8, y: y(high * i / 5) + 4, "text-anchor": "end", class: "tick" },
      percent(high * i / 5, high < .01 ? 2 : high < .1 ? 1 : 0)));
  }
  const tick = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find(s => steps / s <= 8) ?? 10000;
  for (let step = 0; step <= steps; step += tick) {
    svg.append(make("line", { x1: x(step), x2: x(step), y1: height - bottom, y2: height - bottom + 5,
      stroke: "var(--soft)" }));
    svg.append(make("text", { x: x(step), y: height - bottom + 19, "text-anchor": "middle", class: "tick" },
      String(step)));
  }
  svg.append(make("text", { x: left, y: height - 4, class: "axis-title" }, "Step of the response, in tokens"));
  svg.append(make("text", { x: 0, y: 14, class: "axis-title" }, measure));

  // The name of a line is beside its end; names are moved apart.
  const drawn = lines.filter(line => line.points.length > 0).map(line => {
    const stroke = colour(line);
    const group = make("g", { stroke, fill: stroke });
    group.append(make("path", { fill: "none", "stroke-width": line === lines[0] ? 2.8 : 1.6,
      "stroke-linejoin": "round",
      d: line.points.map(([step, share], i) => `${i ? "L" : "M"}${x(step)},${y(share)}`).join("") }));
    const path = make("path", { d: group.firstChild.getAttribute("d"), fill: "none", opacity: 0,
      "stroke-width": 14 });
    const mean = line.points.reduce((sum, point) => sum + point[1], 0) / line.points.length;
    path.addEventListener("pointermove", event => {
      drawn.forEach(d => d.group.classList.toggle("dim", d.group !== group));
      showTip(event, line.name, [`mean ${percent(mean, 2)}`, line.about]);
    });
    path.addEventListener("pointerleave", () => {
      hideTip();
      drawn.forEach(d => d.group.classList.remove("dim"));
    });
    group.append(path);
    svg.append(group);
    return { group, stroke, name: line.name, y: y(line.points.at(-1)[1]) };
  });
  moveApart(drawn, 16, height - bottom);
  for (const d of drawn) {
    d.group.append(make("text", { x: width - right + 10, y: d.at + 4, class: "label",
      style: `fill: ${d.stroke}` }, d.name));
  }
  place.append(svg);
}
)js";

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_PAGE_PLOT_HPP
