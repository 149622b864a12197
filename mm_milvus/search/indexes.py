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
    from collections.abc import Sequence

    from mm_milvus.records import Facet, FacetCounts, FieldType
    from mm_milvus.search.words import Scores
    from mm_milvus.store import Collection, Mirror
    from mm_milvus.store.filters import Filter

__all__ = ["Index", "Indexes"]

_COUNTS = 256  # that are kept
_OFTEN = 20  # queries by words
_TEXTS = 4_000  # that are cut into words at a time: some 50 ms


class Index:
    """Of the products of one mirror."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self._words = WordIndex()
        self._scored: tuple[str, Scores] = "", np.zeros(len(mirror.rows))  # one query asks twice
        self._counts: OrderedDict[tuple[Facet, Filter | None], FacetCounts] = OrderedDict()

    @property
    def words(self) -> WordIndex:
        self.read_words(len(self.mirror.rows))
        return self._words

    def read_words(self, most: int) -> bool:
        """Goes on with at most so many texts, and says whether all are in the index of words."""
        done = len(self._words)
        self._words.add(row["text"] for row in self.mirror.rows[done : done + most])
        return len(self._words) == len(self.mirror.rows)

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
        scores = self._scores(tokens)
        found = np.flatnonzero((scores > 0) & self.mirror.passing(filter) if filter else scores > 0)
        best = found[np.argsort(-scores[found], kind="stable")[:limit]]
        return {self.mirror.ids[place]: float(scores[place]) for place in best}

    def score_words(self, tokens: str, ids: Sequence[str]) -> dict[str, float]:
        """What ``rank_words`` would give for these products; those that have none of the tokens are left out."""
        scores = self._scores(tokens)
        places = {id: place for id in ids if (place := self._places.get(id)) is not None}
        return {id: float(scores[place]) for id, place in places.items() if scores[place] > 0}

    def _scores(self, tokens: str) -> Scores:
        """(N,) of all products; not to be changed."""
        if self._scored[0] != tokens:
            self._scored = tokens, self.words.scores(tokens.split())
        return self._scored[1]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {id: place for place, id in enumerate(self.mirror.ids)}


class Indexes:
    """The index of a collection as it is now."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._index: Index | None = None
        self._asked: tuple[str, int] = "", 0  # for words: at which generation, how often

    def get(self, purpose: str) -> Index:
        """Raises NotSupported for a collection that is too large for ``purpose``, a few words for the message."""
        if (index := self._current()) is None:
            index = self._index = Index(self._collection.mirror(purpose))
        return index

    def for_words(self) -> Index | None:
        """What ranks by words in this process; None where Milvus is to do it.

        Milvus Lite takes .8 ms per thousand products for that, an index in memory .02 ms. A client that asks for
        words again and again reads the products along the way, some with each query, so that none has to wait for all.
        """
        capabilities = self._collection.capabilities
        if not capabilities.bm25:
            return self.get("a search by words")
        if not capabilities.lite:
            return None
        if (index := self._current()) is None:
            if not self._often() or (mirror := self._collection.mirror_ahead()) is None:
                return None
            index = self._index = Index(mirror)
        return index if index.read_words(_TEXTS) else None

    def _current(self) -> Index | None:
        if self._index is not None and not self._collection.has_mirror(self._index.mirror):
            self._index = None  # before the next one is read: both need not fit the memory
        return self._index

    def _often(self) -> bool:
        """Whether words were asked for so often since the last change that it will go on like that."""
        generation, times = self._asked
        now = self._collection.generation
        self._asked = now, times + 1 if now == generation else 1
        return self._asked[1] > _OFTEN
