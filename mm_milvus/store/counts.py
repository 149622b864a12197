"""Counts of products on Milvus Lite, remembered until the collection changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mm_milvus.store.generation import Reading
from mm_milvus.store.mirror import MOST_ROWS

if TYPE_CHECKING:
    from mm_milvus.store.collection import Collection
    from mm_milvus.store.filters import Filter

    Count = tuple[int, bool]  # and whether that is exact

__all__ = ["Counts"]

_REMEMBERED = 64
_COUNTED = 1_000  # by Milvus Lite, which builds every row that it counts by a filter, 35 µs each


class Counts:
    """How many products of a collection pass a filter."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._known: dict[Filter | None, Count] = {}
        self._reading: Reading | None = None

    def get(self, filter: Filter | None) -> Count:
        generation = self._collection.generation
        current = self._reading is not None and self._reading.holds(generation)
        if not current or len(self._known) > _REMEMBERED:
            now = time.monotonic()
            self._known.clear()
            self._reading = Reading(generation, now, now)
        if filter not in self._known:
            self._known[filter] = self._count(filter)
        return self._known[filter]

    def _count(self, filter: Filter | None) -> Count:
        collection = self._collection
        if filter is None:
            return collection.count(None, collection.consistency), True
        if self.get(None)[0] <= MOST_ROWS and (found := collection.count_here(filter)) is not None:
            return found, True
        found = collection.count_to(filter, _COUNTED + 1)
        return (_COUNTED, False) if found == _COUNTED + 1 else (found, True)
