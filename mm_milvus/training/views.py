"""A product's picture as another photo of it might be: a little nearer, a little brighter, never mirrored."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.media import load_pixels

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.media import MediaReader

    Pixels = npt.NDArray[np.uint8]

__all__ = ["view_of"]

# Mild, as colour and the whole shape belong to a product: at least this much of each side, and factors of the colours.
_LEAST_SIDE = 0.75
_MOST_CHANGE = 0.08


def view_of(reference: str, number: int, reader: MediaReader, base: Path | None, smallest: int) -> Pixels:
    """The picture (H, W, 3) itself for ``number`` 0, else one of its views, always the same for the same number.

    Raises MediaError.
    """
    pixels = load_pixels(reference, reader=reader, base=base, smallest=smallest)
    if number == 0:
        return pixels
    seed = int.from_bytes(hashlib.blake2b(reference.encode(), digest_size=8).digest())
    rng = np.random.default_rng([seed, number])
    return _jittered(_cut(pixels, rng), rng)


def _cut(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A part of the picture, of the same proportions."""
    share = rng.uniform(_LEAST_SIDE, 1.0)
    height, width = (max(int(side * share), 1) for side in pixels.shape[:2])
    top = rng.integers(0, pixels.shape[0] - height + 1)
    left = rng.integers(0, pixels.shape[1] - width + 1)
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _jittered(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast and saturation times 1 +- 8 %."""
    bright, contrast, saturation = rng.uniform(1 - _MOST_CHANGE, 1 + _MOST_CHANGE, 3)
    found = pixels.astype(np.float32) * np.float32(bright)
    middle = found.mean()
    found = (found - middle) * np.float32(contrast) + middle
    grey = found.mean(axis=2, keepdims=True)
    found = (found - grey) * np.float32(saturation) + grey
    return np.asarray(found.round().clip(0, 255), np.uint8)
