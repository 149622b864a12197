"""What is made of the products in memory: an index of their words, and counts of their values."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.search.facets import count_values, without
from mm_milvus.search.words import WordIndex

if TYPE_CHECKING:
    from mm_milvus.records import Facet, FacetCounts, FieldType
    from mm_milvus.store import Collection, Mirror
    from mm_milvus.store.filters import Filter

__all__ = ["Index", "Indexes"]

_COUNTS = 256  # that are kept


class Index:
    """Of the products of one mirror."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self._counts: OrderedDict[tuple[Facet, Filter | None], FacetCounts] = OrderedDict()

    @cached_property
    def words(self) -> WordIndex:
        return WordIndex(row["text"] for row in self.mirror.rows)

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

    def rank_words(self, tokens: str, filter: Filter | None, limit: int) -> dict[str, float]:
        """As ``Collection.rank_words``; products of equal score by rising id."""
        scores = self.words.scores(tokens.split())
        found = np.flatnonzero((scores > 0) & self.mirror.passing(filter) if filter else scores > 0)
        best = found[np.argsort(-scores[found], kind="stable")[:limit]]
        return {self.mirror.ids[place]: float(scores[place]) for place in best}


class Indexes:
    """The index of a collection as it is now."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._index: Index | None = None

    def get(self, purpose: str) -> Index:
        """Raises NotSupported for a collection that is too large for ``purpose``, a few words for the message."""
        if self._index is None or not self._collection.has_mirror(self._index.mirror):
            self._index = None  # before the next one is read: both need not fit the memory
            self._index = Index(self._collection.mirror(purpose))
        return self._index
