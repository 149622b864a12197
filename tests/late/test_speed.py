"""How long the comparison itself takes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mm_milvus.fusion import normalise
from mm_milvus.late import QueryTokens, maxsim_of
from mm_milvus.late.codec import Half, fit_residual


@pytest.mark.alone
def test_two_hundred_candidates_take_a_fraction_of_a_second() -> None:
    """200 products of 64 patches and 36 words of 128 dimensions, 16 words in the query."""
    rng = np.random.default_rng(0)
    tokens = normalise(rng.standard_normal((200 * 100, 128)).astype(np.float32))
    query = QueryTokens(tokens[:16], np.full(16, 1 / 16, np.float32))
    counts = np.full(200, 100)
    for codec in (Half(128), fit_residual(tokens[:4_000], len(tokens))):
        rows = codec.encode(tokens)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            maxsim_of(query, codec.decode(rows), counts)
            times.append(time.perf_counter() - began)
        print(f"{type(codec).__name__}: {np.median(times) * 1000:.1f} ms")
        assert np.median(times) < 0.3
