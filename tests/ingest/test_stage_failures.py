"""An error of any stage ends the run soon, as itself; what was written stays, and no thread does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mm_milvus import ingest
from mm_milvus.encoders.base import Encoder, Prepared
from mm_milvus.errors import CatalogError, StoreError
from mm_milvus.records import IngestReport, Product, Rejected
from mm_milvus.store import Store
from tests.ingest.shops import Delegating, Rows, Shop, rows

STAGES = ("ingest-", "read", "fetch", "decode", "encode")


class Unplanned(Exception):
    """What nobody has thought of."""


class FailingCatalog:
    """A catalog that cannot be read on after some rows."""

    def __init__(self, real: Any, after: int, error: BaseException) -> None:
        self.real, self.after, self.error = real, after, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def products(self) -> Iterator[Product | Rejected]:
        for number, row in enumerate(self.real.products()):
            if number == self.after:
                raise self.error
            yield row


class FailingCollection:
    """A collection whose method fails for good from some call on."""

    def __init__(self, real: Any, method: str, after: int, error: BaseException) -> None:
        self.real, self.method, self.left, self.error = real, method, after, error

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        return self.guarded(found) if name == self.method else found

    def guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **options: Any) -> Any:
            if self.left == 0:
                raise self.error
            self.left -= 1
            return call(*args, **options)

        return guarded


def run(
    small: Shop,
    products: Rows,
    encoder: Any,
    *,
    catalog: Callable[[Any], Any] = lambda real: real,
    collection: Callable[[Any], Any] = lambda real: real,
    **options: Any,
) -> IngestReport:
    """``Client.ingest`` with parts that fail."""
    settings = small.client.settings.replace(**options)
    source = ingest.open_source(small.write(products), settings, None)
    with Store(settings, create=True) as store:
        target, new = ingest.open_target(store, source, encoder, settings)
        return ingest.run(catalog(source), collection(target), [encoder], settings, new=new)


@contextmanager
def ended(small: Shop, error: BaseException, written: tuple[int, int]) -> Iterator[None]:
    """The block raises ``error`` itself within 10 s, its threads end, and as many rows are stored."""
    began = time.monotonic()
    with pytest.raises(type(error)) as caught:
        yield
    assert caught.value is error
    assert time.monotonic() - began < 10
    assert left_after(3.0) == []
    least, most = written
    assert least <= len(small.ids()) <= most


def left_after(seconds: float) -> list[str]:
    """Names of the worker's threads that still run after this time."""
    until = time.monotonic() + seconds
    while names := [t.name for t in threading.enumerate() if t.name.startswith(STAGES)]:
        if time.monotonic() > until:
            return names
        time.sleep(0.02)
    return []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("after", [0, 1, 150])
def test_a_catalog_that_breaks_in_the_middle(small: Shop, encoder: Encoder, after: int) -> None:
    """What was read before is written: at least all whole groups of rows, 64 each."""
    error = CatalogError("the disk is gone")
    small.draw("a.png")
    with ended(small, error, (0, after)):
        run(small, rows(200, image="a.png"), encoder, catalog=lambda real: FailingCatalog(real, after, error),
            batch_size=8)  # fmt: skip
    small.reopen()
    assert small.ingest(rows(200, image="a.png")).read == 200


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("method", "after", "written"),
    [("write", 0, (0, 0)), ("stored", 0, (100, 100)), ("flush", 0, (100, 200))],
)
def test_a_store_that_fails_for_good(
    small: Shop, encoder: Encoder, method: str, after: int, written: tuple[int, int]
) -> None:
    error = StoreError("the disk of Milvus is full")
    small.draw("a.png")
    if written[0]:
        small.ingest(rows(100, image="a.png"))
    small.reopen()
    with ended(small, error, written):
        run(small, rows(200, image="a.png"), encoder,
            collection=lambda real: FailingCollection(real, method, after, error), batch_size=8)  # fmt: skip


@pytest.mark.timeout(60)
def test_rows_written_before_the_store_failed_stay(
    small: Shop, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest.worker.Writer.flush.__globals__["Writer"], "_is_due", lambda self: True)
    error = StoreError("the disk of Milvus is full")
    with ended(small, error, (24, 24)):
        run(small, rows(80), encoder, collection=lambda real: FailingCollection(real, "write", 3, error),
            batch_size=8)  # fmt: skip
    small.reopen()
    again = small.ingest(rows(80))
    assert (again.written, again.unchanged) == (56, 24)


class FailingEncoder(Delegating):
    """Fails in one of its methods, after some calls."""

    def __init__(self, real: Encoder, method: str, after: int, error: BaseException) -> None:
        super().__init__(real)
        self.method, self.left, self.error = method, after, error

    def _check(self, method: str) -> None:
        if method == self.method:
            self.left -= 1
            if self.left < 0:
                raise self.error

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        self._check("prepare")
        return self.real.prepare(picture)

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Any:
        self._check("encode_prepared")
        return self.real.encode_prepared(pictures)

    def encode_text(self, texts: Sequence[str]) -> Any:
        self._check("encode_text")
        return self.real.encode_text(texts)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("method", "after"), [("prepare", 0), ("prepare", 30), ("encode_prepared", 2), ("encode_text", 1)]
)
def test_an_exception_that_nobody_planned(small: Shop, encoder: Encoder, method: str, after: int) -> None:
    error = Unplanned("of the decode or the encode thread")
    small.draw(*(f"{n}.png" for n in range(60)))
    with ended(small, error, (0, 56)):
        run(small, rows(60, image="{}.png"), FailingEncoder(encoder, method, after, error), batch_size=4)


@pytest.mark.timeout(60)
def test_a_progress_that_fails_ends_the_run_too(small: Shop, encoder: Encoder) -> None:
    error = Unplanned("of the caller")
    seen = threading.Event()

    def progress(report: IngestReport) -> None:
        seen.set()
        raise error

    with ended(small, error, (0, 200)):
        small.client.ingest(small.write(rows(200)), progress=progress, batch_size=4)


@pytest.mark.timeout(60)
def test_a_failure_does_not_wait_for_a_silent_host(small: Shop, encoder: Encoder) -> None:
    """The store fails while a picture host takes a connection and says nothing: that host is not waited for."""
    error = StoreError("the disk of Milvus is full")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{{}}.png"
        products = rows(8) + [row | {"image": url} for row in rows(20)[8:]]
        with ended(small, error, (0, 0)):
            run(small, products, encoder, collection=lambda real: FailingCollection(real, "write", 0, error),
                batch_size=8, allow_private_hosts=True, url_timeout=25, retry_seconds=0)  # fmt: skip


@pytest.mark.timeout(60)
def test_rows_do_not_wait_for_a_slow_neighbour(small: Shop, encoder: Encoder) -> None:
    """What is encoded is written a second later, though the next batch takes long: a crash would lose it."""

    class Slow(Delegating):
        waited = False

        def encode_text(self, texts: Sequence[str]) -> Any:
            if "thing 8" in texts:
                self.waited = written.wait(20)
            return self.real.encode_text(texts)

    def progress(report: IngestReport) -> None:
        if report.written == 8:
            written.set()

    written = threading.Event()
    slow = Slow(encoder)
    small.client._encoders["offline"] = [slow]
    report = small.ingest(rows(16), batch_size=8, progress=progress)
    assert (report.written, slow.waited) == (16, True)


@pytest.mark.timeout(60)
def test_what_was_encoded_before_the_model_failed_is_written(small: Shop, encoder: Encoder) -> None:
    error = Unplanned("of the third batch")

    class Failing(Delegating):
        def encode_text(self, texts: Sequence[str]) -> Any:
            if "thing 16" in texts:
                assert others.wait(20)
                raise error
            vectors = self.real.encode_text(texts)
            others.release()
            return vectors

    class Barrier(threading.Event):
        """Is set when two batches have passed."""

        left = 2

        def release(self) -> None:
            self.left -= 1
            if self.left == 0:
                self.set()

    others = Barrier()
    with ended(small, error, (16, 16)):
        run(small, rows(24), Failing(encoder), batch_size=8)
