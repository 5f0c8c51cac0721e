// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page's table.
#ifndef MORPHKV_TOOLS_DEMO_PAGE_TABLE_HPP
#define MORPHKV_TOOLS_DEMO_PAGE_TABLE_HPP

namespace morphkv::demo {

inline constexpr char page_table_script[] = R"js(
{
  const columns = [
    ["Policy", true], ["Capacity,\ntokens per head"], ["Whole cache"], ["Saved"],
    ...(graded ? [["Accuracy,\n95 % interval"]] : [["Loss of\nthe text"]]),
    ["Agrees with\nfull cache"], ["Cache, \u00b5s\nper token"], ["Settings", true]];
  const header = make("tr");
  for (const [title, text] of columns) {
    const cell = make("th", { scope: "col", ...(text ? { class: "text" } : {}) });
    cell.style.whiteSpace = "pre";
    cell.textContent = title;
    header.append(cell);
  }
  const body = make("tbody");
  let budget = 1;
  for (const r of results) {
    if (r.budget !== budget) {
      budget = r.budget;
      body.append(make("tr", { class: "group" }, make("td", { colspan: columns.length },
        `At most ${percent(budget)} of the full cache's bytes: ` +
        `${bytes(budget * results[0].bytes)}`)));
    }
    const quality = graded
      ? [percent(r.accuracy.mean, 1) + " ", make("span", { class: "range" },
          `${(100 * r.accuracy.low).toFixed(0)}\u2013${(100 * r.accuracy.high).toFixed(0)}`)]
      : [r.loss.toFixed(3)];
    body.append(make("tr", {},
      make("td", {}, make("span", { class: "swatch", style: `background: ${colour(r)}` }), r.name),
      make("td", {}, r.capacity || "all"),
      make("td", {}, bytes(r.bytes) + (r.within_budget ? "" : " *")),
      make("td", {}, percent(1 - r.bytes_share)),
      make("td", {}, ...quality),
      make("td", {}, percent(r.agreement.mean, 1)),
      make("td", {}, r.cache_microseconds.toFixed(0)),
      make("td", { class: "text" }, r.settings)));
  }
  byId("table").append(make("thead", {}, header), body);
  if (results.some(r => !r.within_budget)) {
    byId("table-note").textContent =
      "* Above the budget: this policy keeps the whole response (or the whole prompt, at first), " +
      "whatever its capacity.";
  }
}
)js";

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_PAGE_TABLE_HPP
