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
from mm_milvus.search.words import RankedWords
from mm_milvus.store import Collection, Store
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

    def products() -> Iterator[dict[str, Any]]:
        alive.extend((first(), mirror()))
        return read()

    monkeypatch.setattr(collection, "products", products)
    collection.write([row("b", title="x")])
    collection.flush()
    time.sleep(0.1)
    assert indexes.get("the test").mirror.ids == ["a", "b"]
    assert alive == [None, None]


def test_neither_are_their_words(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    indexes = Indexes(shop)
    first = weakref.ref(words(indexes))
    assert words(indexes) is first()
    alive: list[Any] = []
    read = shop.tokens
    monkeypatch.setattr(shop, "tokens", lambda purpose: alive.append(first()) or read(purpose))
    shop.write([row("new", title="x")])
    shop.flush()
    time.sleep(0.1)
    assert "new" in words(indexes).rank_words("word", None, 5)
    assert alive == [None]


def words(indexes: Indexes) -> RankedWords:
    found = indexes.for_words()
    assert found is not None
    return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Collection]:
    """2,400 products on Milvus Lite."""
    with Store(Settings(uri=str(tmp_path / "shop.db")), create=True) as opened:
        collection = opened.create("shop", stamp(opened))
        colours = ("red", "blue", "green")
        rows = [
            replace(row(f"p{n:04}", stock=n), text=f"{colours[n % 3]} shoe {n % 7}") for n in range(2_400)
        ]
        collection.write(rows)
        collection.flush()
        yield collection


def test_milvus_lite_ranks_words_alike_while_all_are_in_one_file(shop: Collection) -> None:
    ranked = words(Indexes(shop))
    low = shop.parse("stock < 100")
    for tokens in ("red", "blue 3", "shoe 5 green", "none"):
        exact = ranked.rank_words(tokens, None, 5_000)
        assert exact == pytest.approx(shop.rank_words(tokens, limit=5_000), abs=1e-4)
        few = ranked.rank_words(tokens, low, 5_000)
        assert few == {id: score for id, score in exact.items() if id < "p0100"}
        some = ["p0007", "p0003", "p0001", "nowhere"]
        assert ranked.score_words(tokens, some) == {id: exact[id] for id in some if id in exact}


@pytest.mark.parametrize("by_columns", [True, False])
def test_a_word_is_as_rare_as_it_is_in_the_whole_shop(shop: Collection, by_columns: bool) -> None:
    """After a change of a few products, which Milvus Lite takes for a shop of their own."""
    if not by_columns:
        shop._read_columns = lambda _: None  # type: ignore[method-assign]
    indexes = Indexes(shop)
    before = words(indexes).rank_words("purpl shoe", None, 3)
    shop.write([replace(row("p0003", stock=1), text="red shoe 3"), replace(row("new"), text="purple shoe")])
    shop.flush()
    time.sleep(0.1)
    after = words(indexes).rank_words("purpl shoe", None, 2_401)
    assert next(iter(after)) == "new" and after["new"] > 5
    assert max(before.values()) == pytest.approx(after["p0003"], abs=0.01)


def test_a_change_is_seen_by_what_was_read(shop: Collection) -> None:
    indexes = Indexes(shop)
    assert len(words(indexes).rank_words("red", None, 5_000)) == 800
    shop.delete_ids(["p0000"])
    shop.write([replace(row("p9999"), text="purple hat")])
    time.sleep(0.1)
    assert list(words(indexes).rank_words("purpl", None, 10)) == ["p9999"]  # while it is in no file yet
    shop.flush()
    time.sleep(0.1)
    assert len(words(indexes).rank_words("red", None, 5_000)) == 799
    shop.delete_ids(["p9999"])
    time.sleep(0.1)
    assert words(indexes).rank_words("purpl", None, 10) == {}


def test_a_filter_is_that_of_now_and_the_products_those_that_were_read(
    shop: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = Indexes(shop)
    ranked = words(indexes)
    shop.delete_ids(["p0003"])
    shop.write([replace(row("new", stock=1), text="red shoe")])
    shop.flush()
    time.sleep(0.1)
    assert list(ranked.rank_words("red", shop.parse("stock < 7"), 10)) == ["p0000", "p0006"]


def test_too_many_products_are_left_to_milvus(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 2_399)
    monkeypatch.setattr(shop, "tokens", lambda _: pytest.fail("it reads"))
    assert Indexes(shop).for_words() is None


def test_a_reading_that_fails_begins_anew(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    indexes = Indexes(shop)
    with monkeypatch.context() as patch:
        patch.setattr(shop, "_read_columns", failing)
        with pytest.raises(StoreError):
            indexes.for_words()
        with pytest.raises(StoreError):
            indexes.get("the test")
    assert len(words(indexes).rank_words("shoe", None, 5_000)) == 2_400
    assert len(indexes.get("the test").mirror.ids) == 2_400


def failing(*_: Any) -> Any:
    raise StoreError("away")
