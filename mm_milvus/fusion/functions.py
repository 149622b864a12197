"""Untrained fusions as pure functions on batches of unit vectors.

Every function takes float32 arrays of shape (N, D_image) and (N, D_text) and returns float32 of shape (N, D_fused).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["blocks", "fill_missing", "hadamard", "normalise", "slerp", "weighted_sum"]


def normalise(vectors: Array) -> Array:
    """Rows divided by their L2 norm; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Array = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return scaled


def fill_missing(vectors: Sequence[Array | None], mean: Array) -> Array:
    """Stacks N vectors of shape (D,); a missing one (None) becomes the document mean of its modality.

    The mean is not renormalised: its inner product with a query is then the expected similarity of an
    unknown product, so that incomplete products neither fill the page nor vanish from it.
    """
    return np.stack([mean if vector is None else vector for vector in vectors]).astype(np.float32, copy=False)


def blocks(image: Array, text: Array) -> Array:
    """[v_image ; v_text] of shape (N, D_image + D_text); compared by inner product.

    A query [a * q_image ; b * q_text] then scores a * q_image.v_image + b * q_text.v_text.
    """
    return np.concatenate([image, text], axis=-1)


def weighted_sum(image: Array, text: Array, image_weight: float = 0.5, text_weight: float = 0.5) -> Array:
    """normalise(image_weight * v_image + text_weight * v_text) of shape (N, D); D is common to both."""
    return normalise((image_weight * image + text_weight * text).astype(np.float32))


def hadamard(image: Array, text: Array) -> Array:
    """normalise(v_image * v_text), element by element, of shape (N, D); D is common to both."""
    return normalise(image * text)


def slerp(start: Array, end: Array, share: float) -> Array:
    """The unit vector (D,) on the great circle from ``start`` to ``end``, both of unit norm, at ``share`` (0..1).

    Shoemake 1985: sin((1 - t) w) / sin w * a + sin(t w) / sin w * b, w being the angle between them.
    """
    angle = float(np.arccos(np.clip(start @ end, -1.0, 1.0)))
    if np.sin(angle) < 1e-6:  # no great circle, or every one
        return normalise(((1 - share) * start + share * end).astype(np.float32))
    mixed: Array = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    return mixed.astype(np.float32)
