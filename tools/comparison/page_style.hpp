// SPDX-License-Identifier: Apache-2.0
/// \file
/// The page's style, light and dark.
#ifndef MORPHKV_TOOLS_COMPARISON_PAGE_STYLE_HPP
#define MORPHKV_TOOLS_COMPARISON_PAGE_STYLE_HPP

namespace morphkv::comparison {

inline constexpr char page_style[] = R"css(
:root {
  color-scheme: light dark;
  --paper: #fdfcfa; --ink: #1d1f23; --soft: #5d6470; --rule: #dedbd4; --grid: #ebe8e1;
  --panel: #f5f2ec; --good: #1b7a4b; --bad: #b3341f; --held: #7fa8d8; --past: #eeebe4;
  --morphkv: #0a58b5; --morphkv_sum: #3d9be0; --decayed_max: #b0307a; --decayed_max_shared: #4d2e78;
  --recommended: #d01f4e; --recommended_for_prompts: #d01f4e; --recommended_q8_0: #1f6f8b; --recommended_q4_0: #9a6a00; --recommended_e4m3: #2e7d4f; --recommended_shared: #7d2ea8; --morphkv_plain: #5b78b8; --snapkv_recent: #4f9a3c; --pinned: #8a7a66;
  --h2o: #cf6a12; --tova: #8a55b8; --snapkv: #16876a; --streaming_llm: #6d737d; --random: #a88a12;
  --full: #1d1f23;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --ink: #e9e7e2; --soft: #a2a8b3; --rule: #383c44; --grid: #272a30;
    --panel: #1e2126; --good: #5fc993; --bad: #f0836d; --held: #3f6ea8; --past: #23262c;
    --morphkv: #62a5f5; --morphkv_sum: #9fd0fb; --decayed_max: #f07cc0; --decayed_max_shared: #a98cd0;
    --recommended: #ff6f91; --recommended_for_prompts: #ff6f91; --recommended_q8_0: #6fc3dd; --recommended_q4_0: #e0b050; --recommended_e4m3: #7fcf9f; --recommended_shared: #c78cf0; --morphkv_plain: #a9bbe8; --snapkv_recent: #94d67f; --pinned: #c4b49c;
    --h2o: #f0984a; --tova: #bf95e6; --snapkv: #4cc2a0; --streaming_llm: #a0a6b1;
    --random: #d6bb4c; --full: #e9e7e2;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 64px; }
.kicker { color: var(--soft); font-size: 14px; margin: 0 0 8px; }
h1 { font-size: 34px; line-height: 1.2; margin: 0 0 14px; font-weight: 700; text-wrap: balance; }
h2 { font-size: 22px; line-height: 1.3; margin: 52px 0 4px; }
p { margin: 0 0 12px; max-width: 74ch; }
.lead { font-size: 18px; }
.note, figcaption { color: var(--soft); font-size: 14px; }
h3 { font-size: 17px; margin: 26px 0 4px; }
figure { margin: 16px 0 0; }
#plot, .plot { overflow-x: auto; }
svg { display: block; min-width: 660px; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .tick { fill: var(--soft); }
svg .axis-title { fill: var(--soft); }
svg .label { font-weight: 600; paint-order: stroke; stroke: var(--paper); stroke-width: 4px;
  stroke-linejoin: round; }
summary { cursor: pointer; color: var(--soft); font-size: 14px; margin: 6px 0 10px; }
details .text-box { height: auto; max-height: 300px; }
.controls { display: flex; flex-wrap: wrap; gap: 10px 18px; margin: 10px 0; font-size: 14px;
  color: var(--soft); }
select { font: inherit; color: var(--ink); background: var(--panel); padding: 3px 6px;
  border: 1px solid var(--rule); border-radius: 4px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 14px; margin: 8px 0 0; padding: 0;
  list-style: none; }
.legend button { all: unset; cursor: pointer; display: flex; align-items: center; gap: 6px; }
.legend button:focus-visible { outline: 2px solid var(--morphkv); outline-offset: 2px; }
.dim { opacity: .18; }
.swatch { display: inline-block; width: 14px; height: 14px; border-radius: 3px; }
.tip { position: absolute; pointer-events: none; background: var(--paper); color: var(--ink);
  border: 1px solid var(--rule); border-radius: 5px; padding: 8px 10px; font-size: 14px;
  line-height: 1.4; box-shadow: 0 3px 12px rgb(0 0 0 / .18); max-width: 320px; z-index: 2; }
.tip b { display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14.5px; width: 100%; margin-top: 12px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 8px; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--ink);
  vertical-align: bottom; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
td.text { white-space: normal; color: var(--soft); font-size: 13.5px; min-width: 190px; }
tr.group td { padding-top: 16px; color: var(--soft); border-bottom: 1px solid var(--rule); }
td .swatch { width: 10px; height: 10px; margin-right: 7px; }
.range { color: var(--soft); }
.words { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; }
.words > div { min-width: 0; }
.text-box { background: var(--panel); border-radius: 5px; padding: 12px 14px; height: 420px;
  overflow: auto; font: 13.5px/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.text-box p { margin: 0 0 4px; padding-left: 1.5em; text-indent: -1.5em; max-width: none; }
.text-box .prose { padding: 0; text-indent: 0; }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; text-decoration: underline wavy 1px;
  text-underline-offset: 3px; }
.other { color: var(--bad); }
ul.method { padding-left: 20px; max-width: 74ch; }
ul.method li { margin-bottom: 7px; }
footer { margin-top: 44px; padding-top: 14px; border-top: 1px solid var(--rule); font-size: 14px;
  color: var(--soft); overflow-wrap: anywhere; }
@media (max-width: 720px) {
  .words { grid-template-columns: 1fr; }
  h1 { font-size: 27px; }
  main { padding-top: 24px; }
}
)css";

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_PAGE_STYLE_HPP
