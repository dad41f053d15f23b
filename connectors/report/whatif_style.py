"""What the page of a what-if has beside the common style sheet: five bands, waterfalls, curves, and people whose traces fold."""

from connectors.report.style import STYLE

PAGE_STYLE = (
    STYLE
    + """
:root { --lose-more: #b3261e; --lose-less: #e9a19a; --unchanged: #d9d9d3; --gain-less: #93cfae; --gain-more: #0f8a4b;
  --area-gain: #0f8a4b24; --area-loss: #c9362f24; }
@media (prefers-color-scheme: dark) { :root { --lose-more: #f2766e; --lose-less: #8a423d; --unchanged: #3a3e45; --gain-less: #2c6b49; --gain-more: #4cc585;
  --area-gain: #4cc58530; --area-loss: #f2766e30; } }
main { max-width: 1080px; }
.figures.four { grid-template-columns: 1.5fr 1fr 1fr 1fr; }
.figure.up b { color: var(--bad); } .figure.down b { color: var(--good); }
svg .name { font-size: 15px; font-weight: 600; } svg .bad-text { font-size: 12px; font-weight: 600; fill: var(--bad); }
.fall.total { fill: var(--main); } .fall.up { fill: var(--wait); } .fall.down { fill: var(--good); }
.break { stroke: var(--card); stroke-width: 3; fill: none; }
.link { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3; fill: none; }
.limit { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 6 4; fill: none; }
.curve { fill: none; stroke-width: 2.6; stroke-linejoin: round; stroke-linecap: round; }
.curve.now { stroke: var(--main); } .curve.was { stroke: var(--soft); stroke-width: 2; stroke-dasharray: 5 4; }
.area.gain { fill: var(--area-gain); } .area.loss { fill: var(--area-loss); }
.cliff { fill: var(--bad); stroke: var(--card); stroke-width: 2; }
.lose_more { --c: var(--lose-more); } .lose_less { --c: var(--lose-less); } .unchanged { --c: var(--unchanged); }
.gain_less { --c: var(--gain-less); } .gain_more { --c: var(--gain-more); } .undetermined { --c: var(--wait); }
.now-key { --c: var(--main); } .was-key { --c: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 26px 40px; align-items: end; }
.plots h3 { margin: 18px 0 0; } .plots h3 small { font-weight: 400; } .plots svg { margin-top: 6px; }
.bands { width: 100%; border-collapse: collapse; margin-top: 12px; }
.bands td, .bands th { padding: 5px 10px 5px 0; border: 0; vertical-align: middle; }
.bands td:first-child { white-space: nowrap; } .bands td:nth-child(2) { width: 55%; }
.bands .share { margin: 0; height: 18px; }
.bands .share i { min-width: 0; }
details { border-top: 1px solid var(--line); padding: 8px 0; }
summary { cursor: pointer; display: flex; gap: 12px; justify-content: space-between; }
summary b { white-space: nowrap; } summary .soft { font-size: 13px; }
summary::before { content: "+"; color: var(--soft); width: 12px; flex: none; } details[open] summary::before { content: "−"; }
summary span:first-child { flex: 1; overflow-wrap: anywhere; }
.traces { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 12px; margin: 8px 0 4px; }
.traces pre { background: var(--track); border-radius: 8px; padding: 10px 12px; margin: 4px 0 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.hash { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
@media (max-width: 760px) { .figures.four { grid-template-columns: 1fr 1fr 1fr; }
  .figures.four .figure:first-child { grid-column: 1 / -1; }
  .figures.four .figure:not(:first-child) { padding: 10px; }
  .figures.four .figure:not(:first-child) b { font-size: 18px; }
  .figures.four .figure:not(:first-child) span { font-size: 12px; }
  .bands thead { display: none; }
  .bands tr { display: grid; grid-template: "label value" auto "bar bar" auto / 1fr auto; gap: 3px 12px; padding: 8px 0; border-top: 1px solid var(--line); }
  .bands td { padding: 0; }
  .bands td:first-child { grid-area: label; white-space: normal; }
  .bands td:nth-child(2) { grid-area: bar; width: auto; }
  .bands td:last-child { grid-area: value; } }
"""
)
