"""A Milvus that goes away and comes back: calls wait for it, and nothing else is waited for."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from mm_milvus.config import Settings
from mm_milvus.errors import AuthenticationFailed, CollectionNotFound, ConnectionFailed, StoreError
from mm_milvus.store import Collection, Store
from mm_milvus.store.failures import NotReady, blames_rows, is_transient, translated
from mm_milvus.store.link import Link
from tests.tcp_proxy import Proxy

from .conftest import row, stamp, unit

pytestmark = [pytest.mark.server, pytest.mark.alone]


@pytest.fixture(scope="module")
def proxy(server_uri: str) -> Iterator[Proxy]:
    address = urlsplit(server_uri)
    with Proxy(address.hostname or "", address.port or 0) as opened:
        yield opened


@pytest.fixture(scope="module")
def collection_name(server_uri: str) -> Iterator[str]:
    """A collection with the product "old", made directly at the server."""
    name = f"retry_{os.getpid()}"
    with Store(Settings(uri=server_uri)) as direct:
        direct.create(name, stamp(direct)).write([row("old", title="x")])
        yield name
        direct.drop(name)


@contextmanager
def opened(
    proxy: Proxy, name: str, *, retry_seconds: float = 30.0, timeout: float = 20.0
) -> Iterator[tuple[Store, Collection, list[str]]]:
    """A connection over the proxy, a collection, and what ``on_wait`` was told."""
    proxy.restore()
    said: list[str] = []
    settings = Settings(uri=proxy.uri, timeout=timeout)
    with Store(settings, retry_seconds=retry_seconds, on_wait=said.append) as store:
        yield store, store.open(name), said
    proxy.restore()


def both(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that run at the same time."""
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        results[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.slow
def test_reads_and_writes_wait_for_a_server_that_was_cut_off(proxy: Proxy, collection_name: str) -> None:
    with opened(proxy, collection_name) as (_, collection, said):
        proxy.cut()
        threading.Timer(5, proxy.restore).start()
        started = time.monotonic()
        refused, stored = both(
            lambda: collection.write([row("cut", title="x")]), lambda: collection.stored(["old"])
        )
        assert 5 <= time.monotonic() - started < 15  # it goes on within 10 s
        assert (refused, list(stored)) == ([], ["old"])
        assert collection.count(collection.parse('id == "cut"')) == 1
        collection.flush()
        assert {"cut", "old"} <= {found.id for found in collection.scan()}
    assert said[0] == f"{proxy.uri}: no answer for 0 s, trying again"
    assert all(re.fullmatch(rf"{proxy.uri}: no answer for \d+ s, trying again", line) for line in said)
    assert len(said) >= 4


def test_a_server_that_hangs_is_given_up_call_by_call(proxy: Proxy, collection_name: str) -> None:
    with opened(proxy, collection_name, timeout=1) as (_, collection, said):
        proxy.hang()
        threading.Timer(4, proxy.restore).start()
        started = time.monotonic()
        refused, found = both(
            lambda: collection.write([row("hung", title="x")]), lambda: collection.vectors(["old"])
        )
        assert 4 <= time.monotonic() - started < 14
        assert refused == []
        assert found["old"][0].tobytes() == unit(1).tobytes()
        assert collection.count(collection.parse('id == "hung"')) == 1
        assert said


def test_it_gives_up_after_the_time_that_was_set(proxy: Proxy, collection_name: str) -> None:
    with opened(proxy, collection_name, retry_seconds=2) as (_, collection, said):
        proxy.cut()
        for call in (collection.count, lambda: collection.write([row("lost", title="x")])):
            started = time.monotonic()
            with pytest.raises(ConnectionFailed, match=r"^[^\n]*; tried for 2 s$"):
                call()
            assert 2 <= time.monotonic() - started < 4
        assert said
        proxy.restore()
        assert collection.count(collection.parse('id == "lost"')) == 0  # and works again afterwards


def test_without_retry_seconds_nothing_is_waited_for(proxy: Proxy, collection_name: str) -> None:
    with opened(proxy, collection_name, retry_seconds=0) as (_, collection, said):
        proxy.cut()
        started = time.monotonic()
        with pytest.raises(ConnectionFailed) as caught:
            collection.count()
        assert time.monotonic() - started < 2
        assert "tried for" not in str(caught.value)
        assert said == []


def test_stop_waiting_ends_a_pause_at_once(proxy: Proxy, collection_name: str) -> None:
    with opened(proxy, collection_name) as (store, collection, _):
        proxy.cut()
        threading.Timer(2, store.stop_waiting).start()
        started = time.monotonic()
        with pytest.raises(ConnectionFailed, match="tried for"):
            collection.count()
        assert time.monotonic() - started < 2.5
        started = time.monotonic()
        with pytest.raises(ConnectionFailed, match="tried for 0 s"):
            collection.count()
        assert time.monotonic() - started < 0.5


def test_the_first_connection_is_not_waited_for(proxy: Proxy) -> None:
    proxy.cut()
    started = time.monotonic()
    with pytest.raises(ConnectionFailed, match="nothing answers"):
        Store(Settings(uri=proxy.uri), retry_seconds=30)
    assert time.monotonic() - started < 3


def test_what_will_not_get_better_is_raised_at_once(proxy: Proxy, collection_name: str) -> None:
    with opened(proxy, collection_name) as (store, _, said):
        gone = store.create(f"{collection_name}_gone", stamp(store))
        store.drop(gone.name)
        for call in (
            gone.count,
            lambda: gone.write([row("a", title="x")]),
            lambda: store.open("nowhere"),
        ):
            started = time.monotonic()
            with pytest.raises(CollectionNotFound):
                call()
            assert time.monotonic() - started < 3
        assert said == []


def test_a_write_of_unknown_outcome_leaves_each_row_once(
    proxy: Proxy, collection_name: str, server_uri: str
) -> None:
    rows = [row(f"unknown {n}", title="x") for n in range(20)]
    with (
        opened(proxy, collection_name) as (_, collection, said),
        Store(Settings(uri=server_uri)) as direct,
    ):
        watched = direct.open(collection_name)
        arrived = watched.parse('id like "unknown%"')

        def restore_when_stored() -> None:
            while watched.count(arrived) < 20:
                time.sleep(0.05)
            proxy.cut()
            time.sleep(1)
            proxy.restore()

        collection.write([row("first", title="x")])  # so that the request is all that is left to send
        proxy.mute()
        _, refused = both(restore_when_stored, lambda: collection.write(rows, new=True))
        assert refused == []
        assert said
        assert watched.count(arrived) == 20
        found = [stored.id for stored in watched.scan() if stored.id.startswith("unknown")]
        assert sorted(found) == sorted(row.id for row in rows)


def test_a_wrong_token_is_not_tried_again() -> None:
    calls: list[int] = []

    def refuse(_: Any) -> None:
        calls.append(1)
        raise AuthenticationFailed("no")

    said: list[str] = []
    link = Link(
        None,  # type: ignore[arg-type]  # never used
        lambda: pytest.fail("connected anew"),
        uri="here", timeout=1, retry_seconds=30, on_wait=said.append,
    )  # fmt: skip
    with pytest.raises(AuthenticationFailed):
        link.call("cannot", refuse)
    assert (calls, said) == ([1], [])


@pytest.mark.parametrize(
    ("message", "kind", "rows"),
    [
        ("server unavailable", ConnectionFailed, False),
        ("StatusCode.UNAVAILABLE: Socket closed", ConnectionFailed, False),
        ("context deadline exceeded", ConnectionFailed, False),
        ("Unexpected error, message=<Cannot invoke RPC on closed channel!>", ConnectionFailed, False),
        ("wait for loading collection timeout, collection: shop", NotReady, False),
        ("channel not found[channel=by-dev-rootcoord-dml_3]", NotReady, False),
        ("node offline[node=5]", NotReady, False),
        ("request is rejected by grpc RateLimiter middleware, rate limit exceeded", NotReady, False),
        ("quota exceeded[reason=memory quota exceeded]", NotReady, False),
        ("current_seq is monotonic, got 4 after 5", NotReady, False),
        ("can't find collection: shop", CollectionNotFound, False),
        ("auth check failure, please check username and password", AuthenticationFailed, False),
        ("[Errno 28] No space left on device", StoreError, False),
        ("disk quota exceeded", StoreError, False),
        ("out of memory", StoreError, False),
        ("the length (65) of 0th string exceeds max length (64)", StoreError, True),
    ],
)
def test_every_failure_has_its_answer(message: str, kind: type[StoreError], rows: bool) -> None:
    from pymilvus.exceptions import MilvusException

    with pytest.raises(StoreError) as caught, translated("cannot write"):
        raise MilvusException(message=message)
    assert caught.type is kind
    assert is_transient(caught.value) is (kind in (ConnectionFailed, NotReady))
    assert blames_rows(caught.value) is rows
