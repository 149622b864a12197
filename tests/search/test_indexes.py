"""What is made of the products in memory: kept while they hold, given up before they are read again."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from mm_milvus.search.indexes import Indexes
from mm_milvus.store import Store
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
