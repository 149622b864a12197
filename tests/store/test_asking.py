"""Our search requests are those of pymilvus, byte for byte; what fails is left to pymilvus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from mm_milvus.errors import ConnectionFailed, StoreError
from mm_milvus.store import Collection, Store
from mm_milvus.store.filters import F
from mm_milvus.store.tokens import tokenize

from .conftest import ids, row, stamp, unit

ROWS = [
    row("near", unit(1), title="a red shirt", price=10.0),
    row("红'\"", unit(1, 1)),
    row("far", unit(0, 1)),
]

SEARCHES: dict[str, Callable[[Collection], Any]] = {
    "plain": lambda shop: shop.search(unit(1)),
    "page": lambda shop: shop.search(unit(1, 2), limit=2, offset=1),
    "fields": lambda shop: shop.search(unit(1), fields=["price", "颜色"]),
    "filter": lambda shop: shop.search(unit(1), filter=shop.parse("颜色 == '红' or price < 20")),
    "ids": lambda shop: shop.rank(unit(1), limit=3),
    "several": lambda shop: shop.rank_all(np.stack([unit(1), unit(1, 1)]), limit=2),
    "of some": lambda shop: shop.inner_products(unit(1), ["near", "红'\""]),
    "words": lambda shop: shop.capabilities.bm25 and shop.rank_words(tokenize("words 红"), limit=5),
}


class Telephone:
    """Stands before the stub of Milvus: notes what is asked, and may answer with an error."""

    def __init__(self, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
        stub = collection._link.client._get_connection()._stub
        self.requests: list[Any] = []
        self.errors: list[Exception] = []
        ask = stub.Search

        def search(request: Any, **options: Any) -> Any:
            self.requests.append(request)
            if self.errors:
                raise self.errors.pop(0)
            return ask(request, **options)

        monkeypatch.setattr(stub, "Search", search)


class Failed(grpc.RpcError):  # type: ignore[misc]
    def __init__(self, code: grpc.StatusCode) -> None:
        self.code = lambda: code
        self.details = lambda: "Deadline Exceeded"


@pytest.fixture(scope="module")
def shop(store: Store) -> Iterator[Collection]:
    name = f"asking_{os.urandom(4).hex()}"
    collection = store.create(name, stamp(store))
    assert collection.write(ROWS) == []
    collection.flush()
    yield collection
    store.drop(name)


@pytest.fixture
def asked(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> Telephone:
    monkeypatch.setattr(shop._ask, "_works", True)
    return Telephone(shop, monkeypatch)


@pytest.mark.parametrize("consistency", ["Strong", "Session", "Bounded", "Eventually"])
@pytest.mark.parametrize("search", SEARCHES)
def test_requests_and_answers_are_those_of_pymilvus(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch, search: str, consistency: str
) -> None:
    monkeypatch.setattr(shop._ask, "_consistency", consistency)
    monkeypatch.setattr(shop._ask, "_kept", {})
    answers = []
    for works in (True, True, False):  # a request of this kind for the first time, a kept one, and theirs
        shop._ask._works = works
        answers.append(SEARCHES[search](shop))
    assert answers[0] == answers[1] == answers[2]
    told = [request.SerializeToString(deterministic=True) for request in asked.requests]
    if shop.capabilities.bm25 or search != "words":
        assert len(set(told)) == len(told) / 3 == len(shop._ask._kept)
        assert answers[0]


def test_kept_requests_ask_for_what_is_asked_now(shop: Collection) -> None:
    assert ids(shop.search(unit(1), limit=2)) == ["near", "红'\""]
    assert ids(shop.search(unit(0, 1), limit=2)) == ["far", "红'\""]
    assert ids(shop.search(unit(0, 1), limit=2, filter=(F.id != "far").bind({}))) == ["红'\"", "near"]
    assert ids(shop.search(unit(0, 1), limit=1)) == ["far"]
    assert shop._ask._works
    assert [len(found) for found in shop.rank_all(np.stack([unit(1), unit(1, 1)]), limit=3)] == [3, 3]


def test_the_short_way_is_the_one_that_is_taken(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop._link.client, "search", None)
    assert ids(shop.search(unit(1), limit=1)) == ["near"]
    assert len(asked.requests) == 1


@pytest.mark.parametrize("error", [Failed(grpc.StatusCode.UNAVAILABLE), ValueError("closed channel")])
def test_what_fails_is_asked_again_by_pymilvus(shop: Collection, asked: Telephone, error: Exception) -> None:
    asked.errors = [error]
    assert ids(shop.search(unit(1), limit=1)) == ["near"]
    assert len(asked.requests) == 2
    assert ids(shop.search(unit(1), limit=1)) == ["near"]  # and the next one is sent by us again
    assert len(asked.requests) == 3


def test_when_the_time_is_over_nothing_is_asked_again(shop: Collection, asked: Telephone) -> None:
    asked.errors = [Failed(grpc.StatusCode.DEADLINE_EXCEEDED)]
    with pytest.raises(ConnectionFailed, match="Milvus does not answer"):
        shop._link.call("cannot search", lambda client: shop._ask(client, **WHATEVER), patient=False)
    assert len(asked.requests) == 1


def test_errors_are_those_of_pymilvus(shop: Collection, asked: Telephone) -> None:
    told = []
    for works in (True, False):
        shop._ask._works = works
        with pytest.raises(StoreError) as error:
            shop._link.call(
                "cannot search", lambda client: shop._ask(client, **WHATEVER | {"queries": [b"abcd"]})
            )
        told.append(str(error.value))
    assert told[0] == told[1]


def test_another_pymilvus_is_left_to_itself(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("pymilvus.client.call_context._api_level_md")
    monkeypatch.setattr("pymilvus.client.grpc_handler._api_level_md", lambda context: None)
    assert ids(shop.search(unit(1), limit=1)) == ["near"]
    assert not shop._ask._works


def test_few_kinds_of_requests_are_kept(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mm_milvus.store.asking._KINDS", 3)
    monkeypatch.setattr(shop._ask, "_kept", {})
    for limit in range(1, 9):
        assert len(shop.search(unit(1), limit=limit)) == min(limit, len(ROWS))
        assert len(shop._ask._kept) <= 3


def test_what_was_just_written_is_found_in_a_session(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection._ask, "_consistency", "Session")
    for number in range(5):
        assert collection.write([row(f"p{number}", unit(1))], new=True) == []
        assert len(collection.search(unit(1))) == number + 1
    assert collection._ask._works


WHATEVER: dict[str, Any] = {
    "queries": [unit(1).tobytes()], "field": "fused", "params": {"metric_type": "IP"}, "expression": "", "limit": 3,
    "output_fields": ["id"],
}  # fmt: skip
