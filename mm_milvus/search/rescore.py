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

from mm_milvus.fusion import blocks, normalise
from mm_milvus.search.routes import Candidate, by_score

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.fusion import Fusion
    from mm_milvus.search.parts import Centred
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["RESCORED", "Rescorer"]

# A hundred give what all candidates would give (benchmarks/quality.py).
RESCORED = 100


_PENALTY = 0.1
_EQUALS, _KEPT = 3, 0.01


class Rescorer:
    """Orders the first ``RESCORED`` candidates anew; the others follow as they were."""

    def __init__(self, query: Centred, composition: str, collection: Collection) -> None:
        self._query = query
        self._composition = composition
        self._collection = collection

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Their ``score`` becomes the weighted mean of centred cosines, ``scores["vector"]`` keeps what it was.

        A modality that a product lacks counts as its expectation, which is 0. Beside words of equal weight, the three
        products that are most like a picture or product count alike. By the composition "product" the score is
        w o - .1 (w + o)^2, with the similarities w of the words and o of all else from 0 to 1, the best candidate
        having 1: both have to be there, and one alone is a blemish (the corner detector of Harris and Stephens 1988,
        as BASIC composes queries).
        """
        head = candidates[:RESCORED]
        stored = self._collection.vectors([found.id for found in head], self._collection.consistency)
        known = [found for found in head if found.id in stored]
        if known:
            scores = self._scores([stored[found.id] for found in known])
            known = [
                replace(found, score=float(score), scores={**found.scores, "centred": float(score)})
                for found, score in zip(known, scores, strict=True)
            ]
        return [*sorted(known, key=by_score), *_lowered(candidates[RESCORED:], known)]

    def _scores(self, stored: Sequence[tuple[Array, bool, bool]]) -> Array:
        """Stored vectors (dim,), each with has_image and has_text -> (N,)."""
        fusion = self._collection.stamp.vectors
        image, text = fusion.split(np.stack([vector for vector, _, _ in stored]))
        # A stored mean of few bits is not quite the mean: its difference would become noise of unit norm.
        has_image, has_text = np.array([has for _, *has in stored], np.float32)[..., None].swapaxes(0, 1)
        centred = blocks(
            has_image * normalise(image - fusion.image_mean), has_text * normalise(text - fusion.text_mean)
        )
        words, others = centred @ self._query.words, centred @ self._query.others
        if self._composition != "product":
            return np.asarray(words + _capped(others, self._kept(fusion)))
        words, others = (side.clip(0) / max(float(side.max()), 1e-9) for side in (words, others))
        return np.asarray(words * others - _PENALTY * (words + others) ** 2)

    def _kept(self, fusion: Fusion) -> float:
        """All of it without words, next to nothing where the words weigh as much, more where they weigh less."""
        words, others = (
            sum(float(np.linalg.norm(part)) for part in fusion.split(side))
            for side in (self._query.words, self._query.others)
        )
        return max(_KEPT, (others - words) / (others + words))


def _lowered(rest: Sequence[Candidate], above: Sequence[Candidate]) -> list[Candidate]:
    """Scores of another scale, moved as a whole so that none is above those before them."""
    if not (rest and above):
        return list(rest)
    step = min(0.0, min(found.score for found in above) - max(found.score for found in rest))
    return [replace(found, score=found.score + step) for found in rest]


def _capped(scores: Array, kept: float) -> Array:
    """Beyond the third highest only the share ``kept`` of what is more counts.

    The product that a picture shows, or a copy of it, is as like as can be: "this one, but green" would always answer
    with this one. "Which of the three nearest is it?" is a question for the words.
    """
    if len(scores) < _EQUALS:
        return scores
    cap = np.sort(scores)[-_EQUALS]
    return np.where(scores > cap, cap + kept * (scores - cap), scores)
