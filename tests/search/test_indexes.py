"""What is made of the products in memory: kept while they hold, given up before they are read again."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_milvus.config import Settings
from mm_milvus.errors import StoreError
from mm_milvus.search import indexes as module
from mm_milvus.search.indexes import Indexes
from mm_milvus.store import Collection, Store
from mm_milvus.store import collection as collections
from tests.store.conftest import row, stamp


def test_old_and_new_products_are_never_in_memory_together(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = store.create(name, stamp(store))
    collection.write([row("a", title="x")])
    collection.flush()
    indexes = Indexes(collection)
    first = weakref.ref(indexes.get("the test"))
    mirror = weakref.ref(collection.mirror("the test"))
    assert indexes.get("the test") is first()
    alive: list[Any] = []
    read = collection.products

    def products(*rows: int) -> Iterator[dict[str, Any]]:
        alive.extend((first(), mirror()))
        return read(*rows)

    monkeypatch.setattr(collection, "products", products)
    collection.write([row("b", title="x")])
    collection.flush()
    time.sleep(0.1)
    assert indexes.get("the test").mirror.ids == ["a", "b"]
    assert alive == [None, None]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Collection]:
    """2,400 products on Milvus Lite."""
    with Store(Settings(uri=str(tmp_path / "shop.db")), create=True) as opened:
        collection = opened.create("shop", stamp(opened))
        colours = ("red", "blue", "green")
        rows = [replace(row(f"p{n:04}"), text=f"{colours[n % 3]} shoe {n % 7}") for n in range(2_400)]
        collection.write(rows)
        collection.flush()
        yield collection


def test_words_are_ranked_in_memory_once_they_are_asked_for_often(
    shop: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    query = shop._query

    def counting(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
        found = query(*arguments, **options)
        asked.append(len(found))
        return found

    indexes = Indexes(shop)
    shop.total(None)
    monkeypatch.setattr(shop, "_query", counting)
    for _ in range(20):
        assert indexes.for_words() is None
    assert asked == []
    assert [indexes.for_words() is None for _ in range(4)] == [True, True, False, False]
    assert asked == [1_000, 1_000, 400, 0]  # and no query waited for more than a thousand products
    index = indexes.for_words()
    assert index is not None
    for tokens in ("red", "blue 3", "shoe 5 green"):
        exact = index.rank_words(tokens, None, 5_000)
        assert exact == pytest.approx(shop.rank_words(tokens, limit=5_000), abs=1e-4)
        some = ["p0007", "p0003", "p0001", "nowhere"]
        assert index.score_words(tokens, some) == {id: exact[id] for id in some if id in exact}


def test_a_change_is_seen_by_what_was_read(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OFTEN", 0)
    indexes = Indexes(shop)
    assert indexes.for_words() is None  # a thousand of them are read
    shop.delete_ids(["p0000"])
    shop.write([replace(row("p9999"), text="purple hat")])
    assert indexes.for_words() is None
    assert indexes.for_words() is None  # whoever writes has not yet come to an end
    shop.flush()
    time.sleep(0.1)
    while (index := indexes.for_words()) is None:
        pass
    assert (len(index.mirror.ids), index.mirror.ids[0]) == (2_400, "p0001")
    assert list(index.rank_words("purpl", None, 10)) == ["p9999"]
    shop.delete_ids(["p9999"])
    time.sleep(0.1)
    assert indexes.for_words() is None


def test_too_many_products_are_not_read_ahead(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OFTEN", 0)
    monkeypatch.setattr(collections, "MOST_ROWS", 2_399)
    monkeypatch.setattr(shop, "products", lambda: pytest.fail("it reads"))
    indexes = Indexes(shop)
    assert [indexes.for_words() for _ in range(5)] == [None] * 5


def test_a_reading_that_fails_begins_anew(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OFTEN", 0)
    indexes = Indexes(shop)
    assert indexes.for_words() is None
    call = shop._call
    monkeypatch.setattr(shop, "_call", failing)
    with pytest.raises(StoreError):
        indexes.for_words()
    monkeypatch.setattr(shop, "_call", call)
    assert [indexes.for_words() is None for _ in range(3)] == [True, True, False]
    assert len(shop.mirror("the test").ids) == 2_400


def failing(*_: Any, **__: Any) -> Any:
    raise StoreError("away")
