"""Whether one ranking is better than another, or whether chance has it so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

__all__ = ["CERTAIN", "FEWEST", "PERMUTATIONS", "holm", "is_gain", "paired_p"]

CERTAIN = 0.05  # a lower p is taken for more than chance
FEWEST = 6  # queries that can tell a gain from chance: were all of 5 better, p would be 2 / 2^5

PERMUTATIONS = 10_000
_EXACT = 13  # differences whose 2^13 = 8,192 signs are fewer than the permutations: all of them are tried
_PART = 100  # permutations at a time, so that many queries need little memory
_ROUND = 1e-12  # sums of the same numbers in another order


def paired_p(ours: Sequence[float] | Values, theirs: Sequence[float] | Values, *, seed: int = 0) -> float:
    """The two-sided p of a paired randomisation test of the means (Smucker, Allan and Carterette, CIKM 2007).

    Were both rankings the same, each difference could as well have the other sign: p is the share of signs that give
    a mean at least as far from 0. Exact for up to 13 queries that differ; else of 10,000 random signs, the observed
    ones being counted as one of them (Phipson and Smyth 2010), so that p is never 0.
    """
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    differences = differences[np.abs(differences) > _ROUND]  # others have no sign
    observed = abs(differences.sum()) - _ROUND
    if len(differences) <= _EXACT:
        choices = np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences)) & 1
        return float((np.abs((2 * choices - 1) @ differences) >= observed).mean())
    random = np.random.default_rng(seed)
    more = 0
    for _ in range(PERMUTATIONS // _PART):
        signs = random.choice((-1.0, 1.0), (_PART, len(differences)))
        more += int((np.abs(signs @ differences) >= observed).sum())
    return (1 + more) / (1 + PERMUTATIONS)


def is_gain(difference: float, p: float) -> bool | None:
    """Whether something is better by a mean ``difference`` with this ``p``; None where that may be chance."""
    if difference <= _ROUND:
        return False
    return True if p < CERTAIN else None


def holm(values: Sequence[float]) -> list[float]:
    """The p of several comparisons, corrected so that one below .05 comes about by chance in 5 % of all such sets.

    The lowest of m counts m times, the next m - 1 times and so on, none less than the one before (Holm 1979). It asks
    nothing of how the comparisons depend on each other.
    """
    found = [0.0] * len(values)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        found[place] = least
    return found
