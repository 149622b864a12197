"""A page of hits as one self-contained HTML file: no scripts, nothing loaded but pictures that are URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .html_parts import NO_PICTURE, document, frame, picture_tag, signal_list, text
from .table import INEXACT, attribute_names, facet_notes, facet_rows, summary
from .text import plain
from .thumbnails import load_picture

if TYPE_CHECKING:
    from mm_milvus.records import FacetCounts, Hit, Page, Query

__all__ = ["render"]

_MOST_ATTRIBUTES = 6
_PRICES = ("price", "preis")
_CURRENCIES = ("currency", "price_currency", "währung", "waehrung")


def render(query: Query, page: Page) -> str:
    """The web page of an answer. Everything that comes from the catalog or the query is escaped."""
    names = attribute_names(page.hits) if query.fields is None else list(query.fields)
    scored = bool(query.signals)  # nothing is the best where nothing was searched for
    cards = "\n".join(
        _card(page.offset + place, hit, names, scored=scored) for place, hit in enumerate(page.hits, start=1)
    )
    answer = f'<ol class="grid" start="{page.offset + 1}">\n{cards}\n</ol>' if page.hits else _EMPTY
    body = f"""<header>
<h1 class="hidden">Products for this query</h1>
<ul class="signals" aria-label="Query">
{signal_list(query.signals)}</ul>
<div class="meta"><p>{text(summary(page, query))}</p>{_filter(query.filter)}</div>
</header>
<main{' class="faceted"' if page.facets else ""}>
{_facets(page)}{answer}
</main>"""
    return document(text(_headline(query)), body)


_EMPTY = f'<div class="empty">{NO_PICTURE}<p>No products match.</p></div>'


def _headline(query: Query) -> str:
    return ", ".join(signal.value for signal in query.signals if signal.kind == "text") or "products"


def _filter(expression: object) -> str:
    given = isinstance(expression, str) and expression
    return f'<p class="filter">where <code dir="ltr">{text(expression)}</code></p>' if given else ""


def _facets(page: Page) -> str:
    if not page.facets:
        return ""
    return f'<aside class="facets" aria-label="Facets">\n{"".join(map(_facet, page.facets))}</aside>\n'


def _facet(facet: FacetCounts) -> str:
    """Values or ranges with their counts, the bars as shares of the most frequent one."""
    rows = facet_rows(facet)
    most = max((count for _, count in rows), default=0) or 1
    items = "".join(
        f'<li><span lang="" dir="auto">{text(label)}</span><b>{count:,}</b>'
        f'<span class="bar" aria-hidden="true"><i style="width:{count / most:.1%}"></i></span></li>\n'
        for label, count in rows
    )
    notes = [*([] if rows else ["no values"]), *facet_notes(facet), *([] if facet.exact else [INEXACT])]
    told = f'<p class="notes">{text(" · ".join(notes))}</p>' if notes else ""
    counts = f"<ul>\n{items}</ul>" if rows else ""
    return f'<section class="facet"><h2>{text(_words(facet.field))}</h2>\n{counts}{told}</section>\n'


def _words(name: str) -> str:
    return name.replace("_", " ")


def _card(rank: int, hit: Hit, names: list[str], *, scored: bool) -> str:
    title = plain(hit.attributes.get("title") or hit.id)
    picture = load_picture(hit.image)
    return f"""<li><article class="card">
<div class="picture"{frame(picture)}>{picture_tag(picture, f"Picture of {title}")}<span class="rank">{rank}</span></div>
<div class="body">
{_score(hit) if scored else ""}<h2 lang="" dir="auto">{text(title)}</h2>
{_price(hit)}{_description(hit, names)}{_attributes(hit, names)}<p class="id" title="id" dir="auto">{text(hit.id)}</p>
</div>
</article></li>"""


def _score(hit: Hit) -> str:
    """The score with a bar, and below it what each route gave, where that was asked for."""
    share = min(max(hit.score, 0.0), 1.0)
    routes = "".join(f"<span>{text(name)} {score:.3f}</span> " for name, score in hit.scores.items())
    told = f'<p class="routes" title="score of each route">{routes}</p>\n' if routes else ""
    return f"""<div class="score"><span class="bar" aria-hidden="true"><i style="width:{share:.1%}"></i></span>\
<span title="score">{hit.score:.3f}</span></div>
{told}"""


def _price(hit: Hit) -> str:
    price_name, currency_name = _price_names(hit)
    price = hit.attributes.get(price_name or "")
    if price is None:
        return ""
    amount = f"{price:,.2f}" if isinstance(price, float) else plain(price)
    currency = hit.attributes.get(currency_name or "")
    unit = f" <small>{text(plain(currency))}</small>" if currency else ""
    return f'<p class="price">{text(amount)}{unit}</p>\n'


def _price_names(hit: Hit) -> tuple[str | None, str | None]:
    """The attributes that hold the price and its currency, however the catalog spells them."""
    names = {re.sub(r"[\W_]+", "_", name.strip()).lower(): name for name in hit.attributes}
    price = next((name for name in _PRICES if name in names), None)
    own = (f"{price}_currency",) if price else ()
    currency = next((name for name in (*own, *_CURRENCIES) if name in names), None)
    return names.get(price or ""), names.get(currency or "")


def _description(hit: Hit, names: list[str]) -> str:
    told = hit.attributes.get("description")
    if told is None or "description" in names:
        return ""
    return f'<p class="description" lang="" dir="auto">{text(plain(told))}</p>\n'


def _attributes(hit: Hit, names: list[str]) -> str:
    pairs = list(_pairs(hit, names))[:_MOST_ATTRIBUTES]
    return f"<dl>{''.join(pairs)}</dl>\n" if pairs else ""


def _pairs(hit: Hit, names: list[str]) -> Iterator[str]:
    shown = {"id", "title", *_price_names(hit)}
    for name in names:
        value = hit.attributes.get(name)
        if value is not None and value != "" and name not in shown:
            yield f'<div><dt>{text(_words(name))}</dt><dd lang="" dir="auto">{_value(value)}</dd></div>'


def _value(value: Any) -> str:
    """Web addresses become links; any other scheme (javascript:, data:) stays text."""
    if not isinstance(value, str) or not (host := _web_host(value)):
        return text(plain(value))
    return f'<a href="{escape(value, quote=True)}" rel="noopener noreferrer nofollow" target="_blank">{text(host)}</a>'


def _web_host(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        usable = (
            parts.scheme in ("http", "https") and value.isprintable() and not any(map(str.isspace, value))
        )
        return parts.hostname if usable else None
    except ValueError:
        return None
