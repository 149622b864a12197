"""Counts of products, remembered until the collection changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mm_milvus.store.generation import Reading

if TYPE_CHECKING:
    from mm_milvus.store.filters import Filter

    Count = tuple[int, bool]  # and whether that is exact

__all__ = ["Counts"]

_REMEMBERED = 64


class Counts:
    """How many products pass a filter."""

    def __init__(self, generation: Callable[[], str], count: Callable[[Filter | None], Count]) -> None:
        self._generation = generation
        self._count = count
        self._known: dict[Filter | None, Count] = {}
        self._reading: Reading | None = None

    def get(self, filter: Filter | None) -> Count:
        generation = self._generation()
        current = self._reading is not None and self._reading.holds(generation)
        if not current or len(self._known) > _REMEMBERED:
            now = time.monotonic()
            self._known.clear()
            self._reading = Reading(generation, now, now)
        if filter not in self._known:
            self._known[filter] = self._count(filter)
        return self._known[filter]
