"""A page of hits as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .text import counted, decimals, is_number, one_line, plain, products, shown_value

if TYPE_CHECKING:
    from rich.table import Table

    from mm_milvus.records import FacetCounts, Hit, Page, Query

__all__ = [
    "INEXACT",
    "attribute_names",
    "explain_lines",
    "facet_lines",
    "facet_notes",
    "facet_rows",
    "page_table",
    "summary",
]

INEXACT = "of the best candidates only"  # what a facet without all products was counted in

# Shown first, where products have them: what people compare products by.
_PREFERRED = (
    "price",
    "currency",
    "color",
    "colour",
    "brand",
    "category",
    "size",
    "style",
    "gender",
    "material",
)
_TOLD_ELSEWHERE = frozenset({"id", "title", "description", "image", "images", "text"})
_ID_WIDTH, _EXTRA_WIDTH, _CHOSEN_WIDTH = 36, 20, 40
_TITLE_SHARE = 0.36  # of the width goes to the titles before attributes get any
_GAP = 2


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cells: tuple[str, ...]
    width: int
    right: bool = False


def page_table(page: Page, *, width: int, fields: Sequence[str] | None = None) -> Table:
    """Rank, score, id and title, then ``fields``, or the useful attributes for which there is room."""
    from rich.table import Column, Table
    from rich.text import Text

    columns = _fitting(page, width, fields)
    table = Table(
        *(
            Column(
                Text(one_line(column.name)),
                justify="right" if column.right else "left",
                no_wrap=True,
                overflow="ellipsis",
                width=column.width,
            )
            for column in columns
        ),
        box=None,
        padding=(0, _GAP, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    return table


def facet_lines(page: Page) -> Iterator[str]:
    """``color: red 12 · blue 9 · 3 more values``, a line for each facet."""
    for facet in page.facets:
        parts = [f"{label} {count:,}" for label, count in facet_rows(facet)] + facet_notes(facet)
        note = "" if facet.exact else f" ({INEXACT})"
        yield f"{one_line(facet.field)}: {one_line(' · '.join(parts)) or 'no values'}{note}"


def facet_rows(facet: FacetCounts) -> list[tuple[str, int]]:
    """What was counted, values or ranges, with the number of products."""
    values = [(plain(value), count) for value, count in facet.counts]
    return values + [(_range(low, high), count) for low, high, count in facet.ranges]


def facet_notes(facet: FacetCounts) -> list[str]:
    """What else there is: further values, the least and the greatest number, products without a value."""
    notes = [counted(facet.others, "more value")] if facet.others else []
    if facet.min is not None and facet.max is not None:
        notes.append(f"from {plain(facet.min)} to {plain(facet.max)}")
    return [*notes, f"none {facet.missing:,}"] if facet.missing else notes


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"below {plain(high)}"
    return f"{plain(low)} and more" if high is None else f"{plain(low)} to {plain(high)}"


def summary(page: Page, query: Query) -> str:
    """``5 of 84 products · 31 ms``, with the ranks instead of the count after an offset, in groups if asked for."""
    grouped = query.group_by is not None
    total = counted(page.total, "group") if grouped else products(page.total)
    if not page.hits:
        if not page.total:
            return "no products match"
        found = f"{total} match" if grouped else f"{page.total} match"
        return f"no products from {'group' if grouped else 'rank'} {page.offset + 1} on: {found}"
    bound = "" if page.total_exact else "at least "
    if grouped and query.group_size > 1:
        shown = f"{products(len(page.hits))} out of"
    else:
        last = page.offset + len(page.hits)
        shown = f"{page.offset + 1}-{last} of" if page.offset else f"{len(page.hits)} of"
    return f"{shown} {bound}{total} · {page.took_ms:.0f} ms"


def attribute_names(hits: Sequence[Hit]) -> list[str]:
    """Names of the attributes that a short view shows, the most telling first; long texts are left out."""
    names = dict.fromkeys(name for hit in hits for name in hit.attributes)
    wanted = [name for name in names if not name.startswith("mm_") and name.lower() not in _TOLD_ELSEWHERE]
    order = {name: rank for rank, name in enumerate(_PREFERRED)}
    short = [name for name in wanted if not any(_is_long(hit.attributes.get(name)) for hit in hits)]
    return sorted(short, key=lambda name: (_is_rare(name, hits), order.get(name.lower(), len(order))))


def _is_rare(name: str, hits: Sequence[Hit]) -> bool:
    return 2 * sum(name in hit.attributes for hit in hits) < len(hits)


def _is_long(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and len(value) > 60)


def _fitting(page: Page, width: int, fields: Sequence[str] | None) -> list[_Column]:
    """The columns with their widths; the title takes what the others leave."""
    scored = any(hit.score for hit in page.hits)  # not where there was nothing to search for
    fixed = [_ranks(page), *([_scores(page)] if scored else []), *_routes(page.hits)]
    fixed.append(_column("id", [hit.id for hit in page.hits], _ID_WIDTH))
    title = _title(page.hits)
    reserved = min(title.width, round(width * _TITLE_SHARE)) + _GAP if title else 0
    room = width + _GAP - _total(fixed) - reserved
    extras = list(_extras(page.hits, room, fields))
    if not title:
        return [*fixed, *extras]
    left = width - _total(fixed) - _total(extras)
    return [*fixed, _Column("title", title.cells, max(min(title.width, left), 8)), *extras]


def _extras(hits: Sequence[Hit], room: int, fields: Sequence[str] | None) -> Iterator[_Column]:
    for name in attribute_names(hits) if fields is None else fields:
        if fields is not None and name in ("id", "title"):
            continue
        cap = _EXTRA_WIDTH if fields is None else _CHOSEN_WIDTH
        column = _attribute(name, hits, cap)
        room -= column.width + _GAP
        if fields is None and room < 0:
            return
        yield column


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width + _GAP for column in columns)


def _ranks(page: Page) -> _Column:
    return _column("#", [str(page.offset + place) for place in range(1, len(page.hits) + 1)], 9, right=True)


def _scores(page: Page) -> _Column:
    return _column("score", [f"{hit.score:.3f}" for hit in page.hits], 9, right=True)


def _routes(hits: Sequence[Hit]) -> Iterator[_Column]:
    """What each route gave, where it was asked for."""
    for name in dict.fromkeys(name for hit in hits for name in hit.scores):
        cells = [f"{hit.scores[name]:.3f}" if name in hit.scores else "" for hit in hits]
        yield _column(name, cells, 9, right=True)


def _title(hits: Sequence[Hit]) -> _Column | None:
    titles = [shown_value(hit.attributes.get("title", ""), 0) for hit in hits]
    return _column("title", titles, 10**6) if any(titles) else None


def _attribute(name: str, hits: Sequence[Hit], cap: int) -> _Column:
    values = [hit.attributes.get(name) for hit in hits]
    present = [value for value in values if value is not None]
    places = decimals(present)
    cells = ["" if value is None else shown_value(value, places) for value in values]
    return _column(name, cells, cap, right=bool(present) and all(map(is_number, present)))


def _column(name: str, cells: Sequence[str], cap: int, *, right: bool = False) -> _Column:
    from rich.cells import cell_len

    cleaned = tuple(one_line(cell) for cell in cells)
    widest = max([cell_len(one_line(name)), *map(cell_len, cleaned)])
    return _Column(name, cleaned, min(widest, cap), right)


def explain_lines(page: Page) -> Iterator[str]:
    """How the ranking was made: its signals with their weights, and its constants."""
    if not page.explain:
        return
    signals = page.explain.get("signals", ())
    if signals:
        parts = (f"{part['kind']} {one_line(part['value'])!r} {part['weight']:g}" for part in signals)
        yield f"signals: {' · '.join(parts)}"
    told = (
        f"{name} {f'{value:.3g}' if is_number(value) else value}"
        for name, value in page.explain.items()
        if name != "signals"
    )
    yield f"ranking: {' · '.join(told)}"
