"""The report's style sheet: light and dark, wide and narrow, printed without colour tricks."""

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f6f3; --card: #ffffff; --ink: #17191c; --soft: #5b6066; --line: #e4e4df; --track: #eeeeea;
  --main: #2a6fdb; --stream: #d3e3fb; --good: #0f8a4b; --good-soft: #dff3e7; --wait: #d98a00; --bad: #c9362f; --bad-soft: #fbe3e1; --off: #8b9097;
  --single: #2a6fdb; --joint: #12936b; --head: #d97a00; --separate: #8a4fd0; }
@media (prefers-color-scheme: dark) { :root {
  --page: #121316; --card: #1b1d21; --ink: #f1f1ee; --soft: #a4a9b0; --line: #2e3137; --track: #282b30;
  --main: #6ba2f5; --stream: #243a5c; --good: #4cc585; --good-soft: #173626; --wait: #f0b040; --bad: #f2766e; --bad-soft: #45201e; --off: #7c828a;
  --single: #6ba2f5; --joint: #3cc596; --head: #f0a040; --separate: #b48af0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font-variant-numeric: tabular-nums;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 44px 20px 64px; }
h1 { font-size: 34px; line-height: 1.15; letter-spacing: -.02em; margin: 0 0 6px; }
h2 { font-size: 19px; letter-spacing: -.01em; margin: 0 0 2px; }
h3 { font-size: 14px; margin: 20px 0 6px; }
p { margin: 0; }
.soft, footer { color: var(--soft); }
.lead { max-width: 70ch; }
.figures { display: grid; grid-template-columns: 1fr 1fr 1.7fr 1.1fr; gap: 14px; margin: 28px 0 14px; }
.figure, section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; }
.figure { padding: 16px 20px; min-width: 0; }
.figure b { display: block; font-size: 32px; line-height: 1.2; letter-spacing: -.025em; font-weight: 650; white-space: nowrap; }
.figure b small { font-size: 16px; letter-spacing: 0; color: var(--soft); font-weight: 500; }
.figure span { color: var(--soft); font-size: 14px; }
section { padding: 22px 24px 24px; margin-top: 14px; min-width: 0; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 14px; }
svg { display: block; width: 100%; height: auto; margin-top: 16px; overflow: visible; }
svg text { font-family: inherit; fill: var(--ink); }
svg .label { font-size: 13px; fill: var(--soft); }
svg .tick { font-size: 12px; fill: var(--soft); }
svg .flow { font-size: 14px; fill: var(--main); font-weight: 600; }
svg .big { font-size: 23px; font-weight: 650; letter-spacing: -.02em; }
svg .count { font-size: 15px; font-weight: 600; }
.node, .rate { fill: var(--main); }
.stream { fill: var(--stream); }
.grid { stroke: var(--line); stroke-width: 1; }
.exit { fill: none; stroke: var(--off); opacity: .85; }
.exit.wait { stroke: var(--wait); }
.exit.bad { stroke: var(--bad); }
.dots { opacity: .38; }
.single { --c: var(--single); }
.married_joint { --c: var(--joint); }
.head_of_household { --c: var(--head); }
.married_separate { --c: var(--separate); }
.dots circle { fill: var(--c); }
.mean { fill: none; stroke: var(--c); stroke-width: 2.6; stroke-linejoin: round; stroke-linecap: round; }
.halo { fill: none; stroke: var(--card); stroke-width: 6; stroke-linejoin: round; opacity: .9; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin-top: 12px; font-size: 14px; color: var(--soft); }
.legend i { display: inline-block; width: 18px; height: 4px; border-radius: 2px; background: var(--c); margin-right: 7px; vertical-align: middle; }
.narrow { display: none; }
.rows { list-style: none; margin: 14px 0 0; padding: 0; }
.rows li { padding: 9px 0; border-top: 1px solid var(--line); }
.rows li:first-child { border-top: 0; padding-top: 2px; }
.row { display: flex; justify-content: space-between; gap: 16px; align-items: baseline; }
.row b { white-space: nowrap; font-weight: 600; }
.row small, .rows small { color: var(--soft); font-size: 13px; font-weight: 400; }
.track { display: block; height: 8px; border-radius: 4px; background: var(--track); margin: 5px 0 4px; overflow: hidden; }
.track i { display: block; height: 100%; border-radius: 4px; background: var(--c, var(--main)); min-width: 3px; }
.c-good { --c: var(--good); }
.c-wait { --c: var(--wait); }
.c-bad { --c: var(--bad); }
.c-off { --c: var(--off); }
.c-main { --c: var(--main); }
.share { display: flex; gap: 2px; height: 22px; border-radius: 6px; overflow: hidden; margin-top: 14px; background: var(--track); }
.share i { background: var(--c); min-width: 3px; }
.keys { display: flex; flex-wrap: wrap; gap: 2px 18px; margin-top: 8px; font-size: 14px; }
.keys span::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 3px; background: var(--c); margin-right: 6px; }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.code { background: var(--track); border-radius: 5px; padding: 1px 6px; }
table { width: 100%; border-collapse: collapse; margin-top: 14px; font-size: 14px; }
th { text-align: left; font-weight: 500; color: var(--soft); }
th, td { padding: 7px 10px 7px 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; }
.number { text-align: right; white-space: nowrap; padding-right: 0; padding-left: 10px; }
.badge { display: inline-block; font-size: 13px; font-weight: 600; border-radius: 99px; padding: 1px 10px; white-space: nowrap; }
.badge.ok { color: var(--good); background: var(--good-soft); }
.badge.not { color: var(--bad); background: var(--bad-soft); }
.try { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; margin-top: 14px; }
.try div { background: var(--track); border-radius: 10px; padding: 12px 14px; }
.try code { display: block; font-weight: 600; overflow-wrap: anywhere; margin-bottom: 3px; }
.none { color: var(--soft); margin-top: 14px; }
footer { font-size: 13px; margin-top: 24px; max-width: 90ch; }
@media (max-width: 760px) {
  main { padding: 26px 12px 40px; }
h1 { font-size: 26px; }
section { padding: 18px 16px; }
  .figures { grid-template-columns: 1fr 1fr; gap: 10px; margin-top: 20px; }
.figure { padding: 12px 14px; }
.figure b { font-size: 22px; }
.figure b small { font-size: 13px; }
  .figure.money { order: -1; grid-column: 1 / -1; }
.figure.money b { font-size: 28px; }
.figure.speed { grid-column: 1 / -1; }
  .pair { grid-template-columns: minmax(0, 1fr); }
.wide { display: none; }
.narrow { display: block; }
.optional { display: none; } }
@media print { body { background: none; }
section, .figure { break-inside: avoid; } }
"""
