"""Routes rank products each in its own way, by vector and by words; here their rankings become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.search.compose import signal_text
from mm_milvus.store.tokens import tokenize

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.fusion import Fusion
    from mm_milvus.records import Hit, Query, Signal
    from mm_milvus.search.indexes import Indexes
    from mm_milvus.store import Collection
    from mm_milvus.store.filters import Filter

    Array = npt.NDArray[np.float32]

__all__ = ["POOL", "Candidate", "Ranking", "by_score", "mode_of", "rank", "word_signals"]

POOL = 1_000  # candidates of each route: what is ordered, grouped and combined
_FIRST_PAGES = 200  # that many do for the first pages of a plain ranking: a thousand take three times as long
_RRF_K = 60  # Cormack, Clarke and Büttcher 2009


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


def by_score(found: Candidate | Hit) -> tuple[float, str]:
    """Sorts the best first. Milvus returns equal scores in any order, and servers differ in the seventh digit."""
    return -round(found.score, 6), found.id


def mode_of(query: Query) -> str:
    """The mode that "auto" stands for: hybrid for words alone. Raises ConfigError for one that needs words."""
    words = word_signals(query.signals)
    if query.mode in ("text", "hybrid") and not words:
        raise ConfigError(f"the mode {query.mode!r} needs a text with a weight above 0")
    if query.mode == "text" and len(words) < len(query.signals):
        raise ConfigError(
            "the mode 'text' compares words only; leave out pictures, products and negative weights"
        )
    if query.mode != "auto":
        return query.mode
    return "hybrid" if words and all(signal.kind == "text" for signal in query.signals) else "vector"


def word_signals(signals: Sequence[Signal]) -> list[Signal]:
    """Texts that are looked for by their words: those that do not push away, and that have words."""
    return [
        s
        for s in signals
        if s.kind == "text" and (s.weight is None or s.weight > 0) and tokenize(signal_text(s))
    ]


def rank(
    query: Query, vector: Array | None, collection: Collection, indexes: Indexes, filter: Filter | None
) -> Ranking:
    """The candidates of a query with signals; ``vector`` (dim,) is its query vector, None in the mode "text"."""
    by_words = by_vector = None
    pool = pool_of(query)
    if vector is not None:
        by_vector = collection.rank(vector, filter=filter, limit=pool)
    mode = mode_of(query)
    if mode != "vector":
        by_words = _rank_words(word_signals(query.signals), collection, indexes, filter, pool)
    explain: dict[str, Any] = {"mode": mode}
    if by_vector is None:
        assert by_words is not None
        scores = by_words
    elif by_words is None or vector is None:
        scores = by_vector
    elif query.combine == "rrf":
        scores = _reciprocal_ranks(by_vector, by_words)
        explain |= {"combine": "rrf", "k": _RRF_K}
    else:
        by_vector = by_vector | _inner_products(vector, by_words.keys() - by_vector.keys(), collection)
        floor = _expected(vector, collection.stamp.vectors, by_vector)
        scores = _weighted(by_vector, by_words, query.alpha, floor)
        explain |= {"combine": "weighted", "alpha": query.alpha, "vector_expected": floor}
    routes = {"vector": by_vector, "text": by_words}
    candidates = [
        Candidate(id, score, {name: found[id] for name, found in routes.items() if found and id in found})
        for id, score in scores.items()
    ]
    candidates.sort(key=by_score)
    longest = max(len(found or ()) for found in (by_vector, by_words))
    return Ranking(candidates, longest < pool, explain)


def pool_of(query: Query) -> int:
    """How many candidates each route gives: few for the first pages of what is neither reordered nor chosen from."""
    reordered = query.boosts or query.rerank or query.sort or query.group_by or query.facets
    chosen = query.cursor is not None or query.min_score is not None or query.mode == "text"
    plain = not (reordered or chosen) and query.offset + query.limit <= _FIRST_PAGES // 2
    return min(_FIRST_PAGES, POOL) if plain else POOL


def _rank_words(
    signals: Sequence[Signal], collection: Collection, indexes: Indexes, filter: Filter | None, pool: int
) -> dict[str, float]:
    """id -> weighted mean of the BM25 of the texts, best first; of each text the best ``pool``."""
    total = sum(signal.weight or 1.0 for signal in signals)
    scores: dict[str, float] = {}
    for signal in signals:
        tokens = tokenize(signal_text(signal))
        if collection.capabilities.bm25:
            found = collection.rank_words(tokens, filter=filter, limit=pool)
        else:
            found = indexes.get("a search by words").rank_words(tokens, filter, pool)
        for id, score in found.items():
            scores[id] = scores.get(id, 0.0) + (signal.weight or 1.0) / total * score
    return dict(sorted(scores.items(), key=lambda pair: (-pair[1], pair[0])))


def _reciprocal_ranks(*rankings: Mapping[str, float]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for ranking in rankings:
        for place, id in enumerate(ranking, start=1):
            scores[id] = scores.get(id, 0.0) + 1 / (_RRF_K + place)
    return scores


def _weighted(
    by_vector: Mapping[str, float], by_words: Mapping[str, float], alpha: float, floor: float
) -> dict[str, float]:
    """alpha (v - floor) / (max v - floor) + (1 - alpha) w / max w, both parts within 0..1.

    ``floor`` is what any product would have. The lowest score of the pool, which is usually taken, would depend on the
    size of the pool.
    """
    highest, most = max(by_vector.values(), default=0.0), max(by_words.values(), default=0.0)
    span = highest - floor
    return {
        id: alpha * (max(0.0, (score - floor) / span) if span > 0 else 0.0)
        + (1 - alpha) * (by_words.get(id, 0.0) / most if most else 0.0)
        for id, score in by_vector.items()
    }


def _inner_products(vector: Array, ids: Sequence[str] | set[str], collection: Collection) -> dict[str, float]:
    """What the vector route would have given for products that were not among its best."""
    stored = collection.vectors(sorted(ids), collection.consistency)
    return {id: float(vector @ found) for id, (found, _, _) in stored.items()}


def _expected(vector: Array, fusion: Fusion, by_vector: Mapping[str, float]) -> float:
    """The similarity of a product of which nothing is known: that with the document means.

    Where the fusion has no such means, the lowest of the pool.
    """
    if fusion.name == "blocks":
        return float(vector @ np.concatenate([fusion.image_mean, fusion.text_mean]))
    return min(by_vector.values(), default=0.0)
