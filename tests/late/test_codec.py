"""Bytes of token vectors: how many, and what is left of the ranking."""

from __future__ import annotations

import numpy as np
import pytest

from mm_milvus.fusion import normalise
from mm_milvus.late import QueryTokens, maxsim_of
from mm_milvus.late.codec import Half, Residual, fit_residual

DIM = 128


def tokens(count: int, seed: int = 0) -> np.ndarray:
    """Around 200 words, as tokens are: unit vectors (count, 128)."""
    rng = np.random.default_rng(seed)
    words = np.random.default_rng(99).standard_normal((200, DIM))
    return normalise(
        (words[rng.integers(0, 200, count)] + 0.8 * rng.standard_normal((count, DIM))).astype(np.float32)
    )


def test_half_precision() -> None:
    vectors = tokens(10)
    rows = Half(DIM).encode(vectors)
    assert rows.shape == (10, 256)
    np.testing.assert_allclose(Half(DIM).decode(rows), vectors, atol=1e-3)


def test_two_bits_say_which_quarter_of_the_residuals() -> None:
    codec = Residual(
        centroids=np.eye(2, dtype=np.float32),
        cutoffs=np.array([[-0.15, -0.3], [0, 0], [0.3, 0.3]], np.float32),
        values=np.array([[-0.3, -0.3], [-0.1, -0.1], [0.1, 0.1], [0.3, 0.3]], np.float32),
    )
    rows = codec.encode(np.array([[0.8, 0.6], [-0.6, 0.8]], np.float32))
    # (0.8, 0.6) - (1, 0) = (-0.2, 0.6): buckets 0 and 3; (-0.6, 0.8) - (0, 1) = (-0.6, -0.2): 0 and 1
    assert rows.tolist() == [[0, 0, 0 | 3 << 2], [1, 0, 0 | 1 << 2]]
    np.testing.assert_allclose(codec.decode(rows)[0], normalise(np.array([0.7, 0.3], np.float32)), atol=1e-6)


def test_a_seventh_of_the_size_and_nearly_the_same_ranking() -> None:
    counts = np.full(200, 100)
    products, query = tokens(200 * 100), tokens(32, seed=1)
    codec = fit_residual(tokens(8_000, seed=2), len(products))
    half, packed = Half(DIM).encode(products), codec.encode(products)
    assert half.nbytes / packed.nbytes == pytest.approx(256 / 34)
    ones = QueryTokens(query, np.ones(32, np.float32))
    exact, rounded, small = (
        maxsim_of(ones, vectors, counts)
        for vectors in (products, Half(DIM).decode(half), codec.decode(packed))
    )
    np.testing.assert_allclose(rounded, exact, atol=0.01)
    assert np.argsort(-rounded)[:10].tolist() == np.argsort(-exact)[:10].tolist()
    assert np.corrcoef(small, exact)[0, 1] > 0.9
    assert len(set(np.argsort(-small)[:10]) & set(np.argsort(-exact)[:10])) >= 7
    cosines = (codec.decode(packed) * products).sum(axis=1)
    assert cosines.mean() > 0.93


def test_few_tokens_are_enough_to_fit_to() -> None:
    codec = fit_residual(tokens(3), 3)
    assert codec.decode(codec.encode(tokens(3))).shape == (3, DIM)
    odd = normalise(np.random.default_rng(0).standard_normal((50, 30)).astype(np.float32))  # no multiple of 4
    small = fit_residual(odd, 50)
    assert small.row == 2 + 8
    assert (small.decode(small.encode(odd)) * odd).sum(axis=1).mean() > 0.8
