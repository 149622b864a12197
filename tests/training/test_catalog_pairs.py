"""Pairs that a catalog makes of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mm_milvus.errors import ConfigError
from mm_milvus.training.catalog import facets_of, labels_from_catalog
from mm_milvus.training.data import DEV, TRAIN, Asked, Labels, Products
from tests.training import worlds

COLOURS, KINDS = ("red", "blue", "green"), ("shoe", "mug")


def shop() -> Products:
    rows: list[dict[str, Any]] = []
    for number in range(18):
        colour, kind = COLOURS[number % 3], KINDS[number // 3 % 2]
        rows.append(
            {
                "id": f"p{number:03d}", "title": f"{colour} {kind} model {number}", "color": colour, "kind": kind,
                "sku": f"sku-{number}", "price": 1.5 * number, "description": "soft", "tags": ["a"],
            }
        )  # fmt: skip
    return replace(worlds.products(18, complete=True), rows=rows)


def wanted_by(labels: Labels) -> dict[Asked, list[int]]:
    return {asked: labels.product[labels.query == query].tolist() for query, asked in enumerate(labels.asked)}


def made(products: Products, **options: Any) -> Labels:
    return labels_from_catalog(products, dev_share=0.1, seed=0, **options)


def test_facets_are_attributes_of_few_short_values() -> None:
    assert set(facets_of(shop().rows)) == {"color", "kind"}


def test_every_pair_is_true() -> None:
    products = shop()
    rows = products.rows
    found = wanted_by(made(products))
    kinds = {"title": 0, "attributes": 0, "picture": 0, "changed": 0}
    for asked, wanted in found.items():
        words = asked.text.lower().split()
        if asked.picture_of >= 0 and not words:
            kinds["picture"] += 1
            assert wanted == [asked.picture_of]
        elif asked.picture_of >= 0:
            kinds["changed"] += 1
            shown = rows[asked.picture_of]
            other = "kind" if asked.text in COLOURS else "color"
            name = "color" if asked.text in COLOURS else "kind"
            assert shown[name] != asked.text
            assert wanted == [
                n for n, r in enumerate(rows) if (r[name], r[other]) == (asked.text, shown[other])
            ]
        else:
            every = {"color", "kind"} if set(words) <= {*COLOURS, *KINDS} else set()
            kinds["attributes" if every else "title"] += 1
            assert wanted == [n for n, r in enumerate(rows) if set(words) <= set(r["title"].split())]
    assert kinds["title"] > 18 and kinds["picture"] == 18
    assert kinds["attributes"] >= 5 and kinds["changed"] >= 5


def test_the_same_seed_makes_the_same_pairs() -> None:
    one, other = made(shop()), made(shop())
    assert one.asked == other.asked
    for name in ("query", "product", "split", "held_out"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert labels_from_catalog(shop(), dev_share=0.1, seed=1).asked != one.asked


def test_products_that_the_dev_split_asks_for_are_not_learned_from() -> None:
    products = shop()
    products.image[1], products.text[1] = products.image[0], products.text[0]  # twins
    labels = labels_from_catalog(products, dev_share=0.3, seed=0)
    learned = set(labels.product[labels.learned].tolist())
    unseen = set(range(18)) - learned
    assert len(unseen) in (5, 6)  # of 17 groups
    assert (0 in unseen) == (1 in unseen)
    found = wanted_by(labels)
    for query, asked in enumerate(labels.asked):
        wanted = set(found[asked])
        assert labels.split[query] == (DEV if wanted <= unseen else TRAIN) or wanted & unseen
    dev = [query for query in range(len(labels.asked)) if labels.split[query] == DEV]
    assert 0.2 < len(dev) / len(labels.asked) < 0.45
    # What a query of the training wants among them stays known, so that it is never a negative.
    kept = labels.held_out
    assert kept.any() and set(labels.product[kept].tolist()) <= unseen
    assert (labels.split[labels.query[kept]] == TRAIN).all()
    pairs = labels.counts()[1]
    assert pairs["train"] == len(labels.learned) and sum(pairs.values()) == len(labels.query) - kept.sum()


def test_too_few_products_hold_out_queries() -> None:
    two = replace(shop(), rows=[{"title": "red shoe"}, {"title": "blue mug"}])
    two = replace(two, ids=two.ids[:2], image=two.image[:2], text=two.text[:2], present=two.present[:2])
    labels = labels_from_catalog(two, dev_share=0.1, seed=0)
    assert (labels.split == DEV).sum() == 1 and not labels.held_out.any()
    assert (labels_from_catalog(two, dev_share=0.0, seed=0).split == TRAIN).all()


def test_crops_are_further_views_of_each_picture() -> None:
    labels = made(shop(), crops=2, pictures=lambda ids: {id: f"/{id}.jpg" for id in ids[:3]})
    views = {one: wanted for one, wanted in wanted_by(labels).items() if one.image}
    assert views == {Asked(image=f"/p{n:03d}.jpg", view=view): [n] for n in range(3) for view in (1, 2)}


def test_products_with_the_same_picture_are_wanted_together() -> None:
    products = shop()
    products.image[5] = products.image[2]
    found = wanted_by(made(products))
    assert found[Asked(picture_of=2)] == [2, 5]
    assert Asked(picture_of=5) not in found


def test_products_that_say_nothing_are_an_error() -> None:
    products = shop()
    products.present[:, 0] = False
    silent = replace(products, rows=[{"id": row["id"]} for row in products.rows])
    with pytest.raises(ConfigError, match="neither titles, attributes nor pictures"):
        made(silent)


def large(count: int) -> Products:
    """A shop of six colours and six kinds, with titles of their own for most products."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        colour, kind = f"colour{number % 6}", f"kind{number // 6 % 6}"
        rows.append({"id": f"p{number:05d}", "title": f"{number} of a kind", "color": colour, "kind": kind})
    found = worlds.products(count, complete=True)
    return replace(found, ids=[row["id"] for row in rows], rows=rows)


def test_a_shop_that_grows_keeps_the_queries_that_say_enough() -> None:
    """A colour and a kind fit 250 of 9,000 products, and a colour alone 1,500: more than a tenth."""
    labels = labels_from_catalog(large(9_000), dev_share=0.0, seed=0)
    queries = {one.text: query for query, one in enumerate(labels.asked) if one.picture_of < 0}
    both = [text for text in queries if "colour" in text and "kind" in text]
    alone = {f"{name}{n}" for name in ("colour", "kind") for n in range(6)}
    assert {frozenset(text.split()) for text in both} == {
        frozenset((f"colour{c}", f"kind{k}")) for c in range(6) for k in range(6)
    }
    assert not alone & set(queries)
    assert labels.too_broad == 12 + 3  # and "of a kind", "of a", "a kind"
    # All 250 are known, 200 of them learned from.
    asked = queries[both[0]]
    assert (labels.query == asked).sum() == 250
    assert (labels.query[labels.learned] == asked).sum() == 200
    assert labels.counts()[1]["train"] == len(labels.learned)
    # Pictures ask for another value, fewer of them the more products have it.
    changed = [query for query, one in enumerate(labels.asked) if one.picture_of >= 0 and one.text]
    assert 0 < np.isin(labels.query, changed).sum() / 9_000 < 25


def test_words_that_mean_more_than_one_thing_are_bounded_by_all_that_they_fit() -> None:
    """One product is called like a colour of which there are too many: no query wants that product alone."""
    products = large(9_000)
    products.rows[5]["title"] = "colour0"
    assert Asked("colour0") not in wanted_by(labels_from_catalog(products, dev_share=0.0, seed=0))
