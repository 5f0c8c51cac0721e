// SPDX-License-Identifier: Apache-2.0
/// \file
/// A picture of a page: the positions that a head holds over time.
#ifndef MORPHKV_TOOLS_COMPARISON_PAGE_HEADS_HPP
#define MORPHKV_TOOLS_COMPARISON_PAGE_HEADS_HPP

namespace morphkv::comparison {

/// `headsPicture(place, trails, labels, first)` draws into an element the trails of trails_json();
/// `labels` names them, and `first` is the one that is shown at first.
inline constexpr char page_heads_script[] = R"js(
function headsPicture(place, trails, labels, first) {
  const word = id => trails.words[id] ?? "";
  const promptTokens = trails.prompt.length;
  const decode = text => {
    const raw = atob(text);
    return Uint16Array.from({ length: raw.length / 2 },
      (_, i) => raw.charCodeAt(2 * i) | raw.charCodeAt(2 * i + 1) << 8);
  };
  const never = 0xFFFF;
  const decoded = new Map();
  const headsOf = index => {
    if (!decoded.has(index)) decoded.set(index, trails.trails[index].last.map(decode));
    return decoded.get(index);
  };
  const arrival = position => Math.max(0, position - promptTokens + 1);
  const holds = (last, step, position) =>
    last[position] !== never && arrival(position) <= step && step <= last[position];

  const heads = trails.layers.flatMap((layer, l) => trails.heads.map((head, h) => (
    { name: `layer ${layer + 1}, head ${head + 1}`, index: l * trails.heads.length + h })));
  const state = { result: first, head: heads.length - 1 };
  const chosen = () => {
    const all = headsOf(state.result);
    return state.head < heads.length ? [all[heads[state.head].index]] : all;
  };

  const canvas = make("canvas", { role: "img", "aria-label": "Positions held over time" });
  canvas.style.width = "100%";
  canvas.style.display = "block";
  const caption = make("figcaption");
  const controls = make("div", { class: "controls" });
  place.append(controls, make("figure", {}, canvas, caption));
  const left = 54, bottom = 44, top = 28, right = 8, height = 460;
  let width = 0, steps = 0, positions = 0;
  const xOf = step => left + (width - left - right) * step / steps;
  const yOf = position => height - bottom - (height - top - bottom) * position / positions;

  const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = name => {
    const hex = style(name).slice(1);
    return [0, 2, 4].map(at => parseInt(hex.slice(at, at + 2), 16));
  };

  // One pixel per step and position: the share of the chosen heads that hold it.
  function picture(lasts) {
    const image = new ImageData(steps, positions);
    const held = rgb("--held"), past = rgb("--past");
    for (let position = 0; position < positions; ++position) {
      for (let step = arrival(position); step < steps; ++step) {
        let count = 0;
        for (const last of lasts) count += holds(last, step, position);
        const share = count / lasts.length;
        const at = 4 * ((positions - 1 - position) * steps + step);
        for (let c = 0; c < 3; ++c) image.data[at + c] = past[c] + share * (held[c] - past[c]);
        image.data[at + 3] = 255;
      }
    }
    return image;
  }

  function tickStep(limit) {
    return [10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find(s => limit / s <= 7) ?? 10000;
  }

  function axes(draw) {
    draw.font = "13px system-ui, sans-serif";
    draw.fillStyle = style("--soft");
    draw.strokeStyle = style("--soft");
    draw.textAlign = "center";
    for (let step = 0; step < steps; step += tickStep(steps)) {
      draw.fillText(step, Math.max(xOf(step), left + 4), height - bottom + 17);
    }
    draw.textAlign = "left";
    draw.fillText("Step of the response, in tokens", left, height - 6);
    draw.fillText("Position in the text", 0, 14);
    draw.textAlign = "right";
    for (let position = 0; position < positions; position += tickStep(positions)) {
      draw.fillText(position, left - 8, yOf(position) + 4);
    }
    draw.setLineDash([2, 4]);
    draw.beginPath();
    draw.moveTo(left, yOf(promptTokens));
    draw.lineTo(width - right, yOf(promptTokens));
    draw.stroke();
    draw.setLineDash([]);
    draw.textAlign = "right";
    draw.lineWidth = 4;
    draw.lineJoin = "round";
    draw.strokeStyle = style("--paper");
    draw.fillStyle = style("--ink");
    for (const [text, y] of [["response \u2191", -8], ["prompt \u2193", 17]]) {
      draw.strokeText(text, width - right - 8, yOf(promptTokens) + y);
      draw.fillText(text, width - right - 8, yOf(promptTokens) + y);
    }
  }

  // What the response needs to look up, at the step of the look-up.
  function needs(draw, lasts) {
    for (const [step, position] of trails.needs) {
      if (step >= steps) continue;
      const held = lasts.some(last => holds(last, step, position));
      const x = xOf(step + 0.5), y = yOf(position + 0.5);
      draw.beginPath();
      if (held) {
        draw.arc(x, y, 3.4, 0, 7);
        draw.fillStyle = style("--ink");
        draw.fill();
      } else {
        draw.moveTo(x - 4, y - 4); draw.lineTo(x + 4, y + 4);
        draw.moveTo(x - 4, y + 4); draw.lineTo(x + 4, y - 4);
        draw.strokeStyle = style("--bad");
        draw.lineWidth = 2;
        draw.stroke();
      }
    }
  }

  function describe() {
    const all = headsOf(state.result);
    const count = test => trails.needs.filter(([s, p]) => s < steps && test(s, p)).length;
    const lasts = chosen();
    const parts = [`First prompt: ${promptTokens} tokens, then ${steps} written.`];
    if (trails.needs.length > 0) {
      const total = count(() => true);
      const any = count((s, p) => all.some(last => holds(last, s, p)));
      if (state.head < heads.length) {
        parts.push(`Of ${total} look-ups, this head holds the token in question at ` +
          `${count((s, p) => holds(lasts[0], s, p))}.`);
      }
      parts.push(`At ${any} of ${total}, at least one of the ${all.length} heads drawn holds it.`);
    }
    caption.textContent = parts.join(" ");
  }

  function redraw() {
    const scale = window.devicePixelRatio || 1;
    width = canvas.clientWidth;
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = height + "px";
    steps = Math.max(1, trails.trails[state.result].response.length);
    positions = headsOf(state.result)[0].length;
    const lasts = chosen();
    const small = make("canvas", { width: steps, height: positions });
    small.getContext("2d").putImageData(picture(lasts), 0, 0);
    const draw = canvas.getContext("2d");
    draw.scale(scale, scale);
    draw.imageSmoothingQuality = "high";
    draw.drawImage(small, left, top, width - left - right, height - top - bottom);
    axes(draw);
    needs(draw, lasts);
    describe();
  }

  canvas.addEventListener("pointermove", event => {
    const step = Math.floor((event.offsetX - left) / (width - left - right) * steps);
    const position =
      Math.floor((height - bottom - event.offsetY) / (height - top - bottom) * positions);
    if (step < 0 || step >= steps || position < 0 || position >= positions ||
        arrival(position) > step) return hideTip();
    const response = trails.trails[state.result].response;
    const text = at => word(at < promptTokens ? trails.prompt[at] : response[at - promptTokens]);
    const around = (from, to) => Array.from(
      { length: Math.max(0, to - from) }, (_, i) => text(from + i)).join("");
    const count = chosen().filter(last => holds(last, step, position)).length;
    const state_text = state.head < heads.length ? (count ? "held" : "dropped")
      : `held by ${count} of ${heads.length} heads`;
    showTip(event, `\u201c${text(position).trim()}\u201d, position ${position}`,
      [make("span", {}, around(Math.max(0, position - 12), position),
         make("mark", {}, text(position)),
         around(position + 1, Math.min(position + 13, promptTokens + response.length))),
       `${state_text} at step ${step}`,
       position < promptTokens ? "from the prompt" : `written at step ${arrival(position)}`]);
  });
  canvas.addEventListener("pointerleave", hideTip);

  controls.append(
    chooser("Policy", labels, state.result, i => { state.result = i; redraw(); }),
    chooser("Head", [...heads.map(h => h.name), `all ${heads.length} heads, shaded by share`],
      state.head, i => { state.head = i; redraw(); }));
  redraw();
  window.addEventListener("resize", redraw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
)js";

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_PAGE_HEADS_HPP
