"""Token vectors as bytes: half precision, or 2 bits a dimension around the nearest centroid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from mm_milvus.errors import FusionError
from mm_milvus.files import replace_file
from mm_milvus.fusion import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Bytes = npt.NDArray[np.uint8]

__all__ = ["CODECS", "Codec", "CodecName", "Half", "Residual", "fit_residual", "load_codec"]

CodecName = Literal["fp16", "2bit"]
CODECS: tuple[CodecName, ...] = ("fp16", "2bit")
CODEC_FILE = "codec.safetensors"
_MOST_CENTROIDS = 65_536  # what 2 bytes can name
_ROUNDS = 8  # of k-means
_ROWS = 16_384  # compared with the centroids at once
_SHIFTS = np.array([0, 2, 4, 6], np.uint8)


class Codec(Protocol):
    """Unit vectors (N, D) <-> (N, row) bytes."""

    @property
    def row(self) -> int:
        """Bytes of one token."""
        ...

    def encode(self, vectors: Array) -> Bytes: ...

    def decode(self, rows: Bytes) -> Array:
        """float32; ``2bit`` gives unit vectors again."""
        ...

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class Half:
    """float16, little-endian."""

    dim: int

    @property
    def row(self) -> int:
        return 2 * self.dim

    def encode(self, vectors: Array) -> Bytes:
        return np.ascontiguousarray(vectors, "<f2").view(np.uint8).reshape(len(vectors), self.row)

    def decode(self, rows: Bytes) -> Array:
        return np.ascontiguousarray(rows).view("<f2").astype(np.float32)

    def save(self, folder: Path) -> None:
        """There is nothing to keep."""


@dataclass(frozen=True, eq=False)
class Residual:
    """The nearest of ``centroids`` (K, D) in 2 bytes, and which quarter of the residuals each dimension is in.

    ColBERTv2 (Santhanam et al. 2022), section 3.3, with b = 2; ``cutoffs`` (3, D) are quartiles of each dimension, and
    ``values`` (4, D) the means between them, which err least in the square (ColBERTv2 takes quantiles of all
    dimensions together). Four dimensions share a byte.
    """

    centroids: Array
    cutoffs: Array
    values: Array

    @property
    def row(self) -> int:
        return 2 + -(-int(self.centroids.shape[1]) // 4)

    def encode(self, vectors: Array) -> Bytes:
        count, dim = vectors.shape
        rows = np.zeros((count, self.row), np.uint8)
        for start in range(0, count, _ROWS):
            part = vectors[start : start + _ROWS]
            nearest = _nearest(part, self.centroids)
            rest = part - self.centroids[nearest]
            buckets = np.zeros((len(part), 4 * (self.row - 2)), np.uint8)
            buckets[:, :dim] = sum((rest > cutoff).astype(np.uint8) for cutoff in self.cutoffs)
            packed = (buckets.reshape(len(part), -1, 4) << _SHIFTS).sum(axis=2, dtype=np.uint8)
            rows[start : start + _ROWS, :2] = nearest.astype("<u2")[:, None].view(np.uint8)
            rows[start : start + _ROWS, 2:] = packed
        return rows

    def decode(self, rows: Bytes) -> Array:
        dim = self.centroids.shape[1]
        nearest = np.ascontiguousarray(rows[:, :2]).view("<u2")[:, 0]
        buckets = ((rows[:, 2:, None] >> _SHIFTS) & 3).reshape(len(rows), -1)[:, :dim]
        found = self.centroids[nearest] + self.values[buckets, np.arange(dim)]
        return normalise(found)

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save

        arrays = {"centroids": self.centroids, "cutoffs": self.cutoffs, "values": self.values}
        content = {name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()}
        replace_file(folder / CODEC_FILE, save(content))


def fit_residual(sample: Array, tokens: int, seed: int = 0) -> Residual:
    """The codec of about ``tokens`` unit vectors, of which ``sample`` (N, D) are some.

    16 sqrt(tokens) centroids, rounded to a power of two, as ColBERTv2, but no more than an eighth of the sample: the
    centroids of a small shop would otherwise take more room than its tokens.
    """
    wanted = 2 ** round(np.log2(max(16 * tokens**0.5, 1)))
    count = int(max(1, min(wanted, len(sample) // 8, _MOST_CENTROIDS)))
    rng = np.random.default_rng(seed)
    centroids = sample[np.sort(rng.permutation(len(sample))[:count])].copy()
    for _ in range(_ROUNDS):
        nearest = _nearest(sample, centroids)
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, sample)
        some = np.bincount(nearest, minlength=count) > 0
        centroids[some] = normalise(sums[some])
    rest = sample - centroids[_nearest(sample, centroids)]
    cutoffs = np.quantile(rest, [0.25, 0.5, 0.75], axis=0).astype(np.float32)
    buckets = sum((rest > cutoff).astype(np.int64) for cutoff in cutoffs)
    values = np.zeros((4, sample.shape[1]), np.float32)
    for bucket in range(4):
        inside = buckets == bucket
        values[bucket] = (rest * inside).sum(axis=0) / np.maximum(inside.sum(axis=0), 1)
    return Residual(centroids, cutoffs, values)


def _nearest(vectors: Array, centroids: Array) -> npt.NDArray[np.int64]:
    """(N,) the centroid of the highest inner product: all of them are of unit norm."""
    parts = [
        (vectors[start : start + _ROWS] @ centroids.T).argmax(axis=1)
        for start in range(0, len(vectors), _ROWS)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def load_codec(name: CodecName, dim: int, folder: Path) -> Codec:
    """Raises FusionError for damaged files."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if name == "fp16":
        return Half(dim)
    try:
        return Residual(**load((folder / CODEC_FILE).read_bytes()))
    except (OSError, TypeError, SafetensorError) as error:
        raise FusionError(f"the token vectors in {str(folder)!r} are damaged: {error}") from error
