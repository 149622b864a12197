"""Ridge regression as a bridge: where pictures are texts that were turned, and where they have nothing in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mm_milvus.errors import ConfigError
from mm_milvus.fusion import HeadConfig, normalise
from mm_milvus.training.data import DEV, TEST, TRAIN, Asked, Labels, Products, Queries
from mm_milvus.training.measure import ndcg_of
from mm_milvus.training.model import HeadModel, Inputs, Means, inputs_of
from mm_milvus.training.ridge import _chosen, _Moments, build_bridges
from tests.training import worlds

COUNT, IMAGE, TEXT = 300, 12, 8


def world(*, turned: bool, dev: int = 60) -> tuple[HeadModel, Inputs, Labels]:
    """Every product is asked for by a text near its own; the first 60 products have no text."""
    rng = np.random.default_rng(0)
    text = worlds.unit(rng, COUNT, TEXT)
    image = text @ rng.standard_normal((TEXT, IMAGE)) if turned else rng.standard_normal((COUNT, IMAGE))
    image = normalise(image.astype(np.float32))
    present = np.ones((COUNT, 2), np.bool_)
    present[:60, 1] = False
    asked = normalise(text + 0.1 * worlds.unit(rng, COUNT, TEXT))
    nothing = np.full(COUNT, -1)
    queries = Queries(
        np.empty((0, IMAGE), np.float32), asked, nothing, np.arange(COUNT), nothing, [""] * COUNT
    )
    split = np.full(COUNT, TRAIN, np.int8)
    split[rng.permutation(np.arange(60, COUNT))[:dev]] = DEV
    split[:60] = -1  # of these nothing is known
    labels = Labels(
        [Asked(str(n)) for n in range(COUNT)],
        np.arange(COUNT),
        np.arange(COUNT),
        np.ones(COUNT, np.float32),
        split,
    )
    means = Means(np.zeros(IMAGE, np.float32), np.zeros(TEXT, np.float32), np.zeros(TEXT, np.float32))
    products = Products([""] * COUNT, image, text, present, [""] * COUNT, [])
    config = HeadConfig("linear", IMAGE + TEXT, IMAGE, TEXT, False, "drawn", "1")
    model, _ = worlds.started(config, means, products, queries)
    return model, inputs_of(config, means, products, queries, worlds.WEIGHTS), labels


def of_those_without_text(model: HeadModel, inputs: Inputs, labels: Labels) -> float:
    """nDCG@10 among them of the queries for them, which neither the regression nor the choice has seen."""
    alone = replace(inputs, image=inputs.image[:60], text=inputs.text[:60], present=inputs.present[:60])
    split = np.full(60, DEV, np.int8)
    asked = Labels(labels.asked[:60], np.arange(60), np.arange(60), labels.grade[:60], split)
    found = ndcg_of(model, alone, asked, DEV)
    assert found is not None
    return found


def test_words_find_what_only_has_a_picture() -> None:
    model, inputs, labels = world(turned=True)
    before = of_those_without_text(model, inputs, labels)
    start = model.query_text.detach().clone()
    chosen = build_bridges(model, inputs, labels, 0, lambda *_: None)
    assert before < 0.2
    assert of_those_without_text(model, inputs, labels) > 0.8
    words = chosen["text"]
    assert words.queries == 60 and words.share > 0
    assert words.ndcg_without is not None and words.ndcg_with is not None and words.p is not None
    assert words.ndcg_with > words.ndcg_without + 0.1 and words.p < 0.05
    # Nobody asks with pictures: the usual values, of which nothing can be told.
    assert (chosen["image"].queries, chosen["image"].ridge, chosen["image"].p) == (0, 1.0, None)
    # The text block is asked as before, and products are their blocks.
    torch.testing.assert_close(model.query_text[IMAGE:], start[IMAGE:])
    torch.testing.assert_close(model.product_image, torch.eye(IMAGE + TEXT)[:, :IMAGE].contiguous())


def test_where_looks_say_nothing_the_bridge_is_weak_or_none() -> None:
    """The usual share would cost more than a standard error of what is found by texts."""
    model, inputs, labels = world(turned=False, dev=200)
    chosen = build_bridges(model, inputs, labels, 0, lambda *_: None)
    assert chosen["text"].share <= 0.2


def test_it_is_ridge_regression_over_products_and_queries() -> None:
    _, inputs, labels = world(turned=True)
    labels.grade[:] = np.linspace(0.5, 2, COUNT)
    hidden = np.zeros(COUNT, np.bool_)
    hidden[100:150] = True
    found = _Moments.of(inputs, labels, 1, hidden).solved(3.0)
    both = inputs.present.all(dim=1).numpy() & ~hidden
    asked = (labels.split == TRAIN) & ~hidden
    text, image, texts = inputs.text.numpy(), inputs.image.numpy(), inputs.texts.numpy()
    root = np.sqrt(labels.grade[asked])[:, None]
    x = np.concatenate([text[both], root * texts[asked], np.sqrt(3.0) * np.eye(TEXT)])
    y = np.concatenate([image[both], root * image[asked], np.zeros((TEXT, IMAGE))])
    expected = np.linalg.lstsq(x, y, rcond=None)[0]
    length = np.sqrt(((x[:-TEXT] @ expected) ** 2).sum() / (both.sum() + labels.grade[asked].sum()))
    np.testing.assert_allclose(found, expected.T / length, atol=1e-4)


def test_what_is_hardly_better_stays_the_usual() -> None:
    rng = np.random.default_rng(0)
    usual = rng.random(50)
    same = {0.1: usual + rng.normal(0, 0.1, 50), 1.0: usual, 10.0: usual - 0.5}
    assert _chosen(same, 1.0) == 1.0
    assert _chosen(same | {10.0: usual + 0.5}, 1.0) == 10.0
    assert _chosen({value: scores[:1] for value, scores in same.items()}, 1.0) == 1.0


def test_the_bridge_is_judged_by_the_test_split_and_chosen_by_the_other() -> None:
    """Test queries that want products without anything to do with them."""
    model, inputs, labels = world(turned=True)
    chosen = build_bridges(model, inputs, labels, 0, lambda *_: None)["text"]
    assert (chosen.split, chosen.queries) == ("dev", 60)
    model, inputs, labels = world(turned=True)
    tests = np.flatnonzero(labels.split == TRAIN)[:40]
    labels.split[tests] = TEST
    labels.product[tests] = np.roll(labels.product[tests], 1)
    judged = build_bridges(model, inputs, labels, 0, lambda *_: None)["text"]
    assert (judged.split, judged.queries) == ("test", 40)
    assert judged.share == chosen.share
    assert judged.ndcg_with is not None and chosen.ndcg_with is not None and judged.p is not None
    assert judged.ndcg_with < 0.3 < chosen.ndcg_with and judged.p > 0.05


def test_a_share_that_finds_less_than_no_bridge_is_not_kept_however_few_the_queries() -> None:
    one = {0.0: np.array([1.0]), 0.1: np.array([1.0]), 0.5: np.array([0.387]), 1.0: np.array([0.2])}
    assert _chosen(one, 0.5) == 0.5
    assert _chosen(one, 0.5, without=0.0) == 0.1
    assert _chosen(one | {0.1: np.array([0.9])}, 0.5, without=0.0) == 0.0
    assert _chosen(dict.fromkeys(one, np.array([0.5])), 0.5, without=0.0) == 0.5  # it costs nothing
    unsure = {0.0: np.array([0.5, 1.0, 0.5]), 0.5: np.array([0.9, 0.1, 0.4])}
    assert (_chosen(unsure, 0.5), _chosen(unsure, 0.5, without=0.0)) == (0.5, 0.0)


def test_too_few_products_with_both_are_told() -> None:
    model, inputs, labels = world(turned=True)
    inputs.present[5:, 1] = False
    inputs.present[:5, 1] = True
    with pytest.raises(ConfigError, match="both a picture and a text: there are 5, and it needs 10"):
        build_bridges(model, inputs, labels, 0, lambda *_: None)
