"""Facets over what a query finds, where it does not take all products, on real Milvus Lite."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as product_of
from pathlib import Path
from typing import Any

import pytest

from mm_milvus import Facet, FacetCounts, Query, Signal
from mm_milvus.config import Settings
from mm_milvus.search import facets, routes, run
from mm_milvus.store import Store, mirror
from mm_milvus.store.filters import matches
from tests.search.test_pages import NEAREST, Shop, product
from tests.store.conftest import stamp

ROWS = [
    ("a", 0.1, "red shoe", 30.0),
    ("b", 0.2, "red boot", 10.0),
    ("c", 0.3, "blue shoe", 20.0),
    ("d", 0.4, "blue shoe", None),
    ("e", 0.8, "green shoe", 25.0),
    ("f", 0.9, "green hat", 15.0),
]
WORDS = (Signal("text", "shoes"),)
TITLE = Facet("title")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Store(Settings(uri=str(tmp_path / "shop.db")), create=True) as store:
        collection = store.create("shop", stamp(store))
        collection.write(
            [
                product(id, place, title=title, **({} if price is None else {"price": price}))
                for id, place, title, price in ROWS
            ]
        )
        collection.flush()
        yield Shop(collection)


def counted(shop: Shop, *asked: Facet, **options: Any) -> tuple[FacetCounts, ...]:
    return shop.search(Query(**({"signals": NEAREST} | options), facets=asked, limit=1)).facets


def bound(shop: Shop) -> float:
    """The relevance that a to d have and the others have not."""
    page = shop.search(Query(NEAREST, min_score=-10.0, explain=True))
    return page[3].scores["relevance"] - 1e-6


def test_other_choices_are_shown_beside_the_one_made(shop: Shop) -> None:
    words: dict[str, Any] = {"signals": WORDS, "mode": "text"}
    shoes = (("blue shoe", 2), ("green shoe", 1), ("red shoe", 1))
    assert counted(shop, TITLE, **words)[0] == FacetCounts("title", shoes)
    assert counted(shop, TITLE, **words, filter='title == "red shoe"')[0] == FacetCounts("title", shoes)
    near = {"min_score": bound(shop)}
    titles = (("blue shoe", 2), ("red boot", 1), ("red shoe", 1))
    assert counted(shop, TITLE, **near)[0] == FacetCounts("title", titles)
    assert counted(shop, TITLE, **near, filter='title == "red shoe"')[0] == FacetCounts("title", titles)
    title, price = counted(shop, TITLE, Facet("price"), **near, filter='title == "red shoe" and price > 15')
    assert title.counts == (("blue shoe", 1), ("red shoe", 1))
    assert (price.counts, price.missing) == (((30.0, 1),), 0)
    page = shop.search(Query(NEAREST, filter='title == "red shoe"', facets=(TITLE,), **near))
    assert ([hit.id for hit in page], page.total) == (["a"], 1)


def test_one_ranking_for_each_filter(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    filters: list[Any] = []
    ranked = run.rank

    def rank(*given: Any) -> Any:
        filters.append(given[4])
        return ranked(*given)

    monkeypatch.setattr(run, "rank", rank)
    near: dict[str, Any] = {"min_score": 0.0}
    asked = (TITLE, Facet("price"), Facet("stock"), Facet("price", bounds=(20,)), Facet("title", size=1))
    counted(shop, *asked, **near)
    assert len(filters) == 1
    counted(shop, *asked, **near, filter='not (title != "red shoe" or price > 30)')
    assert len(filters) == 1 + 3  # of the page, without the title and without the price
    counted(shop, *asked, **near, filter='title == "red shoe" or price > 30')
    assert len(filters) == 4 + 1


def test_what_does_not_cover_all_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    words: dict[str, Any] = {"signals": WORDS, "mode": "text"}
    monkeypatch.setattr(routes, "POOL", 3)
    title, stock = counted(shop, TITLE, Facet("stock"), **words, filter='title == "red shoe"')
    assert (title.exact, sum(count for _, count in title.counts)) == (False, 3)  # of four
    assert (stock.exact, stock.missing) == (True, 1)
    assert not counted(shop, TITLE, **words)[0].exact
    assert counted(shop, TITLE, min_score=-10.0, filter="price < 20")[0].exact  # of two
    assert not counted(shop, TITLE, min_score=-10.0)[0].exact
    assert counted(shop, TITLE, min_score=5.0)[0] == FacetCounts("title")  # none is better than the best


def test_the_best_of_too_many_are_those_without_the_condition(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MOST_ROWS", 4)
    title, price = counted(shop, TITLE, Facet("price"), filter='title == "red shoe"')
    assert (len(title.counts), title.exact) == (5, False)
    assert (price.counts, price.exact) == (((30.0, 1),), False)


@pytest.mark.parametrize(
    ("written", "field", "others"),
    [
        ('title == "a" and price < 3', "title", "price < 3"),
        ('title == "a" and price < 3', "stock", "title == \"a\" and price < 3"),
        ('not (title != "a" or price >= 3)', "title", "price < 3"),
        ('not (title != "a" or price >= 3)', "price", 'title == "a"'),
        ('not not (not (title != "a" or price >= 3) and stock > 1)', "title", "price < 3 and stock > 1"),
        ('not (title == "a" or title == "b")', "title", None),
        ('not (title == "a" and price < 3)', "title", 'not (title == "a" and price < 3)'),
        ('title == "a" or price < 3', "title", 'title == "a" or price < 3'),
        ('stock > 1 and not (title == "a" and price < 3)', "title", 'stock > 1 and not (title == "a" and price < 3)'),
    ],
)  # fmt: skip
def test_conditions_on_one_attribute_are_found_in_every_form(
    shop: Shop, written: str, field: str, others: str | None
) -> None:
    filter, found = shop.collection.parse(written), facets.without(shop.collection.parse(written), field)
    assert (found is None) == (others is None)
    if others == written:
        assert found == filter
    elif found and others:
        expected = shop.collection.parse(others)
        for title, price, stock in product_of(("a", "b", None), (2.0, 4.0, None), (1, 2)):
            row = {"title": title, "price": price, "stock": stock}
            assert matches(found, row) == matches(expected, row)
