"""The catalog as the bridge between pictures and words: what products that look like a picture are called, and how
products that are called so look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.encoders.looks import load_looks
from mm_milvus.fusion import blocks, normalise

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import EncoderSpec
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["Bridge"]

_NEAREST = 5
_LEARNED = (
    0.5  # weight of what the encoder knows of the looks of words, beside 1 for the catalog's own products.
)
_POWER = 3  # of the similarities: the nearest one says the most


class Bridge:
    """Gives a picture a text vector and a text a picture vector, where both have no space in common."""

    def __init__(self, collection: Collection, spec: EncoderSpec, share: float | None = None) -> None:
        """``share``: of a signal's weight that goes to the other side; None for the encoder's defaults."""
        self._collection = collection
        self._spec = spec
        self._fusion = collection.stamp.vectors
        possible = self._fusion.name == "blocks" and not spec.joint
        defaults = spec.weights
        self.share = np.float32((defaults.bridge if share is None else share) if possible else 0.0)
        self.used = 0.0  # the share that a signal has given to the other side
        self.text_share = np.float32((defaults.text_bridge if share is None else share) if possible else 0.0)

    def texts(self, picture: Array) -> Array | None:
        """Picture vector (D_image,) -> (D_text,) of unit norm, centred: the mean of the texts of the nearest pictures,
        weighted by their similarity. None where no product has both.
        """
        if not self.share:
            return None
        near = self._nearest(blocks(picture, np.zeros_like(self._fusion.text_mean)))
        found = _mean([(weight, text - self._fusion.text_mean) for weight, _, text in near])
        return self._crossed(found, self.share)

    def pictures(self, text: Array) -> Array | None:
        """Text vector (D_text,) -> (D_image,) of unit norm, centred: the mean of the pictures of the nearest texts, and
        what the words look like to the encoder itself, where it knows.

        It tells products without a text apart, which are all alike to words; None where there are none of them.
        """
        if not self.text_share or not self._collection.lacks("has_text"):
            return None
        near = self._nearest(blocks(np.zeros_like(self._fusion.image_mean), text))
        found = _mean([(weight, picture - self._fusion.image_mean) for weight, picture, _ in near])
        if (looks := load_looks(self._spec)) is not None:
            learned = looks(text[None])[0]
            found = learned if found is None else normalise(found + np.float32(_LEARNED) * learned)
        return self._crossed(found, self.text_share)

    def _crossed(self, found: Array | None, share: np.float32) -> Array | None:
        if found is not None:
            self.used = float(share)
        return found

    def _nearest(self, query: Array) -> list[tuple[float, Array, Array]]:
        """Weight, picture and text of the nearest products that have both."""
        both = self._collection.parse("has_image and has_text")
        near = self._collection.rank(query, filter=both, limit=_NEAREST)
        stored = self._collection.vectors(list(near), self._collection.consistency)
        return [
            (max(0.0, near[id]) ** _POWER, *self._fusion.split(vector))
            for id, (vector, _, _) in stored.items()
        ]


def _mean(weighted: list[tuple[float, Array]]) -> Array | None:
    """(D,) of unit norm."""
    total = sum((np.float32(weight) * vector for weight, vector in weighted), np.float32(0.0))
    return normalise(np.asarray(total)) if np.any(total) else None
