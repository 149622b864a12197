"""Hosts that are slow, away for a while or silent of versions hold up nobody else, and nothing is lost to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mm_milvus import ingest
from mm_milvus.encoders.base import Encoder
from mm_milvus.errors import CatalogError
from mm_milvus.ingest.lanes import Lanes
from mm_milvus.records import IngestReport
from mm_milvus.store import Store
from tests.ingest.picture_host import PictureHost, picture_host
from tests.ingest.shops import Shop, counted, rows
from tests.ingest.test_stage_failures import FailingCatalog

# Longer than a test takes: it is the test that lets a slow host answer.
PATIENT = {"allow_private_hosts": True, "batch_size": 8, "url_timeout": 50, "url_deadline": 50}


@contextmanager
def two_hosts(count: int) -> Iterator[tuple[PictureHost, PictureHost]]:
    """One that answers nothing until its event ``fast`` is set, and one that answers at once."""
    with picture_host() as slow, picture_host() as fast:
        for host in (slow, fast):
            host.numbers |= {str(n): n for n in range(count)}
        slow.fast.clear()
        yield slow, fast


def elsewhere(host: PictureHost, n: int) -> str:
    """The picture under another name of the host: all of 127.0.0.1 is one host."""
    return host.web.url(f"/pic/{n}", "localhost")


def released_when(
    enough: Callable[[IngestReport], bool], host: PictureHost
) -> Callable[[IngestReport], None]:
    """A progress that lets the slow host answer once enough has been done without it."""

    def progress(report: IngestReport) -> None:
        if enough(report):
            host.fast.set()

    return progress


@pytest.mark.timeout(60)
def test_one_slow_picture_holds_up_no_other(small: Shop) -> None:
    with two_hosts(120) as (slow, fast):
        products = rows(120, image=fast.url("{}"))
        products[5]["image"] = elsewhere(slow, 5)
        progress = released_when(lambda report: report.written >= 119, slow)
        report = small.ingest(products, progress=progress, **PATIENT)
        assert slow.fast.is_set()  # the others were written without it
    assert (report.written, report.kept, counted(report)) == (120, 0, (120, 0, 120, 0))


@pytest.mark.timeout(60)
def test_a_slow_host_leaves_threads_to_the_others(small: Shop) -> None:
    """Forty of its pictures come first: more than there are threads."""
    with two_hosts(80) as (slow, fast):
        products = rows(80)
        for n, row in enumerate(products):
            row["image"] = elsewhere(slow, n) if n < 40 else fast.url(n)
        progress = released_when(lambda report: report.written >= 40, slow)
        report = small.ingest(products, progress=progress, **PATIENT)
        assert slow.fast.is_set()
    assert (report.written, report.kept) == (80, 0)


@pytest.mark.timeout(60)
def test_an_address_that_failed_is_asked_again(small: Shop) -> None:
    with picture_host() as host:
        products = rows(400, image=host.url("shared"))

        def progress(report: IngestReport) -> None:
            if report.written >= 8:
                host.numbers["shared"] = 1  # the page is there from now on

        report = small.ingest(
            products, progress=progress, allow_private_hosts=True, batch_size=4, max_reject_rate=1
        )
    assert report.images_encoded == 1
    assert report.written == 400
    assert 8 <= report.kept < 400


@pytest.mark.timeout(60)
def test_a_run_that_fails_stores_nothing_without_the_pictures_on_their_way(
    small: Shop, encoder: Encoder
) -> None:
    """The downloads that the end of the run cuts off have not failed."""
    with two_hosts(64) as (slow, _):
        products = rows(80, image=slow.url("{}"))
        settings = small.client.settings.replace(allow_private_hosts=True, batch_size=8, url_timeout=50)
        source = ingest.open_source(small.write(products), settings, None)
        error = CatalogError("the disk is gone")
        with Store(settings, create=True) as store:
            target, new = ingest.open_target(store, source, encoder, settings)
            broken = FailingCatalog(source, 64, error)
            with pytest.raises(CatalogError) as caught:
                ingest.run(broken, target, [encoder], settings, new=new)  # type: ignore[arg-type]
        assert caught.value is error
        assert error.report is not None
        assert (error.report.written, error.report.kept, error.report.rejected) == (0, 0, 0)
    assert small.rejects() == []
    assert small.ids() == []


def test_a_new_version_is_seen_beside_a_host_that_tells_none(small: Shop) -> None:
    with picture_host() as telling, picture_host() as silent:
        telling.numbers["0"] = 0
        silent.numbers["1"] = 1
        silent.validators = False
        products = [{"id": "p", "title": "t", "image": [telling.url(0), silent.url(1)]}]
        assert small.ingest(products, allow_private_hosts=True).written == 1
        assert small.ingest(products, allow_private_hosts=True).unchanged == 1
        telling.numbers["0"] = 50
        report = small.ingest(products, allow_private_hosts=True)
        assert (report.written, report.images_encoded) == (1, 2)
        assert small.ingest(products, allow_private_hosts=True).unchanged == 1


def test_pictures_out_of_the_cache_are_counted(small: Shop, encoder: Encoder) -> None:
    with picture_host() as host:
        host.numbers |= {"0": 0, "1": 1}
        cache = small.folder / "cache"
        options = {"allow_private_hosts": True, "picture_cache": cache}
        products = rows(2, image=host.url("{}"))
        assert small.ingest(products, **options).cache_hits == 0
        with Shop(small.folder, encoder, "other.db") as other:
            assert other.ingest(products, **options).cache_hits == 2
        host.asked()
        assert small.ingest(products, refetch="always", **options).cache_hits == 0
        assert sum(host.asked()["GET"].values()) == 2


def test_lanes_keep_to_their_width_and_order() -> None:
    from concurrent.futures import ThreadPoolExecutor

    running = {"a": 0, "b": 0}
    most = {"a": 0, "b": 0}
    done: list[str] = []
    lock = threading.Lock()

    def work(lane: str, name: str) -> None:
        with lock:
            running[lane] += 1
            most[lane] = max(most[lane], running[lane])
        time.sleep(0.005)
        with lock:
            running[lane] -= 1
            done.append(name)

    with ThreadPoolExecutor(8) as pool:
        lanes = Lanes(pool, 2)
        for n in range(20):
            for lane in ("a", "b"):
                lanes.submit(lane, lambda lane=lane, n=n: work(lane, f"{lane}{n}"))  # type: ignore[misc]
    assert most == {"a": 2, "b": 2}
    assert len(done) == 40
    order = [int(name[1:]) for name in done if name[0] == "a"]
    assert all(abs(place - n) <= 2 for place, n in enumerate(order))
