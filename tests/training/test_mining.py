from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mm_milvus.search import WordIndex
from mm_milvus.training import mining
from mm_milvus.training import nearest as search
from mm_milvus.training.data import DEV, TRAIN
from mm_milvus.training.measure import ndcg_of, ndcgs
from mm_milvus.training.mining import MINED, Known, by_words, draw, hard_negatives
from mm_milvus.training.model import HeadModel, Inputs, inputs_of
from tests.training import worlds


def world() -> tuple[HeadModel, Inputs]:
    """Random weights, with which no two scores are the same."""
    config, means = worlds.config("linear", 6), worlds.means()
    inputs = inputs_of(config, means, worlds.products(50), worlds.queries(), worlds.WEIGHTS)
    return worlds.random_model(config, means), inputs


@pytest.mark.parametrize(("products", "queries"), [(8_192, 1_024), (7, 2)])
def test_the_nearest_are_exact_whatever_the_parts(
    products: int, queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_PRODUCTS", products)
    monkeypatch.setattr(search, "_QUERIES", queries)
    model, inputs = world()
    with torch.no_grad():
        scores = (model.queries(inputs, torch.arange(5)) @ model.products(inputs, torch.arange(50)).T).numpy()
    scores[3, 3] = scores[4, 4] = -np.inf  # what they ask with
    found = search.nearest(model, inputs, np.arange(5), 10)
    np.testing.assert_array_equal(found, np.argsort(-scores, axis=1)[:, :10])
    everything = search.nearest(model, inputs, np.arange(5), 60)
    assert (everything[3] >= 0).sum() == 49
    assert set(everything[0][everything[0] >= 0]) == set(range(50))


def test_known_hides_what_is_wanted_and_its_twins() -> None:
    labels = worlds.labels([0, 0, 1, 2], [3, 5, 7, 3])
    twins = np.arange(10)
    twins[9] = twins[5]
    known = Known(labels, twins)
    hidden = known.hidden(np.array([0, 1, 0]), np.array([1, 3, 5, 7, 9]))
    assert hidden.tolist() == [
        [False, True, True, False, True],
        [False, False, False, True, False],
        [False, True, True, False, True],
    ]


def test_hard_negatives_are_near_and_never_wanted() -> None:
    model, inputs = world()
    labels = worlds.labels([0, 0, 1, 2, 3, 4], [3, 5, 7, 3, 1, 2])
    known = Known(labels, np.arange(50))
    words = np.full((5, MINED), -1)
    words[1, :3] = [7, 48, 49]
    pool = hard_negatives(model, inputs, np.arange(5), words, known, 0)
    near = search.nearest(model, inputs, np.arange(5), 35)
    for query, wanted in enumerate([{3, 5}, {7}, {3}, {1}, {2}]):
        expected = [int(place) for place in near[query] if int(place) not in wanted][:MINED]
        expected += [48, 49] if query == 1 else []
        assert set(pool[query][pool[query] >= 0].tolist()) == set(expected)
    skipped = hard_negatives(model, inputs, np.arange(5), words, known, 2)
    first = [int(place) for place in near[2] if place != 3][:2]
    assert not set(first) & set(skipped[2].tolist())
    drawn = draw(pool, 4, np.random.default_rng(0))
    assert set(drawn.tolist()) <= set(pool[pool >= 0].tolist())
    assert 4 < len(drawn) <= 20


def test_hard_negatives_of_many_queries_are_those_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways together, row by row in plain Python, with twins, a product that asks, and parts of two queries."""
    monkeypatch.setattr(mining, "_ROWS", 2)
    model, inputs = world()
    twins = np.arange(50)
    twins[[7, 30]] = twins[3]
    labels = worlds.labels([0, 0, 1, 2, 3, 4], [3, 9, 7, 1, 12, 40])
    rng = np.random.default_rng(0)
    words = np.stack([rng.permutation(50)[:MINED] for _ in range(5)])
    words[1, 5:] = -1
    found = hard_negatives(model, inputs, np.arange(5), words, Known(labels, twins), skip_top=2)
    near = search.nearest(model, inputs, np.arange(5), 50)
    for query in range(5):
        wanted = set(twins[labels.product[labels.query == query]])
        by_head = [p for p in near[query] if p >= 0 and twins[p] not in wanted][2:][:MINED]
        by_words = [p for p in words[query] if p >= 0 and twins[p] not in wanted]
        expected = sorted({*by_head, *by_words} - {int(inputs.product_at[query])})
        assert found[query][found[query] >= 0].tolist() == expected
        assert (found[query][len(expected) :] == -1).all()


def test_a_query_that_wants_nearly_everything_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets the negatives that are left, twins of what it wants not among them; nobody is ranked any deeper."""
    model, inputs = world()
    twins = np.arange(50)
    twins[49] = twins[0]
    labels = worlds.labels([0] * 45 + [1, 2, 3, 4], [*range(45), 7, 1, 12, 40])
    ranked: list[tuple[int, ...]] = []

    def seen(*args: Any) -> np.ndarray:
        ranked.append((found := search.nearest(*args)).shape)
        return found

    monkeypatch.setattr(mining, "nearest", seen)
    words = np.full((5, MINED), -1)
    found = hard_negatives(model, inputs, np.arange(5), words, Known(labels, twins), skip_top=0)
    assert ranked == [(5, MINED)]
    assert found[0][found[0] >= 0].tolist() == [45, 46, 47, 48]
    near = search.nearest(model, inputs, np.arange(5), 50)
    assert set(found[2][found[2] >= 0]) == set([p for p in near[2] if p != 1][:MINED])


def test_the_best_by_words_are_those_of_a_full_sort() -> None:
    """With many equal scores, of which the first products count."""
    texts = [("red shoe", "red", "red red mug", "cup")[place % 4] for place in range(200)]
    for row, query in zip(
        by_words(["red", "shoe red", "red"], texts), ("red", "shoe red", "red"), strict=True
    ):
        scores = WordIndex(texts).scores(query.split())
        assert row.tolist() == np.argsort(-scores, kind="stable")[:MINED].tolist()


def test_words_find_products_that_have_them() -> None:
    found = by_words(["red shoe", "", "nothing"], ["blue shoe", "red shoe", "mug", "red mug"])
    assert found[0][:3].tolist()[0] == 1
    assert set(found[0][:3].tolist()) == {0, 1, 3}
    assert (found[1:] == -1).all()


# --- nDCG@10 -----------------------------------------------------------------------------------------------


def test_ndcg_is_written_out() -> None:
    """Grades 3 and 1 at the ranks 2 and 3 of one query; nothing found for another."""
    found = np.array([[9, 1, 2, 8, 7, 6, 5, 4, 3, 0], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]])
    gained = 3 / math.log2(3) + 1 / math.log2(4)
    best = 3 / math.log2(2) + 1 / math.log2(3)
    assert ndcgs(found, [{1: 3.0, 2: 1.0}, {0: 1.0}]).mean() == pytest.approx((gained / best + 0) / 2)


def test_ndcg_is_that_of_ir_measures() -> None:
    ir_measures = pytest.importorskip("ir_measures")
    rng = np.random.default_rng(0)
    found = np.stack([rng.permutation(40)[:10] for _ in range(20)])
    grades = [
        {int(p): float(g) for p, g in zip(rng.permutation(40)[:n], rng.integers(1, 4, n), strict=True)}
        for n in rng.integers(1, 25, 20)
    ]
    qrels = [ir_measures.Qrel(str(q), str(p), int(g)) for q, one in enumerate(grades) for p, g in one.items()]
    run = [
        ir_measures.ScoredDoc(str(q), str(p), float(-r))
        for q, row in enumerate(found)
        for r, p in enumerate(row)
    ]
    expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)
    assert ndcgs(found, grades).mean() == pytest.approx(next(iter(expected.values())), abs=1e-9)


def test_a_split_is_measured_against_all_products(tmp_path: Path) -> None:
    model, inputs = world()
    near = search.nearest(model, inputs, np.arange(5), 3)
    labels = worlds.labels(
        [0, 1, 2, 3, 4], [near[q, r] for q, r in enumerate([0, 1, 2, 0, 0])], [DEV] * 3 + [TRAIN] * 2
    )
    assert ndcg_of(model, inputs, labels, DEV) == pytest.approx((1 + 1 / math.log2(3) + 0.5) / 3)
    assert ndcg_of(model, inputs, labels, 2) is None
