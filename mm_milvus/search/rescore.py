"""The best candidates once more, by vectors from which what all products have in common is taken away.

Cosines of one encoder crowd into a narrow band around those of the means. Centring the query moves all scores of a
block alike; centring the products too, to unit norm, lets each block spread over its whole range, so that neither a
picture nor words decide alone. Equal to centring at ingest, but stored vectors stay raw and means can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.fusion import normalise
from mm_milvus.search.routes import Candidate, by_score

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.search.compose import Centred
    from mm_milvus.store import Collection

__all__ = ["RESCORED", "Rescorer"]

# A hundred give what all candidates would: P@10 of composed queries .815 and .543 either way (benchmarks/composed.py).
RESCORED = 100


class Rescorer:
    """Orders the first ``RESCORED`` candidates anew; the others follow as they were."""

    def __init__(self, query: Centred, collection: Collection) -> None:
        self._query = query
        self._collection = collection

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Their ``score`` becomes the weighted mean of centred cosines, ``scores["vector"]`` keeps what it was.

        A modality that a product lacks counts as its expectation, which is 0.
        """
        head = candidates[:RESCORED]
        stored = self._collection.vectors([found.id for found in head], self._collection.consistency)
        known = [found for found in head if found.id in stored]
        if known:
            scores = self._scores(np.stack([stored[found.id][0] for found in known]))
            known = [
                replace(found, score=float(score), scores={**found.scores, "centred": float(score)})
                for found, score in zip(known, scores, strict=True)
            ]
        return [*sorted(known, key=by_score), *candidates[RESCORED:]]

    def _scores(self, fused: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Stored vectors (N, dim) -> (N,)."""
        fusion = self._collection.stamp.vectors
        image, text = fusion.split(fused)
        scores: npt.NDArray[np.float32] = (
            normalise(image - fusion.image_mean) @ self._query.image
            + normalise(text - fusion.text_mean) @ self._query.text
        )
        return scores
