"""Routes rank products each in its own way, by vector and by words; here their rankings become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.search.cursor import position
from mm_milvus.search.parts import signal_text
from mm_milvus.store import MAX_WINDOW
from mm_milvus.store.filters import ids_filter
from mm_milvus.store.tokens import tokenize, tokenize_query

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.fusion import Fusion
    from mm_milvus.records import Hit, Query, Signal
    from mm_milvus.search.cursor import Cursor
    from mm_milvus.search.indexes import Indexes
    from mm_milvus.store import Collection
    from mm_milvus.store.filters import Filter

    Array = npt.NDArray[np.float32]

__all__ = ["POOL", "Candidate", "Ranking", "by_score", "mode_of", "pools_of", "rank", "word_signals"]

POOL = 1_000  # candidates of each route: what is ordered, grouped and combined
_FIRST_PAGES = (
    100  # that many do for the first pages of a plain ranking: a thousand take several times as long
)
_ALL = 10**9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product on its way to the page. ``scores`` holds what each route gave, as far as it is known."""

    id: str
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, best first. ``complete`` when there is no further product that could be one."""

    candidates: Sequence[Candidate]
    complete: bool
    explain: Mapping[str, Any] = field(default_factory=dict)
    sound: bool = True  # the page that was asked for is what larger pools would give
    notices: tuple[str, ...] = ()  # of the reranker


def by_score(found: Candidate | Hit | Cursor) -> tuple[float, str]:
    """Sorts the best first. Milvus returns equal scores in any order, and servers differ in the seventh digit."""
    return -round(found.score, 6), found.id


def mode_of(query: Query) -> str:
    """The mode that "auto" stands for: hybrid for words alone. Raises ConfigError for one that needs words."""
    words = word_signals(query.signals)
    if query.mode in ("text", "hybrid") and not words:
        if wordless := _looked_for(query.signals):  # of emoji or punctuation alone
            raise ConfigError(
                f"the mode {query.mode!r} looks for words, and {signal_text(wordless[0])!r} has none"
            )
        raise ConfigError(f"the mode {query.mode!r} needs a text with a weight above 0")
    if query.mode == "text" and len(_looked_for(query.signals)) < len(query.signals):
        raise ConfigError(
            "the mode 'text' compares words only; leave out pictures, products and negative weights"
        )
    if query.mode != "auto":
        return query.mode
    return "hybrid" if words and all(signal.kind == "text" for signal in query.signals) else "vector"


def word_signals(signals: Sequence[Signal]) -> list[Signal]:
    """Texts that are looked for by their words: those that do not push away, and that have words."""
    return [signal for signal in _looked_for(signals) if tokenize(signal_text(signal))]


def _looked_for(signals: Sequence[Signal]) -> list[Signal]:
    return [s for s in signals if s.kind == "text" and (s.weight is None or s.weight > 0)]


def rank(
    query: Query,
    vector: Array | None,
    collection: Collection,
    indexes: Indexes,
    filter: Filter | None,
    pool: int,
) -> Ranking:
    """The candidates of a query with signals, of each route the ``pool`` best.

    ``vector`` (dim,) is the query vector, None in the mode "text".
    """
    by_words = by_vector = None
    if vector is not None:
        by_vector = collection.rank(vector, filter=filter, limit=pool)
    mode = mode_of(query)
    words = _Words(word_signals(query.signals), collection, indexes) if mode != "vector" else None
    if words:
        by_words = words.rank(filter, pool)
    longest = max(len(found or ()) for found in (by_vector, by_words))
    explain: dict[str, Any] = {"mode": mode}
    sound = True
    if by_vector is None:
        assert by_words is not None
        scores = by_words
    elif by_words is None or words is None or vector is None:
        scores = by_vector
    elif query.combine == "rrf":
        scores = _reciprocal_ranks(query.rrf_k, by_vector, by_words)
        explain |= {"combine": "rrf", "k": query.rrf_k}
    else:
        floor = _expected(vector, collection.stamp.vectors, by_vector)
        needed = _needed(query)
        joined = _Weighted(query.alpha, floor, by_vector, by_words, pool)
        joined.by_vector |= collection.inner_products(vector, joined.unknown_vectors(needed))
        joined.by_words |= words.score(joined.unknown_words(needed))
        by_vector, by_words = joined.by_vector, joined.by_words
        scores = joined.scores()
        sound = needed == _ALL or joined.is_sound(needed, scores)
        explain |= {"combine": "weighted", "alpha": query.alpha, "vector_expected": floor}
    routes = {"vector": by_vector, "text": by_words}
    candidates = [
        Candidate(id, score, {name: found[id] for name, found in routes.items() if found and id in found})
        for id, score in scores.items()
    ]
    candidates.sort(key=by_score)
    return Ranking(candidates, longest < pool, explain, sound)


def pools_of(query: Query) -> Sequence[int]:
    """How many candidates to ask each route for, one after the other until the page is sure.

    Few do for most first pages of what is neither reordered nor chosen from; too few groups may be among the best.
    """
    if query.group_by is not None and not (query.rerank or query.sort or query.boosts):
        return (POOL, 4 * POOL, MAX_WINDOW)
    plain = mode_of(query) == "hybrid" and query.combine == "weighted"
    return (min(_FIRST_PAGES, POOL), POOL) if plain and _needed(query) <= _FIRST_PAGES // 2 else (POOL,)


def _needed(query: Query) -> int:
    """How many of the best are asked for, up to this page and one more; all, where they are to be reordered."""
    if query.boosts or query.rerank or query.sort or query.group_by or query.min_score is not None:
        return _ALL
    seen = query.offset if query.cursor is None else position(query).seen
    return seen + query.limit + 1


class _Words:
    """BM25 of the texts of a query, by Milvus or in this process, whichever ``indexes`` chooses for both steps."""

    def __init__(self, signals: Sequence[Signal], collection: Collection, indexes: Indexes) -> None:
        total = sum(signal.weight or 1.0 for signal in signals)
        self._shares = [
            (tokenize_query(signal_text(signal)), (signal.weight or 1.0) / total) for signal in signals
        ]
        self._collection = collection
        self._index = indexes.for_words()

    def rank(self, filter: Filter | None, pool: int) -> dict[str, float]:
        """id -> weighted mean of the BM25 of the texts, best first; of each text the best ``pool``."""
        if self._index is not None:
            index = self._index
            return self._mean(lambda tokens: index.rank_words(tokens, filter, pool))
        return self._mean(lambda tokens: self._collection.rank_words(tokens, filter=filter, limit=pool))

    def score(self, ids: Sequence[str]) -> dict[str, float]:
        """What ``rank`` would have given for products that were not among its best."""
        if not ids:
            return {}
        if self._index is not None:
            index = self._index
            return self._mean(lambda tokens: index.score_words(tokens, ids))
        return self.rank(ids_filter(ids), len(ids))

    def _mean(self, scored: Callable[[str], Mapping[str, float]]) -> dict[str, float]:
        scores: dict[str, float] = {}
        for tokens, share in self._shares:
            for id, score in scored(tokens).items():
                scores[id] = scores.get(id, 0.0) + share * score
        return dict(sorted(scores.items(), key=lambda pair: (-pair[1], pair[0])))


def _reciprocal_ranks(k: int, *rankings: Mapping[str, float]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for ranking in rankings:
        for place, id in enumerate(ranking, start=1):
            scores[id] = scores.get(id, 0.0) + 1 / (k + place)
    return scores


class _Weighted:
    """alpha (v - floor) / (max v - floor) + (1 - alpha) w / max w, both parts within 0..1.

    ``floor`` is what any product would have. The lowest score of the pool, which is usually taken, would depend on the
    size of the pool. What a route did not give is at most what it gave last: that says which products have to be looked
    up, and whether the page could be another one (Fagin's threshold algorithm).
    """

    def __init__(
        self,
        alpha: float,
        floor: float,
        by_vector: Mapping[str, float],
        by_words: Mapping[str, float],
        pool: int,
    ) -> None:
        self.by_vector, self.by_words = dict(by_vector), dict(by_words)  # what is known by now
        self._alpha, self._floor = alpha, floor
        self._span = max(by_vector.values(), default=0.0) - floor
        self._most = max(by_words.values(), default=0.0)
        self._all_known = len(by_vector) < pool
        more_words = len(by_words) >= pool
        self._last_vector = self._vector_part(min(by_vector.values(), default=0.0))
        self._last_words = self._words_part(min(by_words.values(), default=0.0)) if more_words else 0.0

    def unknown_vectors(self, needed: int) -> list[str]:
        """The products that only the words found and that may be among the ``needed`` best."""
        others = [id for id in self.by_words if id not in self.by_vector]
        least = self._least(needed)
        return [id for id in others if self._last_vector + self._words_part(self.by_words[id]) >= least]

    def unknown_words(self, needed: int) -> list[str]:
        """The products that only the vector found and that may be among the ``needed`` best."""
        if not self._last_words:
            return []
        others = [id for id in self.by_vector if id not in self.by_words]
        least = self._least(needed)
        return [id for id in others if self._vector_part(self.by_vector[id]) + self._last_words >= least]

    def is_sound(self, needed: int, scores: Mapping[str, float]) -> bool:
        """Whether no product that neither route gave can be among the ``needed`` best."""
        if self._all_known:
            return True
        best = sorted(scores.values(), reverse=True)
        return len(best) >= needed and best[needed - 1] >= self._last_vector + self._last_words

    def scores(self) -> dict[str, float]:
        return {
            id: self._vector_part(similarity) + self._words_part(self.by_words.get(id, 0.0))
            for id, similarity in self.by_vector.items()
        }

    def _least(self, needed: int) -> float:
        """What the last of the ``needed`` best has at least."""
        if needed > len(self.by_vector):
            return -1.0
        return sorted(self.scores().values(), reverse=True)[needed - 1] - 1e-6

    def _vector_part(self, similarity: float) -> float:
        return self._alpha * max(0.0, (similarity - self._floor) / self._span) if self._span > 0 else 0.0

    def _words_part(self, words: float) -> float:
        return (1 - self._alpha) * words / self._most if self._most else 0.0


def _expected(vector: Array, fusion: Fusion, by_vector: Mapping[str, float]) -> float:
    """The similarity of a product of which nothing is known: that with the document means.

    Where the fusion has no such means, that of a product well behind the first pages.
    """
    expected = fusion.expected(vector)
    return expected if expected is not None else min(islice(by_vector.values(), _FIRST_PAGES), default=0.0)
