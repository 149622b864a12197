"""The ranking by one vector as a list without gaps: in one order, products of equal score never parted by a page.

Milvus returns equal scores in any order, so that two of its pages could show a product twice and miss another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mm_milvus.errors import ConfigError
from mm_milvus.search.cursor import place_in
from mm_milvus.search.order import NEIGHBOURS, read_hits
from mm_milvus.search.rescore import RESCORED
from mm_milvus.search.routes import Candidate, by_score
from mm_milvus.store import MAX_WINDOW

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mm_milvus.records import Hit, Query
    from mm_milvus.search.cursor import Cursor
    from mm_milvus.store import Collection
    from mm_milvus.store.filters import Filter

__all__ = ["Nearest"]


class Nearest:
    """Of the products that pass ``filter``, those with the highest inner product with ``vector`` (dim,).

    ``rescore`` may give the first ``RESCORED`` of them another order and other scores. Of the query, ``limit``,
    ``offset``, ``fields`` and ``explain`` count.
    """

    def __init__(
        self,
        collection: Collection,
        query: Query,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        rescore: Callable[[Sequence[Candidate]], list[Candidate]] | None = None,
    ) -> None:
        self._collection = collection
        self._query = query
        self._vector = vector
        self._filter = filter
        self._rescore = rescore
        self._head = RESCORED if rescore else 0
        self.following: tuple[str, ...] = ()  # after a page of what was compared again: what was to come next

    def page(self) -> tuple[list[Hit], bool]:
        """The hits of the page at the offset, and whether others follow. Raises ConfigError beyond Milvus' window."""
        limit, offset = self._query.limit, self._query.offset
        if offset + limit > MAX_WINDOW:
            raise ConfigError(
                f"offset and limit together must be at most {MAX_WINDOW:,}, got {offset + limit:,}"
            )
        if not self._head:
            # With the neighbours of the page, which tell whether equal scores are parted.
            before, after = min(offset, 1), min(1, MAX_WINDOW - offset - limit)
            found = self._collection.search(
                self._vector,
                filter=self._filter,
                limit=before + limit + after,
                offset=offset - before,
                fields=self._query.fields,
            )
            page, rest = found[before : before + limit], found[before + limit :]
            if not ((before and page and _tied(found[0], page[0])) or (rest and _tied(page[-1], rest[0]))):
                page.sort(key=by_score)
                if self._query.explain:
                    page = [replace(hit, scores={"vector": hit.score}) for hit in page]
                return page, bool(rest) or (not after and len(page) == limit)
        ranked, ended = self._first(offset + limit)
        self._follow(ranked[offset + limit :])
        return self._hits(ranked[offset : offset + limit]), not ended or len(ranked) > offset + limit

    def after(self, last: Cursor) -> tuple[list[Hit], bool]:
        """The hits after the place of ``last`` in the ranking, and whether others follow.

        What came in or went meanwhile shifts nothing. Raises ConfigError beyond the window of Milvus.
        """
        limit = self._query.limit
        wanted = last.seen + limit
        while True:
            ranked, ended = self._first(min(wanted, MAX_WINDOW))
            rest = self._after(ranked, last)
            enough = len(rest) > limit and not _tied(rest[limit - 1], rest[-1])
            if not (ended or enough or wanted >= MAX_WINDOW):
                wanted += limit + wanted // 4
                continue
            if not (rest or ended):
                raise ConfigError(
                    f"this ranking ends after {MAX_WINDOW:,} products; narrow the query with a filter"
                )
            self._follow(rest[limit:])
            return self._hits(rest[:limit]), len(rest) > limit or not ended

    def _after(self, ranked: list[Candidate], last: Cursor) -> list[Candidate]:
        """By score; scores of a second look depend on those beside them, so that there the neighbours tell it."""
        places = {found.id: place for place, found in enumerate(ranked)} if self._head else {}
        if (place := place_in(places, last)) is not None:
            return ranked[place:]
        return [found for found in ranked if by_score(found) > by_score(last)]

    def _follow(self, rest: Sequence[Candidate]) -> None:
        self.following = tuple(found.id for found in rest[:NEIGHBOURS]) if self._head else ()

    def _first(self, count: int) -> tuple[list[Candidate], bool]:
        """The ``count`` best and those that follow, so many that no equals of them are left out; and whether these
        are all.
        """
        count = max(count, self._head)
        size = min(count + 1, MAX_WINDOW)
        while True:
            found = self._collection.rank(self._vector, filter=self._filter, limit=size)
            ranked = sorted(
                (Candidate(id, score, {"vector": score}) for id, score in found.items()), key=by_score
            )
            ended = len(ranked) < size
            if ended or size == MAX_WINDOW or not _tied(ranked[count - 1], ranked[-1]):
                return (self._rescore(ranked) if self._rescore else ranked), ended
            size = min(4 * size, MAX_WINDOW)

    def _hits(self, candidates: Sequence[Candidate]) -> list[Hit]:
        return read_hits(candidates, self._collection, self._query.fields, explain=self._query.explain)


def _tied(one: Hit | Candidate, other: Hit | Candidate) -> bool:
    return by_score(one)[0] == by_score(other)[0]
