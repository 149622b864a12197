"""A copy of all products in this process, for what Milvus cannot do, or not exactly: words, facets, sorting.

It is read once and kept until the collection changes. What an ingest of another process has written is seen after a
while as it goes on, and at once when it ends.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mm_milvus.errors import NotSupported
from mm_milvus.store.filters import predicate
from mm_milvus.store.generation import Kept

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.store.capabilities import Capabilities
    from mm_milvus.store.filters import Filter

    Mask = npt.NDArray[np.bool_]

__all__ = ["MOST_ROWS", "Mirror", "Mirrors"]

MOST_ROWS = 200_000  # some 300 MB of ordinary products, read in a second or two
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
        self._kept = Kept(lambda: source.generation, self._read)

    def get(self, purpose: str) -> Mirror:
        """Raises NotSupported for a collection that is too large for ``purpose``, a few words for the message."""
        if (mirror := self._kept.get()) is None:
            raise self._refusal(purpose)
        return mirror

    def has(self, mirror: Mirror) -> bool:
        """Whether ``get`` would give this one."""
        return self._kept.has(mirror)

    def _read(self) -> Mirror | None:
        """None for too many products."""
        rows = list(islice(self._source.products(), MOST_ROWS + 1))
        return Mirror(rows) if len(rows) <= MOST_ROWS else None

    def _refusal(self, purpose: str) -> NotSupported:
        return NotSupported(
            f"{purpose} on this Milvus ({self._source.capabilities.version}) takes at most {MOST_ROWS:,} products, "
            f"and {self._source.name!r} has more"
        )
