"""The style sheet of the web page."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root {
  --ground: #f4f3ef; --card: #fff; --frame: #ebe9e3;
  --ink: #1c1b19; --soft: #6b675f; --line: #e3e0d8; --accent: #0b7a6b; --away: #b4432f;
  --shadow: 0 1px 2px rgb(40 36 28 / .05), 0 6px 20px rgb(40 36 28 / .06);
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #141414; --card: #1f1f1e; --frame: #2b2a28;
    --ink: #f0eeea; --soft: #a29d94; --line: #33312e; --accent: #4fc9b4; --away: #ef8b75;
    --shadow: 0 1px 2px rgb(0 0 0 / .4);
  }
}
* { box-sizing: border-box; margin: 0; padding: 0; }
body {
  background: var(--ground); color: var(--ink); line-height: 1.45; -webkit-text-size-adjust: 100%;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", "PingFang SC",
    "Microsoft YaHei", sans-serif;
}
header, main { max-width: 1320px; margin: 0 auto; padding: 0 clamp(16px, 3vw, 40px); }
header { display: grid; gap: 14px; padding-top: 32px; padding-bottom: 24px; }
ul, ol { list-style: none; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
code { font: .92em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }

.signals { display: flex; flex-wrap: wrap; align-items: center; gap: 10px 14px; min-width: 0; }
.signals li { display: flex; align-items: center; gap: 10px; min-width: 0; max-width: 100%; }
.sign { color: var(--soft); font-size: 22px; line-height: 1; margin-inline-end: 4px; }
.words { font-size: clamp(20px, 2.4vw, 28px); font-weight: 650; letter-spacing: -.015em; line-height: 1.2; }
.words, header code { overflow-wrap: anywhere; min-width: 0; }
.chip { background: var(--frame); border-radius: 99px; padding: 6px 14px; color: var(--soft); min-width: 0; }
.chip code { color: var(--ink); }
.signals b { color: var(--soft); font-weight: 550; font-variant-numeric: tabular-nums; font-size: 14px; }
.away .sign, .away .words, .away code, .away b { color: var(--away); }
.thumb {
  display: grid; place-items: center; width: 88px; height: 88px; flex: none; overflow: hidden;
  background: var(--frame); border: 1px solid var(--line); border-radius: 14px;
}
.thumb img { width: 100%; height: 100%; object-fit: contain; }
.away .thumb { border-color: var(--away); }
.away .thumb img { opacity: .6; filter: grayscale(.8); }
.meta { display: flex; flex-wrap: wrap; gap: 6px 18px; color: var(--soft); font-variant-numeric: tabular-nums; }
.filter code { color: var(--ink); background: var(--frame); border-radius: 6px; padding: 2px 8px; }

.faceted { display: grid; grid-template-columns: 232px minmax(0, 1fr); gap: 24px; align-items: start; }
.facets {
  display: grid; gap: 12px; position: sticky; top: 20px; max-height: calc(100vh - 40px); overflow: auto;
  padding-bottom: 20px;
}
.facet {
  padding: 12px 14px 13px; min-width: 0;
  background: var(--card); border: 1px solid var(--line); border-radius: 14px;
}
.facet h2 { font-size: 13px; font-weight: 650; margin-bottom: 8px; }
.facet ul { display: grid; gap: 7px; }
.facet li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 2px 10px; font-size: 13px; }
.facet li > span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.facet b { font-weight: 500; color: var(--soft); font-variant-numeric: tabular-nums; }
.facet .bar { grid-column: 1 / -1; height: 3px; }
.notes { margin-top: 8px; color: var(--soft); font-size: 12px; }

.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 20px; padding-bottom: 56px; }
.grid > li { display: grid; }
.card {
  display: flex; flex-direction: column; overflow: hidden; min-width: 0;
  background: var(--card); border: 1px solid var(--line); border-radius: 16px; box-shadow: var(--shadow);
}
.picture {
  position: relative; aspect-ratio: 1; display: grid; place-items: center; overflow: hidden; background: var(--frame);
}
.picture img { width: 100%; height: 100%; object-fit: contain; }
[data-fills] img { object-fit: cover !important; }
.nothing { width: 34%; fill: none; stroke: var(--soft); stroke-width: 1.6; stroke-linejoin: round; opacity: .55; }
.nothing circle { fill: none; }
.rank {
  position: absolute; top: 10px; inset-inline-start: 10px; min-width: 26px; padding: 2px 7px; text-align: center;
  border-radius: 99px; background: rgb(20 20 20 / .72); color: #fff;
  font-size: 12.5px; font-weight: 650;
}
.body { display: flex; flex-direction: column; gap: 7px; padding: 12px 14px 13px; flex: 1; }
.score { display: flex; align-items: center; gap: 10px; color: var(--soft); font-size: 12.5px; }
.score, .routes, .rank, .price { font-variant-numeric: tabular-nums; }
.routes { display: flex; flex-wrap: wrap; gap: 0 12px; margin-top: -3px; color: var(--soft); font-size: 11.5px; }
.bar { flex: 1; height: 4px; border-radius: 4px; background: var(--frame); overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 4px; background: var(--accent); }
h2 {
  font-size: 15.5px; font-weight: 620; line-height: 1.3; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
}
.price { font-size: 18px; font-weight: 650; }
.price small { font-size: 12.5px; font-weight: 500; color: var(--soft); }
.description {
  color: var(--soft); font-size: 13px; line-height: 1.42; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
}
dl { font-size: 13px; display: grid; gap: 2px; }
dl div { display: grid; grid-template-columns: minmax(64px, 42%) 1fr; gap: 8px; }
dt { color: var(--soft); overflow-wrap: anywhere; }
dd {
  overflow-wrap: anywhere; overflow: hidden;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2;
}
a { color: var(--accent); text-underline-offset: 2px; }
.id {
  margin-top: auto; padding-top: 6px; color: var(--soft);
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  font: 11.5px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
.empty { display: grid; place-items: center; gap: 12px; padding: 14vh 0 20vh; color: var(--soft); font-size: 18px; }
.empty .nothing { width: 72px; }
@media (max-width: 860px) {
  .faceted { display: block; }
  .facets {
    position: static; display: flex; align-items: flex-start; max-height: none; scroll-snap-type: x proximity;
    margin-bottom: 6px; padding-bottom: 14px;
  }
  .facet { flex: 0 0 min(210px, 60vw); scroll-snap-align: start; }
  .facet ul { max-height: 172px; overflow: auto; }
}
@media (max-width: 520px) {
  .grid { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px; }
  dl div { display: block; }
  dl dt, dl dd { display: inline; }
  dt::after { content: " "; }
}
@media print { .card { break-inside: avoid; box-shadow: none; } }
"""
