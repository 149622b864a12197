from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test

from mm_milvus.training.significance import holm, is_gain, paired_p


def test_few_queries_are_enumerated() -> None:
    ours, theirs = [0.9, 0.8, 1.0, 0.4], [0.5, 0.7, 0.4, 0.5]
    # differences .4, .1, .6, -.1: of 16 signs, sums as far from 0 as 1.0 are +-(.4 .1 .6 +-.1)
    differences = [0.4, 0.1, 0.6, -0.1]
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in product((-1, 1), repeat=4)
    ]
    expected = sum(abs(total) >= 1.0 - 1e-9 for total in sums) / 16
    assert expected == 6 / 16
    assert paired_p(ours, theirs) == pytest.approx(expected)
    assert paired_p(theirs, ours) == paired_p(ours, theirs)


@pytest.mark.parametrize("count", [3, 8, 13])
def test_exact_values_are_those_of_scipy(count: int) -> None:
    random = np.random.default_rng(count)
    ours, theirs = random.random(count), random.random(count)
    scipys = permutation_test(
        (ours, theirs), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert paired_p(list(ours), list(theirs)) == pytest.approx(scipys.pvalue)


def test_many_queries_are_drawn_by_lot_near_the_exact_value() -> None:
    random = np.random.default_rng(3)
    ours = random.random(16)
    theirs = ours - random.normal(0.05, 0.15, 16)
    scipys = permutation_test(
        (ours, theirs), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    drawn = paired_p(list(ours), list(theirs), seed=1)
    assert drawn == pytest.approx(scipys.pvalue, abs=0.02)
    assert drawn == paired_p(list(ours), list(theirs), seed=1)


def test_the_same_is_not_different_and_nothing_is_impossible() -> None:
    assert paired_p([0.1, 0.2], [0.1, 0.2]) == 1.0
    assert paired_p([0.5], [0.1]) == 1.0
    assert paired_p([1.0] * 5, [0.0] * 5) == 2 / 32
    assert paired_p([1.0] * 300, [0.0] * 300) == 1 / 10_001


def test_p_is_uniform_where_both_are_the_same() -> None:
    random = np.random.default_rng(11)
    values = [paired_p(list(random.random(30)), list(random.random(30)), seed=n) for n in range(200)]
    below = float(np.mean(np.array(values) < 0.05))
    assert below <= 0.1


def test_holm_is_written_out() -> None:
    assert holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert holm([0.7]) == [0.7]
    assert holm([]) == []


def test_of_many_comparisons_of_nothing_few_sets_have_one_below_5_percent() -> None:
    rng = np.random.default_rng(0)
    found = [min(holm(list(rng.random(12)))) for _ in range(2_000)]
    assert 0.035 < np.mean(np.array(found) < 0.05) < 0.065


def test_a_gain_is_told_from_chance() -> None:
    assert is_gain(0.1, 0.01) is True
    assert is_gain(0.1, 0.2) is None
    assert is_gain(0.0, 1.0) is False
    assert is_gain(-0.1, 0.2) is False
