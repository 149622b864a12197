"""Our search requests are those of pymilvus, byte for byte; what fails is left to pymilvus."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from pymilvus.client.prepare import Prepare
from pymilvus.exceptions import ErrorCode, MilvusException

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
    "words": lambda shop: shop.rank_words(tokenize("words 红"), limit=5),
}


class Telephone:
    """Stands before the stub of Milvus: notes what is asked, and may answer with an error."""

    def __init__(self, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
        stub = collection._link.client._get_connection()._stub
        self.requests: list[Any] = []
        self.options: list[Any] = []
        self.errors: list[Exception] = []
        self.seconds = 0.0
        ask = stub.Search

        def search(request: Any, timeout: float, metadata: list[tuple[str, Any]]) -> Any:
            self.requests.append(request)
            self.options.append((timeout, [pair for pair in metadata if not pair[0].endswith("msec")]))
            time.sleep(self.seconds)
            if self.errors:
                raise self.errors.pop(0)
            return ask(request, timeout=timeout, metadata=metadata)

        monkeypatch.setattr(stub, "Search", search)


class Failed(grpc.RpcError):  # type: ignore[misc]
    def __init__(self, code: grpc.StatusCode) -> None:
        self.code = lambda: code
        self.details = lambda: "Deadline Exceeded"


WHATEVER: dict[str, Any] = {
    "queries": [unit(1).tobytes()], "field": "fused", "params": {"metric_type": "IP"}, "expression": "", "limit": 3,
    "output_fields": ["id"],
}  # fmt: skip


def ask(shop: Collection, **changes: Any) -> Any:
    return shop._link.call(
        "cannot search", lambda client: shop._ask(client, **WHATEVER | changes), patient=False
    )


@pytest.fixture(scope="module")
def shop(store: Store) -> Iterator[Collection]:
    name = f"asking_{os.urandom(4).hex()}"
    collection = store.create(name, stamp(store))
    assert collection.write(ROWS) == []
    collection.flush()
    yield collection
    store.drop(name)


@pytest.fixture(autouse=True)
def afresh(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test does to it, the next one finds it as it is at first."""
    monkeypatch.setattr(shop._ask, "_works", True)
    monkeypatch.setattr(shop._ask, "_kept", {})


@pytest.fixture
def asked(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> Telephone:
    return Telephone(shop, monkeypatch)


@pytest.mark.parametrize("consistency", ["Strong", "Session", "Bounded", "Eventually"])
@pytest.mark.parametrize("search", SEARCHES)
def test_requests_and_answers_are_those_of_pymilvus(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch, search: str, consistency: str
) -> None:
    if search == "words" and not shop.capabilities.bm25:
        pytest.skip("this Milvus does not rank words")
    if search == "of some" and shop.capabilities.lite:
        pytest.skip("Milvus Lite is asked for the vectors instead")
    monkeypatch.setattr(shop._ask, "_consistency", consistency)
    answers = []
    for works in (True, True, False):  # a request of this kind for the first time, a kept one, and theirs
        shop._ask._works = works
        answers.append(SEARCHES[search](shop))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]
    told = [request.SerializeToString(deterministic=True) for request in asked.requests]
    assert len(told) == 3 and len(set(told)) == 1 == len(shop._ask._kept)
    timeout, metadata = asked.options[0]
    assert timeout == shop._settings.timeout and dict(metadata).keys() == {"dbname", "client-request-id"}
    assert asked.options == 3 * asked.options[:1]


def test_what_is_kept_of_one_search_is_in_no_other(shop: Collection) -> None:
    some = (F.id != "near").bind({})
    searches: list[Callable[[], Any]] = [
        lambda: shop.rank(unit(1), limit=2),
        lambda: shop.search(unit(1), limit=2),
        lambda: shop.search(unit(0, 1), limit=2),
        lambda: shop.search(unit(1), limit=1),
        lambda: shop.search(unit(1), limit=1, offset=1),
        lambda: shop.search(unit(1), limit=2, fields=["title"]),
        lambda: shop.search(unit(1), limit=2, filter=some),
        lambda: shop.search(unit(0, 1), limit=2, filter=shop.parse("id != 'far'")),
        lambda: shop.rank_all(np.stack([unit(1), unit(1, 1)]), limit=2),
        lambda: shop.rank_all(np.stack([unit(0, 1), unit(1, 1), unit(1)]), limit=2),
    ]
    ours = [search() for search in searches + searches[::-1]]
    assert shop._ask._works
    shop._ask._works = False
    theirs = [search() for search in searches]
    assert ours == theirs + theirs[::-1]
    assert all(a != b for place, a in enumerate(theirs) for b in theirs[:place])


def test_how_far_a_search_looks_is_no_matter_of_an_earlier_one(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ef in (None, 300, 400):
        monkeypatch.setattr(shop, "_settings", shop._settings.replace(ef=ef))
        shop.search(unit(1), limit=2)
        shop.search(unit(1), limit=2, filter=shop.parse("id != 'far'"))
    widths = [str(request.search_params) for request in asked.requests]
    assert len(set(widths)) == (1 if shop.capabilities.lite else 4)


def test_a_request_is_packed_by_pymilvus_once(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = []
    pack = Prepare.search_requests_with_expr
    monkeypatch.setattr(
        Prepare, "search_requests_with_expr", lambda *a, **kw: packed.append(a) or pack(*a, **kw)
    )
    for _ in range(3):
        assert ids(shop.search(unit(1), limit=1)) == ["near"]
    assert len(packed) == 1


def test_the_short_way_is_the_one_that_is_taken(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop._link.client, "search", None)
    assert ids(shop.search(unit(1), limit=1)) == ["near"]
    assert len(asked.requests) == 1


def test_what_pymilvus_would_repeat_is_left_to_it(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.errors, asked.seconds = [Failed(grpc.StatusCode.UNAVAILABLE)], 0.2
    assert ids(shop.search(unit(1), limit=1)) == ["near"]
    assert asked.requests[0] == asked.requests[1]
    assert (
        asked.options[0][0] - 5 < asked.options[1][0] <= asked.options[0][0] - 0.2
    )  # what is left of the time
    monkeypatch.setattr(shop._link.client, "search", None)
    assert ids(shop.search(unit(1), limit=1)) == ["near"]  # and the next one is sent by us again
    assert len(asked.requests) == 3


def test_a_limit_of_the_rate_is_waited_for(shop: Collection, asked: Telephone) -> None:
    asked.errors = [MilvusException(ErrorCode.RATE_LIMIT, "rate limit exceeded")]
    assert ids(shop.search(unit(1), limit=1)) == ["near"]
    assert len(asked.requests) == 2


FINAL = {
    "deadline": (Failed(grpc.StatusCode.DEADLINE_EXCEEDED), ConnectionFailed),
    "exhausted": (Failed(grpc.StatusCode.RESOURCE_EXHAUSTED), StoreError),
    "status": (MilvusException(1, "no such thing"), StoreError),
    "closed": (ValueError("Cannot invoke RPC on closed channel!"), ConnectionFailed),
}


@pytest.mark.parametrize("case", FINAL)
def test_what_pymilvus_would_not_repeat_is_asked_once(shop: Collection, asked: Telephone, case: str) -> None:
    error, expected = FINAL[case]
    asked.errors = [error]
    with pytest.raises(expected):
        ask(shop)
    assert len(asked.requests) == 1
    assert shop._ask._works


def test_when_the_time_is_over_nothing_is_repeated(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop._ask, "_timeout", 0.1)
    asked.errors, asked.seconds = [Failed(grpc.StatusCode.UNAVAILABLE)], 0.2
    with pytest.raises(StoreError):
        ask(shop)
    assert len(asked.requests) == 1


@pytest.mark.parametrize(
    "wrong", [{"queries": [b"abcd"]}, {"limit": 0}, {"limit": -1}, {"expression": "id =="}]
)
def test_errors_are_those_of_pymilvus(shop: Collection, wrong: dict[str, Any]) -> None:
    told = []
    for works in (True, False):
        shop._ask._works = works
        with pytest.raises(StoreError) as error:
            ask(shop, **wrong)
        told.append(str(error.value))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "missing",
    [
        "pymilvus.client.call_context._api_level_md",
        "pymilvus.client.utils.check_status",
        "pymilvus.client.ts_utils.construct_guarantee_ts",
        "pymilvus.client.prepare.Prepare.search_requests_with_expr",
    ],
)
def test_another_pymilvus_is_left_to_itself(
    shop: Collection, asked: Telephone, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(shop._link.client, "search", lambda *a, **kw: "pymilvus")
    monkeypatch.delattr(missing)
    assert shop._ask(shop._link.client, **WHATEVER) == "pymilvus"
    assert not shop._ask._works


def test_few_kinds_of_requests_are_kept(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mm_milvus.store.asking._KINDS", 3)
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
