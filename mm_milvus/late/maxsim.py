"""Late interaction: each piece of a query looks for the piece of a product that suits it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

__all__ = ["QueryTokens", "joined", "maxsim", "maxsim_of"]


@dataclass(frozen=True, eq=False)
class QueryTokens:
    """Unit ``vectors`` (Q, D) of a query, and what each of them counts: ``weights`` (Q,)."""

    vectors: Array
    weights: Array


def maxsim(query: Array, products: Array, mask: npt.NDArray[np.bool_]) -> Array:
    """(Q, D), (N, T, D) and (N, T) -> (N,) float32: sum over i of max over j of q_i . p_j.

    Padding, where ``mask`` is false, counts as -inf and never is the maximum; a product of padding alone has -inf.
    ColBERT (Khattab and Zaharia 2020), equation 3.
    """
    found = np.einsum("qd,ntd->nqt", query, products)
    best = np.where(mask[:, None, :], found, -np.inf).max(axis=2)
    return np.asarray(best.sum(axis=1), np.float32)


def maxsim_of(query: QueryTokens, tokens: Array, counts: Ints) -> Array:
    """``maxsim`` of weighted query tokens, with products of different lengths one after the other, without padding.

    ``tokens`` (sum of counts, D), ``counts`` (N,) -> (N,) float32: sum over i of w_i max over j of q_i . p_j. A product
    without tokens has -inf.
    """
    scores = np.full(len(counts), -np.inf, np.float32)
    some = counts > 0
    if not some.any():
        return scores
    starts = (np.cumsum(counts) - counts)[some]
    best = np.maximum.reduceat(tokens @ query.vectors.T, starts, axis=0)  # (N, Q)
    scores[some] = best @ query.weights
    return scores


def joined(parts: Sequence[tuple[Array, float]]) -> QueryTokens | None:
    """The tokens (T, D) of each signal with its weight; None where there are none.

    A token counts weight / T / sum of |weights|: a picture of 64 patches outweighs no two words, and a score is the
    weighted mean of the signals' mean best cosines, at most 1. A negative weight subtracts. For a query of one
    signal this is MaxSim, but for a factor.
    """
    parts = [(tokens, weight) for tokens, weight in parts if len(tokens) and weight]
    total = sum(abs(weight) for _, weight in parts)
    if not parts:
        return None
    weights = [np.full(len(tokens), weight / total / len(tokens), np.float32) for tokens, weight in parts]
    return QueryTokens(np.concatenate([tokens for tokens, _ in parts]), np.concatenate(weights))
