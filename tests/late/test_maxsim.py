"""MaxSim against arithmetic that is written out, with and without padding."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mm_milvus.fusion import normalise
from mm_milvus.late import QueryTokens, joined, maxsim, maxsim_of

QUERY = np.array([[1, 0], [0, 1]], np.float32)
FIRST = [[0.6, 0.8], [1.0, 0.0]]  # best for the two query tokens: 1 and 0.8
SECOND = [[-0.6, -0.8]]  # -0.6 and -0.8: padding of zeros must not win


def test_the_sum_of_the_best() -> None:
    products = np.array([FIRST, [*SECOND, [0, 0]], [[9, 9], [9, 9]]], np.float32)
    mask = np.array([[True, True], [True, False], [False, False]])
    assert maxsim(QUERY, products, mask).tolist() == pytest.approx([1.8, -1.4, -math.inf])


def test_products_of_different_lengths_need_no_padding() -> None:
    flat = np.array([*FIRST, *SECOND], np.float32)
    ones = QueryTokens(QUERY, np.ones(2, np.float32))
    found = maxsim_of(ones, flat, np.array([2, 0, 1]))
    assert found.tolist() == pytest.approx([1.8, -math.inf, -1.4])
    halves = QueryTokens(QUERY, np.array([0.5, -0.25], np.float32))
    assert maxsim_of(halves, flat, np.array([2, 1])).tolist() == pytest.approx([0.3, -0.1])


def test_both_agree() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, 40)
    mask = np.arange(8) < counts[:, None]
    products = normalise(rng.standard_normal((40, 8, 16)).astype(np.float32))
    query = normalise(rng.standard_normal((5, 16)).astype(np.float32))
    ones = QueryTokens(query, np.ones(5, np.float32))
    np.testing.assert_allclose(
        maxsim_of(ones, products[mask], counts), maxsim(query, products, mask), atol=1e-5
    )


def test_signals_share_the_score_by_their_weights_and_not_by_their_tokens() -> None:
    words, patches = np.eye(4, dtype=np.float32)[:1], np.eye(4, dtype=np.float32)[1:]
    both = joined([(words, 1.0), (patches, -0.5)])
    assert both is not None
    assert both.weights.tolist() == pytest.approx([1 / 1.5, *[-0.5 / 1.5 / 3] * 3])
    product = np.eye(4, dtype=np.float32)
    assert maxsim_of(both, product, np.array([4]))[0] == pytest.approx((1.0 - 0.5) / 1.5)
    assert joined([(words, 0.0), (words[:0], 1.0)]) is None
