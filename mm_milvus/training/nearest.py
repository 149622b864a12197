"""Exact search by a head that is being trained: no collection holds its vectors yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from mm_milvus.training.mining import Known
    from mm_milvus.training.model import HeadModel, Inputs

    Ints = npt.NDArray[np.int64]

__all__ = ["nearest"]

_PRODUCTS = 2_048  # fused at once: larger parts are no faster, and need more memory
_QUERIES = 1_024  # compared with them at once


@torch.no_grad()
def nearest(
    model: HeadModel, inputs: Inputs, queries: Ints, count: int, without: Known | None = None
) -> Ints:
    """(Q, count) places of the products nearest to each query, best first; -1 beyond the last.

    The product that a query asks with is left out, as it is of answers, and so are those that it is known to want,
    where ``without`` says so. Neither the fused products nor the scores are in memory as a whole.
    """
    asked = torch.cat(
        [model.queries(inputs, part) for part in _split(torch.from_numpy(queries), _QUERIES)]
    )  # (Q, dim)
    itself = inputs.product_at[torch.from_numpy(queries)]
    scores = torch.full((len(queries), count), -torch.inf)
    places = torch.full((len(queries), count), -1, dtype=torch.int64)
    for block in _split(torch.arange(len(inputs)), _PRODUCTS):
        fused = model.products(inputs, block)
        for rows in _rows(len(queries)):
            found = asked[rows] @ fused.T
            _leave_out(found, itself[rows], block)
            if without is not None:
                found[without.cells(queries[rows], block.numpy())] = -torch.inf
            _keep_best(scores[rows], places[rows], found, block)
    return places.numpy()


def _split(places: Tensor, size: int) -> Iterator[Tensor]:
    return (places[start : start + size] for start in range(0, len(places), size))


def _rows(count: int) -> Iterator[slice]:
    return (slice(start, start + _QUERIES) for start in range(0, count, _QUERIES))


def _leave_out(found: Tensor, itself: Tensor, block: Tensor) -> None:
    rows = ((itself >= block[0]) & (itself <= block[-1])).nonzero()[:, 0]
    found[rows, itself[rows] - block[0]] = -torch.inf


def _keep_best(scores: Tensor, places: Tensor, found: Tensor, block: Tensor) -> None:
    """Merges new scores (rows, block) into the best so far (rows, count), in their place."""
    count = scores.shape[1]
    fresh, at = found.topk(min(count, found.shape[1]), dim=1)
    best, chosen = torch.cat([scores, fresh], dim=1).topk(count, dim=1)
    names = torch.cat([places, block[at]], dim=1).gather(1, chosen)
    scores[:] = best
    places[:] = names.masked_fill(best == -torch.inf, -1)
