"""How relevant a candidate is on a scale that means the same for every query, so that nonsense can be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.search.parts import signal_text
from mm_milvus.search.routes import Candidate, Ranking, word_signals
from mm_milvus.store.tokens import telling, tokenize

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.fusion import Fusion
    from mm_milvus.records import Query, Signal
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["at_least", "relevant", "scale"]


def relevant(ranking: Ranking, query: Query, vector: Array | None, collection: Collection) -> Ranking:
    """The candidates of at least ``query.min_score``, each with its relevance among its scores.

    By vector it is (v - e) / (u - e), e being the similarity with the document means and u the highest one that a
    product can have; by words it is the share of the query's words that the product has. The larger one counts.
    """
    words = word_signals(query.signals) if "text" in _routes(ranking) else []
    texts = _texts(ranking.candidates, collection) if words else {}
    lowest, highest = scale(vector, collection.stamp.vectors) if vector is not None else (0.0, 1.0)
    candidates = []
    for candidate in ranking.candidates:
        relevance = 0.0
        if "vector" in candidate.scores and highest > lowest:
            relevance = (candidate.scores["vector"] - lowest) / (highest - lowest)
        if words:
            relevance = max(relevance, _coverage(words, texts.get(candidate.id, "")))
        candidates.append(replace(candidate, scores={**candidate.scores, "relevance": relevance}))
    ranking = replace(ranking, candidates=candidates)
    # By vector alone, what lies behind the candidates is less relevant than the last of them.
    return at_least(ranking, query.min_score or 0.0, "relevance", ends=not words)


def at_least(ranking: Ranking, least: float, score: str = "vector", *, ends: bool) -> Ranking:
    """The candidates with that much of a score. ``ends``: one with less of it shows that there are no others."""
    kept = [candidate for candidate in ranking.candidates if candidate.scores[score] >= least]
    ended = ends and len(kept) < len(ranking.candidates)
    return replace(ranking, candidates=kept, complete=ranking.complete or ended)


def _routes(ranking: Ranking) -> set[str]:
    return {route for candidate in ranking.candidates for route in candidate.scores}


def _texts(candidates: Sequence[Candidate], collection: Collection) -> dict[str, str]:
    ids = [candidate.id for candidate in candidates if "text" in candidate.scores]
    hits = collection.get(ids, ["text"], collection.consistency)
    return {hit.id: str(hit.attributes.get("text", "")) for hit in hits}


def _coverage(signals: Sequence[Signal], text: str) -> float:
    """The share of the words that the text has, of the text signal that is covered best."""
    has = set(tokenize(text).split())
    shares = []
    for signal in signals:
        asked = set(telling(signal_text(signal)))
        shares.append(len(asked & has) / len(asked) if asked else 0.0)
    return max(shares)


def scale(vector: Array, fusion: Fusion) -> tuple[float, float]:
    """Similarities with the document means, and with the best product there could be."""
    expected = fusion.expected(vector)
    if expected is None:
        return 0.0, float(np.linalg.norm(vector))
    image, text = fusion.split(vector)
    return expected, float(np.linalg.norm(image) + np.linalg.norm(text))
