"""The catalog as the bridge from a picture to words: what products that look like it are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.fusion import blocks, normalise

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import EncoderSpec
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["Bridge"]

_NEAREST = 5
_POWER = 3  # of the similarities: the nearest one says the most


class Bridge:
    """Gives a picture a text vector, where pictures and texts have no space in common."""

    def __init__(self, collection: Collection, spec: EncoderSpec, share: float | None = None) -> None:
        """``share``: of a picture's weight that goes to the texts; None for the encoder's default."""
        self._collection = collection
        self._fusion = collection.stamp.vectors
        possible = self._fusion.name == "blocks" and not spec.joint
        self.share = np.float32((spec.weights.bridge if share is None else share) if possible else 0.0)

    def texts(self, picture: Array) -> Array | None:
        """Picture vector (D_image,) -> (D_text,) of unit norm, centred: the mean of the texts of the nearest pictures,
        weighted by their similarity. None where no product has both.
        """
        if not self.share:
            return None
        nothing = np.zeros(self._fusion.text_dim, np.float32)
        both = self._collection.parse("has_image and has_text")
        near = self._collection.rank(blocks(picture, nothing), filter=both, limit=_NEAREST)
        stored = self._collection.vectors(list(near), self._collection.consistency)
        total = np.zeros(self._fusion.text_dim, np.float32)
        for id, (vector, _, _) in stored.items():
            weight = max(0.0, near[id]) ** _POWER
            total += np.float32(weight) * (self._fusion.split(vector)[1] - self._fusion.text_mean)
        return normalise(total) if total.any() else None
