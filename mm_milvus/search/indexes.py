"""What is made of the products in memory: an index of their words, and counts of their values."""

from __future__ import annotations

from collections import OrderedDict
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.search.facets import count_values, without
from mm_milvus.search.words import RankedWords
from mm_milvus.store import MOST_ROWS, Kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mm_milvus.records import Facet, FacetCounts, FieldType
    from mm_milvus.store import Collection, Mirror
    from mm_milvus.store.filters import Filter

__all__ = ["Index", "Indexes"]

_COUNTS = 256  # that are kept
_BY_WORDS = "a search by words"


class Index:
    """Of the values of the products of one mirror."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self._counts: OrderedDict[tuple[Facet, Filter | None], FacetCounts] = OrderedDict()

    def counts(self, facet: Facet, filter: Filter | None, kind: FieldType) -> FacetCounts:
        """Of the products that pass, whatever the filter says of this attribute itself."""
        others = without(filter, facet.field)
        key = (facet, others)
        if key not in self._counts:
            passing = compress(self.mirror.rows, self.mirror.passing(others))
            self._counts[key] = count_values(facet, kind, passing)
        self._counts.move_to_end(key)
        if len(self._counts) > _COUNTS:
            self._counts.popitem(last=False)
        return self._counts[key]


class Indexes:
    """Those of a collection as it is now."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._index: Index | None = None
        self._words = Kept(lambda: collection.generation, self._read_words)

    def get(self, purpose: str) -> Index:
        """Raises NotSupported for a collection that is too large for ``purpose``, a few words for the message."""
        if self._index is not None and not self._collection.has_mirror(self._index.mirror):
            self._index = None  # before the next one is read: both need not fit the memory
        if self._index is None:
            self._index = Index(self._collection.mirror(purpose))
        return self._index

    def for_words(self) -> RankedWords | None:
        """What ranks by words in this process; None where Milvus is to do it.

        Milvus Lite weighs a word by how rare it is in each file of rows by itself, and every ingest makes one: after a
        change of two products, the words of these two would count next to nothing. It does where there are too many
        products to be read.
        """
        capabilities = self._collection.capabilities
        if capabilities.bm25 and not (capabilities.lite and self._collection.total(None)[0] <= MOST_ROWS):
            return None
        return self._words.get()

    def _read_words(self) -> RankedWords:
        return RankedWords(*self._collection.tokens(_BY_WORDS), self._passing)

    def _passing(self, filter: Filter, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(N,) which of these products pass; they may have changed since their ids were read."""
        mirror = self._collection.mirror(_BY_WORDS)
        mask = mirror.passing(filter)
        if mirror.ids == ids:
            return mask
        passing = set(compress(mirror.ids, mask))
        return np.fromiter((id in passing for id in ids), np.bool_, len(ids))
