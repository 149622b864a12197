"""What words look like, for the encoder `offline`, whose texts and pictures have no space in common.

Kernel ridge regression from text vectors to picture vectors, fitted by ``benchmarks/fit_looks.py`` to names of classes
and of colours: looks(q) = sum over the anchors k of  a_k exp(gamma (q . t_k - 1)), q and t_k being centred unit vectors
of texts. See docs/looks.md for the data, the numbers and the limits.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mm_milvus.encoders.base import EncoderSpec

    Array = NDArray[np.float32]

__all__ = ["LOOKS_FILE", "Looks", "load_looks"]

LOOKS_FILE = Path(__file__).parent / "data" / "offline_looks.safetensors"


class Looks:
    """``anchors`` (K, D_text) t_k, ``weights`` (K, D_image) a_k, ``mean`` (D_text,) of the query texts, ``gamma``."""

    def __init__(self, anchors: Array, weights: Array, mean: Array, gamma: float) -> None:
        self._anchors, self._weights, self._mean, self._gamma = anchors, weights, mean, gamma

    def __call__(self, texts: Array) -> Array:
        """Query texts (N, D_text) of unit norm -> (N, D_image) of unit norm, to be compared with centred pictures."""
        asked = _unit(texts - self._mean)
        kernel = np.exp(self._gamma * (asked @ self._anchors.T - 1))
        return _unit(np.asarray(kernel @ self._weights, np.float32))


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9), np.float32)


def load_looks(spec: EncoderSpec) -> Looks | None:
    """The looks of words for an encoder, None where there are none. Raises EncoderError for a damaged file."""
    return _read(LOOKS_FILE) if spec.family == "offline" else None


@cache
def _read(path: Path) -> Looks:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
        anchors, weights, mean = (found[name].astype(np.float32) for name in ("anchors", "weights", "mean"))
        return Looks(anchors, weights, mean, float(found["gamma"][0]))
    except (OSError, KeyError, SafetensorError) as error:
        raise EncoderError(f"cannot read {path}: {error}; reinstall mm-milvus") from error
