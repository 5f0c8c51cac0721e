// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page's calculator: the memory of a model's cache, full and with MorphKV.
#ifndef MORPHKV_TOOLS_DEMO_PAGE_MEMORY_HPP
#define MORPHKV_TOOLS_DEMO_PAGE_MEMORY_HPP

#include <nlohmann/json.hpp>

#include "memory/known_models.hpp"

namespace morphkv::demo {

/// The models of the calculator, as JSON.
[[nodiscard]] inline nlohmann::ordered_json known_models_json() {
  nlohmann::ordered_json models;
  for (const memory::KnownModel& model : memory::known_models) {
    models.push_back({{"name", model.name},
                      {"layers", model.shape.layers},
                      {"queryHeads", model.shape.query_heads},
                      {"kvHeads", model.shape.kv_heads},
                      {"headDim", model.shape.head_dim}});
  }
  return models;
}

/// `cacheMemory(settings)` is KVCache<T, MorphKV>::memory(), to the byte: a test compares them.
inline constexpr char memory_formula_script[] = R"js(
function cacheMemory({ layers, queryHeads, kvHeads, headDim, elementBytes, capacity, window, panes,
                       fusion }) {
  const lines = bytes => 64 * Math.ceil(bytes / 64);  // rows begin on cache lines
  const heads = layers * kvHeads, group = queryHeads / kvHeads;
  const rows = panes || window, stride = 8 * Math.ceil(capacity / 8);
  const bits = 8 * Math.ceil(capacity / 64);
  const windowBytes = stride * (fusion === "max" ? 4 * Math.ceil(rows / 2)
    : rows * (rows < window ? 4 : 2));
  return {
    keys: heads * lines(capacity * headDim * elementBytes),
    values: heads * lines(capacity * headDim * elementBytes),
    window: heads * windowBytes,
    scores: heads * (lines(windowBytes + 4 * stride) - windowBytes),
    positions: heads * (lines(48 + 2 * bits + 4 * window) + lines(4 * stride)),
    history: 0,
    scratch: kvHeads * (2 * lines(4 * group * headDim) + (group + 1) * lines(4 * capacity)),
  };
}
)js";

inline constexpr char page_memory_style[] = R"css(
:root { --keys: #0a58b5; --rows: #cf6a12; --scores: #16876a; --positions: #8a55b8; --space: #8b919c; }
@media (prefers-color-scheme: dark) {
  :root { --keys: #62a5f5; --rows: #f0984a; --scores: #4cc2a0; --positions: #bf95e6; --space: #7b818c; }
}
.calculator { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr));
  gap: 12px 16px; margin: 14px 0 18px; font-size: 14px; color: var(--soft); }
.calculator label { display: block; }
.calculator input, .calculator select { display: block; width: 100%; font: inherit; color: var(--ink);
  background: var(--panel); padding: 4px 8px; border: 1px solid var(--rule); border-radius: 4px; }
.calculator .wide { grid-column: span 2; }
.memory-bar { display: flex; height: 26px; margin: 4px 0 12px; border-radius: 3px; overflow: hidden; }
.memory-bar span { height: 100%; }
.memory-name { font-size: 14px; margin: 0; max-width: none; }
)css";

inline constexpr char page_memory_script[] = R"js(
{
  const kinds = [["keys and values", m => m.keys + m.values, "var(--keys)"],
    ["rows of the window", m => m.window, "var(--rows)"],
    ["scores", m => m.scores, "var(--scores)"],
    ["positions and protection", m => m.positions, "var(--positions)"],
    ["working space", m => m.scratch, "var(--space)"]];
  const state = { ...knownModels[0], context: 32768, capacity: 2048, window: 1024, panes: 8,
    fusion: "max", elementBytes: 2 };

  // What the library refuses, with its messages.
  const refusal = s => {
    for (const [key, name] of [["layers", "layers"], ["queryHeads", "query heads"],
      ["kvHeads", "KV heads"], ["headDim", "head_dim"], ["context", "tokens of text"],
      ["capacity", "capacity"], ["window", "window"]]) {
      if (!Number.isInteger(s[key]) || s[key] < 1) return `${name}: must be an integer from 1`;
    }
    if (!Number.isInteger(s.panes) || s.panes < 0) return "panes: must be an integer from 0";
    if (s.queryHeads % s.kvHeads) return `query heads: must be a multiple of KV heads = ${s.kvHeads}`;
    if (s.capacity < s.window + 4) return `capacity: must be at least window + 4 sinks = ${s.window + 4}`;
    if (s.fusion === "sum" && s.window > 255) return "window: must be at most 255 with sum";
    if (s.panes && s.window % s.panes) return `panes: must be a divisor of window = ${s.window}`;
    return "";
  };

  const result = make("div");
  const bar = parts => make("div", { class: "memory-bar" }, ...parts.map(([share, colour]) =>
    make("span", { style: `width: ${100 * share}%; background: ${colour}` })));
  function show() {
    const problem = refusal(state);
    if (problem) {
      result.replaceChildren(make("p", { class: "bad" }, problem));
      return;
    }
    const token = 2 * state.layers * state.kvHeads * state.headDim * state.elementBytes;
    const full = token * state.context;
    const kept = cacheMemory(state);
    const total = kinds.reduce((sum, [, of]) => sum + of(kept), 0);
    const most = Math.max(full, total);
    const ratio = full / total;
    const table = make("table", {},
      make("tr", {}, ...["", "bytes", "share"].map(text => make("th", {}, text))),
      ...kinds.map(([name, of, colour]) => make("tr", {},
        make("td", {}, make("span", { class: "swatch", style: `background: ${colour}` }), name),
        make("td", {}, of(kept).toLocaleString("en-GB")),
        make("td", {}, percent(of(kept) / total, 1)))),
      make("tr", {}, make("td", {}, make("b", {}, "all")),
        make("td", {}, total.toLocaleString("en-GB")), make("td", {}, percent(1))));
    result.replaceChildren(
      make("p", { class: "memory-name" }, `Full cache: ${bytes(full)} (${bytes(token)} a token)`),
      bar([[full / most, "var(--soft)"]]),
      make("p", { class: "memory-name" }, `MorphKV: ${bytes(total)}, ` + (ratio >= 1
        ? `${ratio.toFixed(1)} times less` : "more than the full cache of so short a text") +
        `; the same for every text. It begins to save at ${Math.floor(total / token) + 1} tokens.`),
      bar(kinds.map(([, of, colour]) => [of(kept) / most, colour])),
      make("div", { class: "scroll" }, table));
  }

  const inputs = {};
  const number = (key, name) => {
    inputs[key] = make("input", { type: "number", min: key === "panes" ? 0 : 1, value: state[key] });
    inputs[key].addEventListener("input", () => { state[key] = inputs[key].valueAsNumber; show(); });
    return make("label", {}, name, inputs[key]);
  };
  const choice = (name, options, chosen, changed) => chooser(name, options, chosen,
    index => { changed(index); show(); });
  const shape = [["layers", "Layers"], ["queryHeads", "Query heads"], ["kvHeads", "KV heads"],
    ["headDim", "head_dim"]];
  const model = choice("Model", [...knownModels.map(m => m.name), "your own"], 0, index => {
    Object.assign(state, knownModels[index] ?? {});
    shape.forEach(([key]) => { inputs[key].value = state[key]; });
  });
  model.className = "wide";
  const own = () => { model.querySelector("select").value = knownModels.length; };
  const form = make("div", { class: "calculator" }, model, ...shape.map(s => number(...s)),
    number("context", "Tokens of text"), number("capacity", "Capacity M"),
    number("window", "Window R"), number("panes", "Panes (0: exact)"),
    choice("Fusion", ["sum", "max"], 0, index => { state.fusion = ["sum", "max"][index]; }),
    choice("Keys and values in", ["16 bits", "32 bits"], 0, index => {
      state.elementBytes = [2, 4][index];
    }));
  shape.forEach(([key]) => inputs[key].addEventListener("input", own));
  byId("memory").append(form, result);
  show();
}
)js";

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_PAGE_MEMORY_HPP
