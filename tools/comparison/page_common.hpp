// SPDX-License-Identifier: Apache-2.0
/// \file
/// Helpers of a page's scripts, and its data.
#ifndef MORPHKV_TOOLS_COMPARISON_PAGE_COMMON_HPP
#define MORPHKV_TOOLS_COMPARISON_PAGE_COMMON_HPP

#include <nlohmann/json.hpp>
#include <string>

namespace morphkv::comparison {

/// JSON inside a script element: nothing in it ends the element.
[[nodiscard]] inline std::string embedded(const nlohmann::ordered_json& json) {
  std::string text = json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
  for (std::size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at)) {
    text.replace(at, 1, "\\u003c");
  }
  return text;
}

inline constexpr char page_common_script[] = R"js(
const colour = result => `var(--${result.policy})`;
const percent = (share, digits = 0) => (100 * share).toFixed(digits) + " %";
const bytes = count => count < 10240 ? (count / 1024).toFixed(1) + " KiB"
  : count < 1048576 ? Math.round(count / 1024) + " KiB"
  : count < 1073741824 ? (count / 1048576).toFixed(1) + " MiB"
  : (count / 1073741824).toFixed(2) + " GiB";
const interval = i => `${percent(i.low)} to ${percent(i.high)}`;
const byId = id => document.getElementById(id);

// An element with text and children; text never becomes markup.
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "line", "path", "circle", "rect", "text", "tspan"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
                      : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Gives labels { y } the heights `at`, at least `gap` apart and, where there is room, not below `bottom`.
function moveApart(labels, gap, bottom) {
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((label, i) => { label.at = i ? Math.max(label.y, labels[i - 1].at + gap) : label.y; });
  for (let i = labels.length - 1, limit = bottom; i >= 0; --i, limit = labels[i + 1].at - gap) {
    labels[i].at = Math.min(labels[i].at, limit);
  }
}

function chooser(title, options, chosen, changed) {
  const select = make("select");
  options.forEach((text, index) => select.append(make("option", { value: index }, text)));
  select.value = chosen;
  select.addEventListener("change", () => changed(Number(select.value)));
  return make("label", {}, title + " ", select);
}

// A row that is no array is a heading over the rows after it.
function fillTable(table, titles, rows) {
  const header = make("tr");
  for (const title of titles) {
    const text = title.startsWith("|");  // "|" marks a column of text
    header.append(make("th", { scope: "col", ...(text ? { class: "text" } : {}) },
      text ? title.slice(1) : title));
  }
  const body = make("tbody");
  for (const row of rows) {
    if (!Array.isArray(row)) {
      body.append(make("tr", { class: "group" }, make("td", { colspan: titles.length }, row)));
      continue;
    }
    body.append(make("tr", {}, ...row.map((cell, i) =>
      make("td", titles[i].startsWith("|") ? { class: "text" } : {}, cell ?? ""))));
  }
  table.append(make("thead", {}, header), body);
}

// A box beside the pointer.
const tip = make("div", { class: "tip", hidden: "" });
document.body.append(tip);
function showTip(event, title, lines) {
  tip.replaceChildren(make("b", {}, title), ...lines.flatMap(line => [line, make("br")]));
  tip.hidden = false;
  const left = event.pageX + 16 + tip.offsetWidth > window.innerWidth + window.scrollX
    ? event.pageX - tip.offsetWidth - 12 : event.pageX + 16;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = event.pageY + 14 + "px";
}
const hideTip = () => { tip.hidden = true; };
)js";

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_PAGE_COMMON_HPP
