"""How hosts are treated: requests at a time, pauses, hosts that do not answer, and an end that is asked for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mm_milvus.errors import MediaError
from mm_milvus.media import MediaPolicy, MediaReader, politeness

from .web import RED_PNG, Shop, serve

pytestmark = pytest.mark.alone


@pytest.fixture
def shop() -> Iterator[Shop]:
    with serve() as shop:
        yield shop


def opened(**policy: Any) -> MediaReader:
    return MediaReader(MediaPolicy(**({"allow_private_hosts": True} | policy)))


def outcome(reader: MediaReader, url: str) -> str:
    try:
        return "picture" if reader.fetch(url).data == RED_PNG else "something else"
    except MediaError as error:
        return str(error)


def test_requests_at_a_time_to_one_host_while_another_goes_on(shop: Shop) -> None:
    crowded = [shop.url(f"/count?{number}") for number in range(60)]
    other = [shop.url(f"/count?{number}", host="localhost") for number in range(6)]
    with opened(per_host=3) as reader, ThreadPoolExecutor(32) as pool:
        waiting = [pool.submit(reader.read, url) for url in crowded]
        assert [reader.read(url) for url in other] == [RED_PNG] * 6
        assert not all(future.done() for future in waiting)
        assert [future.result() for future in waiting] == [RED_PNG] * 60
    assert shop.most == {"127.0.0.1": 3, "localhost": 1}


def test_the_limit_holds_for_the_target_of_a_redirect_too(shop: Shop) -> None:
    urls = [shop.url(f"/to?{shop.url('/count', host='localhost')}") for _ in range(12)]
    with opened(per_host=2) as reader, ThreadPoolExecutor(12) as pool:
        assert list(pool.map(reader.read, urls)) == [RED_PNG] * 12
    assert shop.most == {"localhost": 2}


def test_waiting_for_a_turn_costs_no_time_of_the_picture(shop: Shop) -> None:
    with opened(per_host=1, deadline=0.3) as reader, ThreadPoolExecutor(16) as pool:
        started = time.monotonic()
        assert list(pool.map(reader.read, [shop.url("/count")] * 16)) == [RED_PNG] * 16
        assert time.monotonic() - started > 0.8


def test_all_pictures_of_a_host_wait_for_the_pause_that_it_asked_for(shop: Shop) -> None:
    with opened(deadline=0.8) as reader, ThreadPoolExecutor(4) as pool:
        busy = pool.submit(reader.read, shop.url("/busy"))
        while not shop.requests:
            time.sleep(0.01)
        time.sleep(0.1)
        later = [pool.submit(reader.read, shop.url(f"/red?{number}")) for number in range(3)]
        assert reader.read(shop.url("/red", host="localhost")) == RED_PNG
        assert not any(future.done() for future in (busy, *later))
        assert [future.result() for future in (busy, *later)] == [RED_PNG] * 4
    assert shop.paths()[:2] == ["/busy", "/red"]
    assert shop.times[2] - shop.times[0] >= 0.99


def test_a_host_that_asks_for_an_hour_is_left_alone(shop: Shop) -> None:
    with opened() as reader:
        assert outcome(reader, shop.url("/closed")).startswith("503 Service Unavailable: ")
        for _ in range(3):
            reason = outcome(reader, shop.url("/red"))
            assert reason.startswith(
                "127.0.0.1 asked for a pause of 3600 s (503 Service Unavailable); not asked again for 60 s: http"
            )
        assert outcome(reader, shop.url("/red", host="localhost")) == "picture"
    assert shop.paths() == ["/closed", "/red"]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_dead_host_fails_fast_and_comes_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(politeness, "_FIRST_CLOSURE", 0.6)
    port = closed_port()
    url = f"http://127.0.0.1:{port}/red"
    with opened(retries=0) as reader:
        assert all(outcome(reader, url).startswith("cannot connect (") for _ in range(10))
        started = time.monotonic()
        for _ in range(100):
            assert outcome(reader, url).startswith(
                "127.0.0.1 did not answer 10 times in a row (at last: cannot"
            )
        assert time.monotonic() - started < 0.5
        assert outcome(reader, shop.url("/red", host="localhost")) == "picture"
        time.sleep(0.6)
        with serve(port=port) as back:
            assert [outcome(reader, url) for _ in range(12)] == ["picture"] * 12
            assert len(back.requests) == 12


def test_a_silent_host_does_not_cost_every_picture_its_timeout(shop: Shop) -> None:
    with opened(retries=0, timeout=0.2, per_host=4) as reader, ThreadPoolExecutor(16) as pool:
        started = time.monotonic()
        reasons = list(pool.map(lambda number: outcome(reader, shop.url(f"/hang?{number}")), range(400)))
        assert time.monotonic() - started < 4.0  # 400 pictures, 4 at a time, would take 20 s
    assert 10 <= len(shop.requests) <= 14
    assert sum(reason.startswith("timed out after 0.2 s: ") for reason in reasons) == len(shop.requests)
    assert sum("did not answer 1" in reason for reason in reasons) == 400 - len(shop.requests)


def test_pictures_that_break_off_do_not_close_a_host(shop: Shop) -> None:
    with opened(retries=0) as reader:
        for _ in range(12):
            assert outcome(reader, shop.url("/long")).startswith("the connection broke: ")
        assert outcome(reader, shop.url("/red")) == "picture"


def test_answers_of_any_kind_keep_a_host_open(shop: Shop) -> None:
    with opened(retries=0, timeout=0.1) as reader:
        for _ in range(12):
            assert outcome(reader, shop.url("/nothing")).startswith("404 Not Found")
            assert outcome(reader, shop.url("/drops?" + str(time.monotonic()))).startswith(
                "the connection broke"
            )


def test_the_closure_doubles_and_one_picture_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(politeness.time, "monotonic", lambda: now)
    host = politeness.Host("a.example", 8)
    for _ in range(9):
        host.failed("timed out", now)
    assert host.wait() == 0
    host.failed("timed out", now)
    for length in (5, 10, 20, 40, 60, 60):
        before = now
        with pytest.raises(MediaError, match=f"in a row .* not asked again for {length} s"):
            host.wait()
        now += length + 0.1
        assert host.wait() == 0  # it tries
        with pytest.raises(MediaError):
            host.wait()  # the others do not
        host.failed("timed out", before)  # a request from before the closure says nothing new
        with pytest.raises(MediaError):
            host.check()
        host.failed("timed out", now)
    now += 61
    assert host.wait() == 0
    host.answered()
    assert host.wait() == 0
    for _ in range(9):
        host.failed("timed out", now)
    assert host.wait() == 0


def test_a_host_that_only_ever_asks_for_pauses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(politeness.time, "monotonic", lambda: now)
    host = politeness.Host("a.example", 8)
    for _ in range(9):
        for _ in range(8):  # side by side: one pause
            host.pause(7.0, "429 Too Many Requests", now)
        assert host.wait() == 7.0
        now += 7.5
        assert host.wait() == 0
    host.pause(7.0, "429 Too Many Requests", now)
    with pytest.raises(MediaError, match="did not answer 10 times in a row"):
        host.wait()


@contextlib.contextmanager
def deaf() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@contextlib.contextmanager
def full() -> Iterator[int]:
    """A port where no more connection is taken: connecting hangs."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def interrupted(urls: list[str], **policy: Any) -> tuple[list[str], float]:
    """What fetches say that run when the reader is closed, and seconds until all of them have ended."""
    reader = opened(**({"deadline": 20.0} | policy))
    with ThreadPoolExecutor(len(urls)) as pool:
        running = [pool.submit(outcome, reader, url) for url in urls]
        time.sleep(0.3)
        assert not any(future.done() for future in running)
        started = time.monotonic()
        reader.close()
        reasons = [future.result() for future in running]
        return reasons, time.monotonic() - started


@pytest.mark.parametrize("path", ["/hang", "/dribble", "/headers", "/busy?wait"])
def test_closing_ends_downloads_of_other_threads(shop: Shop, path: str) -> None:
    urls = [shop.url(f"{path}{number}") for number in ("?1", "?2", "?3")]
    reasons, took = interrupted(urls, per_host=2)
    assert took < 1.5
    assert reasons == [f"given up, because the reader was closed: {url}" for url in urls]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("listen", [deaf, full])
def test_closing_ends_connections_that_are_being_made(
    scheme: str, listen: Callable[[], contextlib.AbstractContextManager[int]]
) -> None:
    with listen() as port:
        reasons, took = interrupted([f"{scheme}://127.0.0.1:{port}/a.png"])
    assert took < 1.5
    assert reasons[0].startswith("given up, because the reader was closed: ")


def test_closing_ends_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()

    def silent(*args: object, **options: object) -> list[Any]:
        asked.set()
        over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    reasons, took = interrupted(["http://slow-names.example/a.png"])
    over.set()
    assert asked.is_set()
    assert took < 1.5
    assert reasons[0].startswith("given up, because the reader was closed: ")
