"""The ranking by one vector as a list without gaps: in one order, products of equal score never parted by a page.

Milvus returns equal scores in any order, so that two of its pages could show a product twice and miss another one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mm_milvus.errors import ConfigError
from mm_milvus.search.routes import by_score
from mm_milvus.store import MAX_WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from mm_milvus.records import Hit
    from mm_milvus.store import Collection
    from mm_milvus.store.filters import Filter

    Ranked = list[tuple[float, str]]  # as by_score sorts: the negative rounded score, and the id

__all__ = ["Nearest"]


class Nearest:
    """Of the products that pass ``filter``, those with the highest inner product with ``vector`` (dim,)."""

    def __init__(
        self, collection: Collection, vector: npt.NDArray[np.float32], filter: Filter | None
    ) -> None:
        self._collection = collection
        self._vector = vector
        self._filter = filter

    def page(self, limit: int, offset: int, fields: Sequence[str] | None) -> tuple[list[Hit], bool]:
        """The hits of one page, and whether others follow. Raises ConfigError beyond the window of Milvus."""
        if offset + limit > MAX_WINDOW:
            raise ConfigError(
                f"offset and limit together must be at most {MAX_WINDOW:,}, got {offset + limit:,}"
            )
        # With the neighbours of the page, which tell whether equal scores are parted.
        before, after = min(offset, 1), min(1, MAX_WINDOW - offset - limit)
        found = self._collection.search(
            self._vector,
            filter=self._filter,
            limit=before + limit + after,
            offset=offset - before,
            fields=fields,
        )
        page, rest = found[before : before + limit], found[before + limit :]
        parted = bool(before and page and _tied(found[0], page[0])) or bool(rest and _tied(page[-1], rest[0]))
        if parted:
            ranked, ended = self._first(offset + limit)
            more = not ended or len(ranked) > offset + limit
            return self._hits(ranked[offset : offset + limit], fields), more
        page.sort(key=by_score)
        return page, bool(rest) or (not after and len(page) == limit)

    def after(
        self, last: tuple[float, str], seen: int, limit: int, fields: Sequence[str] | None
    ) -> tuple[list[Hit], bool]:
        """The hits after the place of ``last`` in the ranking, and whether others follow.

        ``seen`` is how many came before, by and large: what came in meanwhile shifts nothing. Raises ConfigError
        beyond the window of Milvus.
        """
        wanted = seen + limit
        while True:
            ranked, ended = self._first(min(wanted, MAX_WINDOW))
            rest = [place for place in ranked if place > last]
            enough = len(rest) > limit and rest[limit - 1][0] != rest[-1][0]
            if not (ended or enough or wanted >= MAX_WINDOW):
                wanted += limit + wanted // 4
                continue
            if not (rest or ended):
                raise ConfigError(
                    f"this ranking ends after {MAX_WINDOW:,} products; narrow the query with a filter"
                )
            return self._hits(rest[:limit], fields), len(rest) > limit or not ended

    def _first(self, count: int) -> tuple[Ranked, bool]:
        """The ``count`` best and those that follow, so many that no equals of them are left out; and whether that is
        all.
        """
        size = min(count + 1, MAX_WINDOW)
        while True:
            found = self._collection.rank(self._vector, filter=self._filter, limit=size)
            ranked = sorted((-round(score, 6), id) for id, score in found.items())
            ended = len(ranked) < size
            if ended or size == MAX_WINDOW or ranked[count - 1][0] != ranked[-1][0]:
                return ranked, ended
            size = min(4 * size, MAX_WINDOW)

    def _hits(self, ranked: Ranked, fields: Sequence[str] | None) -> list[Hit]:
        scores = {id: -negative for negative, id in ranked}
        found = self._collection.get(list(scores), fields, self._collection.consistency)
        return [replace(hit, score=scores[hit.id]) for hit in found]


def _tied(one: Hit, other: Hit) -> bool:
    return by_score(one)[0] == by_score(other)[0]
