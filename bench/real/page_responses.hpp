// SPDX-License-Identifier: Apache-2.0
/// \file
/// The part of the page about long responses: figures, and two texts side by side.
#ifndef MORPHKV_BENCH_REAL_PAGE_RESPONSES_HPP
#define MORPHKV_BENCH_REAL_PAGE_RESPONSES_HPP

namespace morphkv::real {

inline constexpr char page_responses_script[] = R"js(
function responsesTable(place, caches) {
  fillTable(place, ["Policy", "Slots", "NLL under the full cache", "Distinct 4-grams",
    "Names reused"],
    caches.map(c => [named(c.policy), c.capacity || "", number(c.full_nll, 3),
      percent(c.distinct.mean, 1), number(c.names, 1)]));
}

function responseTexts(place, caches) {
  const policies = caches.map(c => c.policy);
  const state = { prompt: 0, sides: [0, Math.min(1, caches.length - 1)] };
  const boxes = state.sides.map(() => make("div", { class: "text-box" }));
  const redraw = () => state.sides.forEach((cache, side) => {
    boxes[side].textContent = caches[cache].responses[state.prompt].text;
  });
  const pick = side => chooser("", policies, state.sides[side],
    cache => { state.sides[side] = cache; redraw(); });
  place.append(
    make("div", { class: "controls" }, chooser("Prompt",
      caches[0].responses.map(r => r.prompt.slice(0, 60) + "\u2026"), state.prompt,
      prompt => { state.prompt = prompt; redraw(); })),
    make("div", { class: "words" }, ...boxes.map((box, side) => make("div", {},
      make("div", { class: "controls" }, pick(side)), box))));
  redraw();
}
)js";

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_PAGE_RESPONSES_HPP
