"""A server that goes away in the middle of an ingest: it waits, reconnects, and nothing is lost or doubled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mm_milvus import Client, IngestReport, Settings
from mm_milvus.errors import ConnectionFailed
from tests.encoders import tiny_models
from tests.ingest.killing import ROWS, content, same, write_catalog
from tests.milvus_server import kill_and_restart, running
from tests.tcp_proxy import Proxy

pytestmark = [pytest.mark.server, pytest.mark.slow]
CUT_AT = 100  # rows


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A catalog, and the settings with which it is ingested."""
    folder = tmp_path_factory.mktemp("outage")
    catalog = write_catalog(folder / "shop")
    model = tiny_models.clip(folder / "clip")
    return catalog, Settings(
        encoder=str(model), device="cpu", dtype="float32", batch_size=8, max_reject_rate=1
    )


@pytest.fixture(scope="module")
def expected(shop: tuple[Path, Settings], tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    catalog, settings = shop
    settings = settings.replace(uri=str(tmp_path_factory.mktemp("undisturbed") / "shop.db"))
    with Client(config=settings) as client:
        client.ingest(catalog)
    return content(settings)


@pytest.fixture(autouse=True)
def small_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many requests, so that there is a middle in which the server can go away."""
    from mm_milvus.ingest import writer

    monkeypatch.setattr(writer, "_SERVER_ROWS", 16)


def _away(proxy: Proxy, seconds: float, back: list[float]) -> None:
    """Takes the server away and brings it back, noting when."""

    def restore() -> None:
        back.append(time.monotonic())
        proxy.restore()

    proxy.cut()
    threading.Timer(seconds, restore).start()


class Once:
    """A progress that acts once, when enough rows are written."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def __call__(self, report: IngestReport) -> None:
        if self._act is not None and report.written >= CUT_AT:
            act, self._act = self._act, None
            act()


def test_thirty_seconds_without_the_server(
    shop: tuple[Path, Settings], expected: dict[str, object], server_uri: str
) -> None:
    catalog, settings = shop
    parts = urlsplit(server_uri)
    assert parts.hostname is not None and parts.port is not None
    with Proxy(parts.hostname, parts.port) as proxy:
        settings = settings.replace(uri=proxy.uri, collection="outage")
        back: list[float] = []
        written: list[tuple[float, int]] = []
        cut = Once(lambda: _away(proxy, 30, back))

        def watch(report: IngestReport) -> None:
            written.append((time.monotonic(), report.written))
            cut(report)

        told: list[str] = []
        with Client(config=settings) as client:
            report = client.ingest(catalog, progress=watch, on_wait=told.append)
            same(content(settings), expected)
            client.drop()
    assert report.read == ROWS
    assert report.written == len(expected)
    assert report.retries == len(told) > 3
    before = max(rows for when, rows in written if when < back[0])
    again = next(when for when, rows in written if rows > before)
    assert again - back[0] < 10
    print(
        f"{before} rows before, on after {again - back[0]:.1f} s, done after {written[-1][0] - back[0]:.1f} s"
    )


def test_an_outage_that_lasts_too_long_is_an_error_and_the_same_command_goes_on(
    shop: tuple[Path, Settings], expected: dict[str, object], server_uri: str
) -> None:
    catalog, settings = shop
    parts = urlsplit(server_uri)
    assert parts.hostname is not None and parts.port is not None
    with Proxy(parts.hostname, parts.port) as proxy:
        settings = settings.replace(uri=proxy.uri, collection="outage_too_long")
        with Client(config=settings) as client, pytest.raises(ConnectionFailed, match=r"tried for \d+ s"):
            client.ingest(catalog, progress=Once(proxy.cut), retry_seconds=2)
        proxy.restore()
        with Client(config=settings) as client:
            report = client.ingest(catalog)
            assert report.unchanged >= CUT_AT
            assert report.read == report.written + report.unchanged + report.rejected == ROWS
            same(content(settings), expected)
            client.drop()


def test_a_server_that_is_killed_and_comes_back(
    shop: tuple[Path, Settings], expected: dict[str, object], tmp_path: Path
) -> None:
    catalog, settings = shop
    with running(tmp_path) as server:
        settings = settings.replace(uri=f"http://127.0.0.1:{server.listen_port}", timeout=20)
        with Client(config=settings) as client:
            report = client.ingest(catalog, progress=Once(lambda: kill_and_restart(server)))
        assert report.read == ROWS
        assert report.written == len(expected)
        assert report.retries > 3
        same(content(settings), expected)
