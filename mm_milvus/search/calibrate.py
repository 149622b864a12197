"""The mean of a shop's own queries, which is taken away from query texts wherever they are mixed with other signals."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import Encoder

__all__ = ["query_mean", "read_queries"]

_LEAST = 20  # distinct queries: the mean of fewer is about them, not about what all queries have in common
_BATCH = 256


def read_queries(path: str | os.PathLike[str]) -> list[str]:
    """One query a line, UTF-8; blank lines are left out. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as lines:
            return [query for line in lines if (query := line.strip())]
    except (OSError, UnicodeDecodeError) as error:
        reason = (
            "is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error.strerror}"
        )
        raise ConfigError(f"the file of queries {os.fspath(path)!r} {reason}") from error


def query_mean(queries: Iterable[str], encoder: Encoder) -> tuple[npt.NDArray[np.float32], int]:
    """The mean (D_text,) of the unit vectors of distinct queries, not brought to unit norm, and how many they were.

    Raises ConfigError for too few of them.
    """
    given = list(queries) if isinstance(queries, Iterable) else [queries]
    if not all(isinstance(query, str) for query in given):
        raise ConfigError("the queries to calibrate by are texts, or the path of a file of them")
    texts = list(dict.fromkeys(query.strip() for query in given if query.strip()))
    if len(texts) < _LEAST:
        raise ConfigError(
            f"calibration takes at least {_LEAST} different queries, the more the better; here are {len(texts)}"
        )
    total = np.zeros(encoder.spec.text_dim)
    count = 0
    for start in range(0, len(texts), _BATCH):
        vectors = encoder.encode_query_text(texts[start : start + _BATCH]).numpy()
        finite = np.isfinite(vectors).all(axis=1)
        total += vectors[finite].sum(axis=0, dtype=np.float64)
        count += int(finite.sum())
    if not count:
        raise ConfigError("the model gives no usable number for any of the queries")
    return (total / count).astype(np.float32), count
