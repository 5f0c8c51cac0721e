// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page's part about a real model: memory over time, what a head holds, and both texts.
#ifndef MORPHKV_TOOLS_DEMO_PAGE_REAL_TEXT_HPP
#define MORPHKV_TOOLS_DEMO_PAGE_REAL_TEXT_HPP

namespace morphkv::demo {

/// `realText` is real_text_json(), or null where there is no model.
inline constexpr char page_real_text_script[] = R"js(
if (realText && realText.results.length === 2) {
  const place = byId("real-text");
  const { trails, results } = realText;
  const [full, kept] = results;
  const word = id => trails.words[id] ?? "";
  const name = r => r === full ? r.name : `${r.name}, ${r.slots} slots`;
  const promptTokens = trails.prompt.length;
  const lengths = trails.trails.map(t => t.response.length);

  place.append(make("h2", {}, "A real model and a real text"),
    make("p", {}, `${realText.model} reads ${promptTokens} tokens of ${realText.text} and writes ` +
      `about them, with the full cache (${bytes(full.bytes)} for the longest response allowed) and with ` +
      `${kept.name.toLowerCase()} (${bytes(kept.bytes)}, whatever is written). Both draw their tokens ` +
      `with the same random numbers; they part at token ${kept.agreeing_start + 1}. The mean of -ln p ` +
      `per token, for the model with the full cache, is ${full.loss.toFixed(2)} in its own response and ` +
      `${kept.loss.toFixed(2)} in the other.`));

  // Bytes of both caches, token by token.
  const width = 992, height = 200, left = 84, bottom = 36, top = 12, right = 24;
  const tokens = promptTokens + Math.max(...lengths);
  const most = realText.bytes_per_token * tokens * 1.05;
  const x = t => left + (width - left - right) * t / tokens;
  const y = b => height - bottom - (height - top - bottom) * b / most;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "Bytes of both caches over the tokens" });
  for (const share of [0, 0.5, 1]) {
    const at = share * realText.bytes_per_token * tokens;
    svg.append(make("line", { x1: left, x2: width - right, y1: y(at), y2: y(at), stroke: "var(--grid)" }),
      make("text", { x: left - 8, y: y(at) + 4, "text-anchor": "end", class: "tick" }, bytes(at)));
  }
  svg.append(make("line", { x1: x(promptTokens), x2: x(promptTokens), y1: top, y2: height - bottom,
      stroke: "var(--soft)", "stroke-dasharray": "2 4" }),
    make("text", { x: x(promptTokens), y: height - bottom + 17, "text-anchor": "middle", class: "tick" },
      `prompt ends, ${promptTokens} tokens`),
    make("text", { x: left, y: height - 2, class: "axis-title" }, "Tokens read and written"),
    make("line", { x1: x(0), y1: y(0), x2: x(tokens), y2: y(realText.bytes_per_token * tokens),
      stroke: "var(--full)", "stroke-width": 2.5 }),
    make("line", { x1: x(0), y1: y(kept.bytes), x2: x(tokens), y2: y(kept.bytes),
      stroke: "var(--recommended)", "stroke-width": 2.5 }),
    make("text", { x: x(tokens * 0.6), y: y(realText.bytes_per_token * tokens * 0.6) - 10,
      "text-anchor": "end", class: "label" }, "keys and values of the full cache"),
    make("text", { x: x(tokens) - 4, y: y(kept.bytes) - 8, "text-anchor": "end", class: "label" },
      `${name(kept)}: every byte`));
  place.append(make("figure", {}, svg));

  place.append(make("p", {}, "What a head holds, with the text under the pointer:"));
  const heads = make("div");
  place.append(heads);
  headsPicture(heads, trails, results.map(name), 1);

  place.append(make("p", {}, "Both responses. Red: from the first token that differs."));
  const boxes = make("div", { class: "words" });
  trails.trails.forEach((trail, index) => {
    const box = make("div", { class: "text-box", tabindex: 0, "aria-label": name(results[index]) });
    const same = trail.response.slice(0, kept.agreeing_start).map(word).join("");
    const other = trail.response.slice(kept.agreeing_start).map(word).join("");
    box.append(make("p", { class: "prose" }, same,
      index === 0 ? other : make("span", { class: "other" }, other)));
    boxes.append(make("div", {}, make("p", { class: "controls" }, name(results[index])), box));
  });
  place.append(make("details", {}, make("summary", {}, "What it has read"),
    make("div", { class: "text-box" }, trails.prompt.map(word).join(""))), boxes);
}
)js";

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_PAGE_REAL_TEXT_HPP
