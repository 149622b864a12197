"""Recommendation: histories that fade, and the ranking by the best example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.search.boost import DAY, seconds_of
from mm_milvus.search.relevance import scale
from mm_milvus.search.routes import Candidate, Ranking, by_score

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.store import Collection
    from mm_milvus.store.filters import Filter

    Array = npt.NDArray[np.float32]
    Time = float | str | date

__all__ = ["best_scores", "faded"]

_HALF_LIFE = 30.0  # what recommend() is called with unless it is told otherwise
_MOST = 5_000  # candidates whose vectors are read


def faded(
    weights: Sequence[tuple[str, float]], times: Mapping[str, Time] | None, half_life: float
) -> list[tuple[str, float]]:
    """(id, weight) pairs, each weight halved for every ``half_life`` days that a product is older than the newest.

    ``times`` are Unix seconds, ISO dates, dates or datetimes; a product without one keeps its weight. Raises
    ConfigError.
    """
    if times is None:
        if half_life != _HALF_LIFE:
            raise ConfigError("half_life lets weights fade by the times of products; give times, too")
        times = {}
    if not isinstance(times, Mapping):
        raise ConfigError(f"times are a dict of ids and times, got {times!r:.80}")
    if not isinstance(half_life, int | float) or not half_life > 0:
        raise ConfigError(f"half_life must be a number of days above 0, got {half_life!r}")
    known = {id: _time_of(id, times[id]) for id, _ in weights if times.get(id) is not None}
    newest = max(known.values(), default=0.0)
    return [
        (id, weight * 0.5 ** ((newest - known.get(id, newest)) / DAY / half_life)) for id, weight in weights
    ]


def _time_of(id: str, given: Time) -> float:
    """Unix seconds."""
    seconds = seconds_of(given)
    if seconds is None:
        raise ConfigError(f"the time of {id!r} must be Unix seconds or an ISO date, got {given!r}")
    return seconds


def best_scores(
    vectors: Array, weights: Sequence[float], collection: Collection, filter: Filter | None, pool: int
) -> Ranking:
    """Ranks by the examples' ``vectors`` (N, dim), each on its own; those of a weight below 0 are unliked.

    With r = weight * (v - e) / (u - e), the highest weight of a liked one counting as 1, e being the similarity with
    the document means and u the highest one that a product can have, a product's score is its highest r among the
    liked, or minus its highest r among the unliked where that is the higher one and above 0. The mean of many tastes
    is nobody's taste: this keeps them apart.
    """
    pool = min(pool, max(_MOST // len(vectors), 1))
    relative = np.array(weights) / max(weights)
    liked = relative > 0
    found = collection.rank_all(vectors[liked], filter=filter, limit=pool)
    ids = list(dict.fromkeys(id for ranked in found for id in ranked))
    stored = collection.vectors(ids, collection.consistency)
    ids = [id for id in ids if id in stored]
    complete = all(len(ranked) < pool for ranked in found)
    if not ids:
        return Ranking([], complete)
    lowest, highest = np.array([scale(vector, collection.stamp.vectors) for vector in vectors]).T
    similarities = np.stack([stored[id][0] for id in ids]) @ vectors.T
    relevance = np.abs(relative) * (similarities - lowest) / np.maximum(highest - lowest, 1e-9)  # (ids, N)
    near = relevance[:, liked].max(axis=1)
    away = relevance[:, ~liked].max(axis=1, initial=-np.inf)
    scores = np.where((near > away) | (away <= 0), near, -away)
    candidates = [
        Candidate(id, float(score), {"vector": float(score)}) for id, score in zip(ids, scores, strict=True)
    ]
    return Ranking(sorted(candidates, key=by_score), complete, {"mode": "vector", "strategy": "best_score"})
