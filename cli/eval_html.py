"""An evaluation as one web page: its tables, and the queries that went worst, with pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .eval_table import COSTS, costs, p_value, signed, summary_lines, tuning_lines
from .html_parts import document, frame, picture_tag, signal_list, text
from .html_style import STYLE
from .text import plain
from .thumbnails import load_picture

if TYPE_CHECKING:
    from datetime import date

    from mm_milvus.evaluation import Evaluation, Judged, Score
    from mm_milvus.records import Hit

__all__ = ["WORST", "products_shown", "render_report"]

WORST = 12  # queries that are shown with their products
_SHOWN = 6  # products of each row
_CERTAIN = 0.05
_STYLE = """
h1 { font-size: 26px; letter-spacing: -.015em; }
main { display: grid; gap: 28px; padding-bottom: 56px; }
main h2 { font-size: 17px; margin-bottom: 10px; display: block; }
.sheet {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 16px 18px;
  overflow-x: auto; min-width: 0;
}
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { text-align: end; padding: 6px 14px; border-top: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: start; padding-inline-start: 0; }
thead th { border-top: 0; color: var(--soft); font-weight: 550; font-size: 13px; }
tbody th { font-weight: 600; }
td small { display: block; color: var(--soft); font-size: 12px; }
td small.better { color: var(--accent); }
td small.worse { color: var(--away); }
.lines { color: var(--soft); font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; }
.worst { display: grid; gap: 14px; margin-bottom: 16px; }
.worst .words { font-size: 19px; }
.rows { display: grid; grid-template-columns: 84px minmax(0, 1fr); gap: 12px; align-items: start; }
.rows > p { color: var(--soft); font-size: 13px; padding-top: 4px; }
.strip { display: flex; flex-wrap: wrap; gap: 10px; }
.strip li { width: 96px; font-size: 12px; min-width: 0; }
.strip .picture { border-radius: 10px; border: 2px solid transparent; }
.strip .right .picture { border-color: var(--accent); }
.strip span.name { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--soft); }
.strip .rank { top: 5px; inset-inline-start: 5px; min-width: 20px; padding: 0 5px; font-size: 11px; }
.none { color: var(--soft); font-size: 13px; padding-top: 4px; }
"""


def products_shown(found: Evaluation) -> list[str]:
    """The ids of which the page shows pictures."""
    ids: dict[str, None] = {}
    for judged in _worst_of(found):
        ids |= dict.fromkeys(judged.question.wanted[:_SHOWN])
        ids |= dict.fromkeys(judged.found[found.baseline.name][:_SHOWN])
    return list(ids)


def _worst_of(found: Evaluation) -> list[Judged]:
    """The worst queries; where all is found as it should be, a metric is 1, and there is nothing to look at."""
    name, metric = found.baseline.name, found.metrics[0]
    return [judged for judged in found.worst(WORST) if judged.values[name][metric] < 1]


def render_report(found: Evaluation, file: str, products: Mapping[str, Hit], made: date) -> str:
    """The web page, ``made`` on that day; ``products`` are the stored ones among ``products_shown``.

    Everything foreign is escaped.
    """
    worst = "".join(_worst(found, judged, products) for judged in _worst_of(found))
    summary, *notes = summary_lines(found, file)
    body = f"""<header>
<h1>How well queries find their products</h1>
<div class="meta"><p>{text(summary)}</p><p>{text(_encoders(found))}</p><p>{made.isoformat()}</p></div>
</header>
<main>
{_section("Variants", _variants(found))}
{_section(f"{found.metrics[0]} of parts of the queries", _slices(found)) if found.slices else ""}
{_section("Tuning", _lines(tuning_lines(found.tuning))) if found.tuning else ""}
{_section("Notes", _lines(notes)) if notes else ""}
<section>
<h2>Where {text(found.baseline.name)} does worst, by {text(found.metrics[0])}</h2>
{worst or '<p class="none">all queries are at 1.000</p>'}</section>
</main>"""
    return document("Evaluation", body, STYLE + _STYLE)


def _encoders(found: Evaluation) -> str:
    """The encoder of all variants, or where there are several, that of each collection."""
    by_collection = {variant.collection: variant.encoder for variant in found.variants}
    if len(set(by_collection.values())) == 1:
        return f"encoder {found.baseline.encoder}"
    return " · ".join(f"encoder of {name}: {encoder}" for name, encoder in by_collection.items())


def _section(title: str, content: str) -> str:
    return f'<section>\n<h2>{text(title)}</h2>\n<div class="sheet">{content}</div>\n</section>'


def _lines(lines: Iterator[str] | Sequence[str]) -> str:
    # text() would take away the blanks that line up what belongs together.
    shown = ("  " * line.startswith("  ") + text(line) for line in lines)
    return '<p class="lines">' + "\n".join(shown) + "</p>"


def _table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """``heads`` and the names of rows are texts, cells are markup."""
    top = "".join(f'<th scope="col">{text(head)}</th>' for head in heads)
    lines = "".join(
        f'<tr><th scope="row" dir="auto">{text(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'
        for name, cells in rows
    )
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table>"


def _variants(found: Evaluation) -> str:
    rows = [
        (
            variant.name,
            [
                *(_score(variant.scores[metric]) for metric in found.metrics),
                *map(text, costs(variant)),
            ],
        )
        for variant in found.variants
    ]
    return _table(["variant", *found.metrics, *COSTS], rows)


def _score(score: Score) -> str:
    if score.difference is None or score.p_holm is None:
        return f"{score.value:.3f}"
    sure = "" if score.p_holm >= _CERTAIN else "better" if score.difference > 0 else "worse"
    return f'{score.value:.3f}<small class="{sure}">{signed(score.difference)}, p {text(p_value(score.p_holm))}</small>'


def _slices(found: Evaluation) -> str:
    names = [variant.name for variant in found.variants]
    metric = found.metrics[0]
    rows = [
        (part.name, [f"{part.queries:,}", *(f"{part.values[name][metric]:.3f}" for name in names)])
        for part in found.slices
    ]
    return _table(["queries", "number", *names], rows)


def _worst(found: Evaluation, judged: Judged, products: Mapping[str, Hit]) -> str:
    asked, metric = judged.question, found.metrics[0]
    values = " · ".join(f"{name} {row[metric]:.3f}" for name, row in judged.values.items())
    where = f'<p class="filter">where <code dir="ltr">{text(asked.filter)}</code></p>' if asked.filter else ""
    ids = judged.found[found.baseline.name][:_SHOWN]
    wanted = asked.wanted
    more = f"and {len(wanted) - _SHOWN:,} more" if len(wanted) > _SHOWN else ""
    return f"""<article class="sheet worst">
<ul class="signals" aria-label="Query">
{signal_list(asked.signals)}</ul>
<div class="meta"><p>{text(asked.qid)}</p><p>{text(values)}</p>{where}</div>
<div class="rows"><p>relevant</p>{_strip(wanted[:_SHOWN], products, wanted, more=more)}
<p>found</p>{_strip(ids, products, wanted, ranked=True)}</div>
</article>
"""


def _strip(
    ids: Sequence[str],
    products: Mapping[str, Hit],
    wanted: Sequence[str],
    *,
    ranked: bool = False,
    more: str = "",
) -> str:
    if not ids:
        return '<p class="none">nothing</p>'
    items = "".join(
        _item(id, products.get(id), right=id in wanted, rank=rank if ranked else None)
        for rank, id in enumerate(ids, start=1)
    )
    return f'<ul class="strip">\n{items}{f"<li>{text(more)}</li>" if more else ""}</ul>'


def _item(id: str, hit: Hit | None, *, right: bool, rank: int | None) -> str:
    title = id if hit is None else plain(hit.attributes.get("title") or id)
    picture = None if hit is None else load_picture(hit.image)
    place = "" if rank is None else f'<span class="rank">{rank}</span>'
    told = title if hit is not None else f"{id}: not stored"
    return (
        f'<li{" class=right" if right else ""}><div class="picture"{frame(picture)}>'
        f"{picture_tag(picture, f'Picture of {title}')}{place}</div>"
        f'<span class="name" title="{text(told)}" lang="" dir="auto">{text(told)}</span></li>\n'
    )
