// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page's two texts, side by side.
#ifndef MORPHKV_TOOLS_DEMO_PAGE_WORDS_HPP
#define MORPHKV_TOOLS_DEMO_PAGE_WORDS_HPP

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

  // Tokens as lines; `begins`: where one begins; `kindOf`: how a token is marked.
  function write(box, tokens, begins, kindOf) {
    box.replaceChildren();
    let line = null;
    const lineClass = graded ? "" : "prose";
    tokens.forEach((token, at) => {
      if (line === null || begins(at)) {
        line = make("p", { class: lineClass });
        box.append(line);
      }
      const text = line.childNodes.length === 0 ? word(token).trimStart() : word(token);
      const kind = kindOf(at);
      if (!kind) { line.append(text); return; }
      // The space before a word is not underlined, but between two words of the same mark it is.
      const bare = kindOf(at - 1) === kind ? text : text.trimStart();
      line.append(text.slice(0, text.length - bare.length),
        make("span", { class: kind, "data-at": at }, bare));
    });
  }

  function fill(box, index) {
    const tokens = trails.trails[index].response;
    write(box, tokens, at => trails.line_token > 0 && tokens[at] === trails.line_token,
      at => mark(index, tokens, at));
    const checks = trails.trails[index].checks;
    const missing = checks.filter(([begin, end]) => begin === end);
    if (missing.length > 0) {
      box.append(make("p", { class: "bad" }, `Left out: ${missing.map(c => c[3]).join("; ")}`));
    }
  }

  // Where the left text is right and the right one is wrong for the first time.
  function firstDifference(left, right) {
    const wrong = trails.trails[right].checks.filter(c => !c[2]).map(c => c[3]);
    const check = trails.trails[left].checks.find(c => c[2] && wrong.includes(c[3]));
    return check ? check[0] : 0;
  }
  const scrollTo = (box, at) => {
    const marks = [...box.querySelectorAll("[data-at]")];
    const mark = marks.find(m => Number(m.dataset.at) >= at);
    if (at > 0 && mark) box.scrollTop = mark.parentElement.offsetTop - box.offsetTop - 12;
  };

  write(byId("prompt-text"), trails.prompt,
    at => graded && at > 0 && word(trails.prompt[at - 1]).trim() === ".", () => "");
  const right = resultLike(r => r.policy === "streaming_llm");
  const start = firstDifference(firstChoice, right);
  [firstChoice, right].forEach((index, side) => {
    const box = make("div", { class: "text-box", tabindex: 0,
      "aria-label": side ? "Second text" : "First text" });
    const controls = make("div", { class: "controls" },
      chooser("", results.map(label), index, i => fill(box, i)));
    byId("words").append(make("div", {}, controls, box));
    fill(box, index);
    scrollTo(box, start);
  });
}
)js";

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_PAGE_WORDS_HPP
