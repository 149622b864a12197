"""A copy of all products in this process, for what Milvus cannot do, or not exactly: words, facets, sorting.

It is read once and kept until the collection changes. An ingest of another process is seen when it begins and when it
ends; what it writes in between comes with the latter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mm_milvus.errors import NotSupported
from mm_milvus.store.filters import predicate

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.store.capabilities import Capabilities
    from mm_milvus.store.filters import Filter

    Mask = npt.NDArray[np.bool_]

__all__ = ["MOST_ROWS", "Mirror", "Mirrors"]

MOST_ROWS = 200_000  # some 300 MB of ordinary products, read in ten to twenty seconds
_FILTERS = 16  # whose answers are kept


class Mirror:
    """All products of one generation, by rising id."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.ids = [row["id"] for row in rows]
        self._passing: OrderedDict[Filter, Mask] = OrderedDict()

    def passing(self, filter: Filter | None) -> Mask:
        """(N,) which products pass, exactly as Milvus would find them."""
        if filter is None:
            return np.ones(len(self.rows), np.bool_)
        if (known := self._passing.get(filter)) is not None:
            self._passing.move_to_end(filter)
            return known
        mask = np.fromiter(map(predicate(filter), self.rows), np.bool_, len(self.rows))
        self._passing[filter] = mask
        if len(self._passing) > _FILTERS:
            self._passing.popitem(last=False)
        return mask


class _Source(Protocol):
    name: str
    capabilities: Capabilities

    @property
    def generation(self) -> str: ...

    def products(self) -> Iterable[dict[str, Any]]: ...


class Mirrors:
    """The mirror of a collection as it is now."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._generation: str | None = None
        self._mirror: Mirror | None = None
        self._too_large: str | None = None  # the generation of which that is known

    def get(self, purpose: str) -> Mirror:
        """Raises NotSupported for a collection that is too large for ``purpose``, a few words for the message."""
        generation = self._source.generation
        if generation == self._too_large:
            raise self._refusal(purpose)
        if self._mirror is None or generation != self._generation:
            self._mirror = None  # two of them need not fit the memory
            self._mirror, self._generation = Mirror(self._read(purpose)), generation
        return self._mirror

    def _read(self, purpose: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for row in self._source.products():
            if len(rows) == MOST_ROWS:
                self._too_large = self._source.generation
                raise self._refusal(purpose)
            rows.append(row)
        return rows

    def _refusal(self, purpose: str) -> NotSupported:
        return NotSupported(
            f"{purpose} on this Milvus ({self._source.capabilities.version}) takes at most {MOST_ROWS:,} products, "
            f"and {self._source.name!r} has more"
        )
