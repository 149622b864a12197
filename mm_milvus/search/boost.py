"""Scores changed by what a shop knows of its products: what sells, what is new, what is in stock."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from mm_milvus.errors import ConfigError
from mm_milvus.search.routes import by_score

if TYPE_CHECKING:
    from mm_milvus.records import Boost
    from mm_milvus.search.routes import Candidate

__all__ = ["DAY", "boosted", "seconds_of"]

DAY = 86_400.0  # seconds
_MOST_SECONDS = 1e11
_OLDEST = 0.5  # of the score is left to the oldest products, and to those without a date


def boosted(
    candidates: Sequence[Candidate], boosts: Sequence[Boost], attributes: Mapping[str, Mapping[str, Any]]
) -> list[Candidate]:
    """The candidates in their new order, each with its score before. A missing value never takes a product away."""
    now = time.time()
    for boost in boosts:
        _check_dates(boost, attributes)
    changed = []
    for candidate in candidates:
        score, is_first = candidate.score, []
        for boost in boosts:
            value = attributes.get(candidate.id, {}).get(boost.field)
            if boost.how == "first":
                is_first.append(not value or value <= 0)
            else:
                score = _changed(score, boost, value, now)
        scores = {**candidate.scores, "unboosted": candidate.score}
        changed.append((is_first, replace(candidate, score=score, scores=scores)))
    changed.sort(key=lambda pair: (pair[0], by_score(pair[1])))
    return [candidate for _, candidate in changed]


def _check_dates(boost: Boost, attributes: Mapping[str, Mapping[str, Any]]) -> None:
    """A single odd date counts as old; where there is no other, the attribute was meant for something else."""
    values = [row[boost.field] for row in attributes.values() if row.get(boost.field) is not None]
    if boost.how == "recency" and values and all(seconds_of(value) is None for value in values):
        raise ConfigError(
            f"cannot boost by the recency of {boost.field!r}: {values[0]!r:.60} is neither Unix seconds nor an ISO date"
        )


def _changed(score: float, boost: Boost, value: Any, now: float) -> float:
    """Raises ConfigError for a score that no number can hold."""
    try:
        match boost.how:
            case "multiply":
                score = _times(score, _factor(value, boost.strength))
            case "add":
                score += boost.strength * (value or 0.0)
            case _:
                score = _times(score, _recency(value, now, boost.strength))
    except (OverflowError, ZeroDivisionError):  # a score below 0 is divided by the factor
        score = math.inf
    if not math.isfinite(score):
        raise ConfigError(
            f"the boost {boost} makes a score too large where {boost.field!r} is {value!r}; take an amount nearer to 0"
        )
    return score


def _times(score: float, factor: float) -> float:
    """A factor above 1 always helps: scores of mixtures may be negative."""
    return score * factor if score >= 0 else score / factor


def _factor(value: float | None, power: float) -> float:
    return float(value) ** power if value and value > 0 else 1.0


def _recency(value: float | str | None, now: float, half_life: float) -> float:
    """1 for what is new; the rest above one half is halved every ``half_life`` days."""
    then = seconds_of(value)
    if then is None:
        return _OLDEST
    age = max(0.0, now - then) / DAY
    return float(_OLDEST + (1 - _OLDEST) * 0.5 ** (age / half_life))


def seconds_of(value: float | str | date | None) -> float | None:
    """Unix time of a number (of milliseconds, where it would lie beyond the year 5000), a date, or an ISO date or time.

    UTC where it names no zone; None for anything else.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        seconds = value / 1_000 if abs(value) > _MOST_SECONDS else float(value)
        return seconds if math.isfinite(seconds) else None
    try:
        found = datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
