// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page's two texts, side by side.
#ifndef MORPHKV_EXAMPLES_DEMO_PAGE_WORDS_HPP
#define MORPHKV_EXAMPLES_DEMO_PAGE_WORDS_HPP

namespace morphkv::demo {

inline constexpr char page_words_script[] = R"js(
{
  byId("words-note").textContent = graded
    ? "The response to the first prompt. What the prompt demands is green where it is right, and red " +
      "and underlined where it is wrong. Days on which nothing was due are left as they are."
    : "The continuation of the first prompt. Red: tokens that differ from the full cache's text.";

  const mark = (index, tokens, at) => {
    if (graded) {
      const check = trails.trails[index].checks.find(([begin, end]) => begin <= at && at < end);
      return check ? (check[2] ? "good" : "bad") : "";
    }
    return tokens[at] === trails.trails[0].response[at] ? "" : "other";
  };

  function fill(box, index) {
    box.replaceChildren();
    const tokens = trails.trails[index].response;
    let line = null;
    const lineClass = graded ? "" : "prose";
    tokens.forEach((token, at) => {
      if (line === null || (trails.line_token > 0 && token === trails.line_token)) {
        line = make("p", { class: lineClass });
        box.append(line);
      }
      const text = line.childNodes.length === 0 ? word(token).trimStart() : word(token);
      const kind = mark(index, tokens, at);
      line.append(kind ? make("span", { class: kind }, text) : text);
    });
    const checks = trails.trails[index].checks;
    const missing = checks.filter(([begin, end]) => begin === end);
    if (missing.length > 0) {
      box.append(make("p", { class: "bad" }, `Left out: ${missing.map(c => c[3]).join("; ")}`));
    }
  }

  const right = resultLike(r => r.policy === "streaming");
  [bestAtBudget, right].forEach((index, side) => {
    const box = make("div", { class: "text-box", tabindex: 0,
      "aria-label": side ? "Second text" : "First text" });
    const controls = make("div", { class: "controls" },
      chooser("", results.map(label), index, i => fill(box, i)));
    byId("words").append(make("div", {}, controls, box));
    fill(box, index);
  });
}
)js";

}  // namespace morphkv::demo

#endif  // MORPHKV_EXAMPLES_DEMO_PAGE_WORDS_HPP
