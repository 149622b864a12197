"""All stored rows, page by page, with those that are stored more than once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from mm_milvus.store.filters import quote

__all__ = ["pages", "with_copies"]

_ROWS = 10_000  # of a page; a server's limit is 16,384

Rows = list[dict[str, Any]]


class Query(Protocol):
    """Runs a query: expression, columns, options of pymilvus."""

    def __call__(self, expression: str, fields: list[str], **options: Any) -> Rows: ...


def pages(query: Query, fields: list[str], rows: int = _ROWS) -> Iterator[Rows]:
    """Every row once, by rising id, about ``rows`` at a time; ``fields`` holds ``id``.

    pymilvus' own iterator puts ids into filters without escaping them.
    """
    last = ""
    # A short page is not the last one: a server cuts it at the limit and only then leaves out repeated ids.
    while page := query(
        f"id > {quote(last)}",
        fields,
        limit=rows,
        consistency_level="Strong",
        iterator="True",  # pages by rising id
        reduce_stop_for_best="True",
    ):
        yield page
        last = page[-1]["id"]


def with_copies(query: Query, fields: list[str]) -> Iterator[Rows]:
    """Like ``pages``, with a row in its page as often as it is stored.

    Servers never return a second row of an id, but they count it.
    """
    after = ""
    for page in pages(query, fields):
        copies = _copies(query, [row["id"] for row in page], after)
        after = page[-1]["id"]
        yield [row for row in page for _ in range(copies.get(row["id"], 1))] if copies else page


def _copies(query: Query, ids: Sequence[str], after: str) -> dict[str, int]:
    """How often the ids are stored that are stored more than once, of these sorted ones that follow ``after``."""
    more = _count(query, ids, after, "Strong") - len(ids)
    if more <= 0:
        return {}
    found = _search(query, ids, after, "Bounded")  # 100 times faster, and seldom behind what was just read
    if sum(found.values()) - len(found) != more:
        found = _search(query, ids, after, "Strong")
    return found


def _search(query: Query, ids: Sequence[str], after: str, consistency: str) -> dict[str, int]:
    stored = _count(query, ids, after, consistency)
    if stored <= len(ids):
        return {}
    if len(ids) == 1:
        return {ids[0]: stored}
    middle = len(ids) // 2
    first = _search(query, ids[:middle], after, consistency)
    return first | _search(query, ids[middle:], ids[middle - 1], consistency)


def _count(query: Query, ids: Sequence[str], after: str, consistency: str) -> int:
    """Stored rows of the range that ends with the last id; of one id just its own: others may have come between."""
    last = quote(ids[-1])
    expression = f"id == {last}" if len(ids) == 1 else f"id > {quote(after)} and id <= {last}"
    (row,) = query(expression, ["count(*)"], consistency_level=consistency)
    return int(row["count(*)"])
