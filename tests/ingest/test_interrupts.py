"""Ctrl-C at any moment: what was in flight is stored, the report says so, and the same command completes the rest."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mm_milvus.encoders.base import Encoder
from tests.ingest.picture_host import PictureHost, picture_host
from tests.ingest.shops import Rows, Shop, assert_same_vectors, contents, picture, read_rejects, rows

# A process in the background of a shell ignores SIGINT. ``slow`` makes a method leave a mark and take its time.
START = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
def slow(kind, name, mark, seconds, from_call=1):
    real, calls = getattr(kind, name), []
    def method(*args, **options):
        calls.append(1)
        if len(calls) >= from_call:
            Path(mark).touch()
            time.sleep(seconds)
        return real(*args, **options)
    setattr(kind, name, method)
"""
MAIN = "\nfrom mm_milvus_cli.main import main; main()\n"
SLOW_ENCODER = """
from mm_milvus.encoders.offline import OfflineEncoder
slow(OfflineEncoder, "encode_prepared", "mark", {seconds}, {call})
"""
SLOW_PICTURE = """
from mm_milvus.ingest import batches
decode = batches.decode_pixels
def slowly(data, **options):
    time.sleep(2 * (len(data) == 50))  # the damaged one
    return decode(data, **options)
batches.decode_pixels = slowly
"""
SLOW_STORE = """
from mm_milvus.store import Collection
slow(Collection, "write", "mark", 0.5, {call})
"""
MARK_STOP = """
from mm_milvus.ingest import worker
slow(worker._Flow, "join", "stopping", 0)
"""
COUNT = 120


def catalog(folder: Path, host: PictureHost | None = None) -> Rows:
    """120 products with 30 pictures; the third one's is damaged. With a host the second half is there."""
    products = rows(COUNT, price=1.5)
    for n, row in enumerate(products):
        (folder / f"{n}.png").write_bytes(picture(n % 30))
        row["image"] = f"{n}.png" if host is None or n < COUNT // 2 else host.url(n)
        if host is not None:
            host.numbers[str(n)] = n % 30
    (folder / "2.png").write_bytes(picture(2)[:50])
    return products


def start(folder: Path, prelude: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START + prelude + MAIN, "ingest", "catalog.jsonl", "--uri", "shop.db",
               "--batch-size", "8", "--device", "cpu", *options]  # fmt: skip
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def interrupted(process: subprocess.Popen[str], condition: Callable[[], bool]) -> tuple[str, str]:
    """stdout and stderr of the process that gets a SIGINT when the condition holds. It exits with 130, soon."""
    with process:
        wait_for(condition, process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 15
    assert err.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in err
    return out, err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Iterator[Shop]:
    """What an ingest of the catalog gives that nobody interrupts."""
    with Shop(tmp_path_factory.mktemp("undisturbed"), encoder) as shop:
        report = shop.ingest(catalog(shop.folder), max_reject_rate=1)
        assert (report.written, report.kept) == (COUNT, 1)
        yield shop


def assert_completes(folder: Path, encoder: Encoder, undisturbed: Shop, written: int, **options: Any) -> None:
    """The same ingest again completes what is missing, and ends where an undisturbed one ends.

    Pictures behind addresses have other hashes than files, and other places; all else is the same.
    """
    with Shop(folder, encoder) as shop:
        assert len(shop.ids()) == written
        report = shop.client.ingest(shop.catalog, **options)
        assert (report.read, report.written, report.unchanged) == (COUNT, COUNT - written, written)
        assert found(shop) == found(undisturbed)
        assert_same_vectors(shop.client, undisturbed.client)


def found(shop: Shop) -> dict[str, dict[str, Any]]:
    places = ("image", "image_hash", "attributes_hash")
    rows = contents(shop.client)
    for row in rows.values():
        del row["attributes"]["image"]
    return {id: {name: row[name] for name in row if name not in places} for id, row in rows.items()}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("prelude", "options"),
    [
        (SLOW_ENCODER.format(seconds=0.3, call=3), ["--json"]),
        (SLOW_ENCODER.format(seconds=0.3, call=1), []),
        (SLOW_ENCODER.format(seconds=0.3, call=1) + SLOW_PICTURE, ["--json"]),
        (SLOW_STORE.format(call=1), ["--json"]),
    ],
    ids=[
        "while it encodes",
        "while it encodes for the first time",
        "while a picture is slow",
        "while it writes",
    ],
)
def test_local_pictures(
    prelude: str, options: list[str], tmp_path: Path, encoder: Encoder, undisturbed: Shop
) -> None:
    Shop(tmp_path).write(catalog(tmp_path))
    out, _ = interrupted(start(tmp_path, prelude, *options), (tmp_path / "mark").exists)
    if options:
        found = json.loads(out)
        assert (found["error"], found["kind"], found["exit_code"]) == (
            "interrupted",
            "Interrupted",
            130,
        )
        report = found["report"]
        assert report["stopped"] == "interrupted"
        assert report["read"] == report["written"] + report["unchanged"] + report["rejected"]
        written = report["written"]
    else:
        assert "stopped early: interrupted; the same command goes on from here" in out.splitlines()
        (line,) = (line for line in out.splitlines() if " read · " in line)
        written = int(line.split(" · ")[1].split()[0])
        assert line.startswith(f"{written} read · {written} written · 0 unchanged · 0 rejected")
    assert 0 < written <= COUNT  # what was in flight is there
    # Batches are encoded side by side. One with a failed picture that is not encoded yet is left for the next run.
    rejected = {row["id"] for row in read_rejects(tmp_path / "catalog.rejects.jsonl")}
    with Shop(tmp_path, encoder) as shop:
        assert rejected == {"p0002"} & set(shop.ids())
    assert_completes(tmp_path, encoder, undisturbed, written)
    assert [row["id"] for row in read_rejects(tmp_path / "catalog.rejects.jsonl")] == ["p0002"]


@pytest.mark.timeout(120)
def test_downloads_from_a_slow_host(tmp_path: Path, encoder: Encoder, undisturbed: Shop) -> None:
    with picture_host() as host:
        Shop(tmp_path).write(catalog(tmp_path, host))
        host.fast.clear()
        process = start(
            tmp_path, "", "--json", "--allow-private-hosts", "--url-deadline", "60", "--url-timeout", "60"
        )
        out, _ = interrupted(process, lambda: len(host.web.requests) >= 8)
        host.fast.set()
        report = json.loads(out)["report"]
        assert report["stopped"] == "interrupted"
        assert report["kept"] <= 1  # none of those that were cut off counts as failed
        assert {row["id"] for row in read_rejects(tmp_path / "catalog.rejects.jsonl")} <= {"p0002"}
        assert_completes(tmp_path, encoder, undisturbed, report["written"], allow_private_hosts=True)


@pytest.mark.timeout(120)
def test_a_second_one_ends_at_once(tmp_path: Path, encoder: Encoder, undisturbed: Shop) -> None:
    Shop(tmp_path).write(catalog(tmp_path))
    process = start(tmp_path, SLOW_ENCODER.format(seconds=60, call=3) + MARK_STOP)
    with process:
        wait_for((tmp_path / "mark").exists, process)
        process.send_signal(signal.SIGINT)
        wait_for((tmp_path / "stopping").exists, process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 8
    assert err.splitlines()[-1] == "error: interrupted"
    with Shop(tmp_path, encoder) as shop:
        written = len(shop.ids())
    assert_completes(tmp_path, encoder, undisturbed, written)


@pytest.mark.timeout(120)
def test_before_anything_was_done(tmp_path: Path, encoder: Encoder, undisturbed: Shop) -> None:
    """While the model is being loaded there is no report yet; no database is left that could not be opened."""
    Shop(tmp_path).write(catalog(tmp_path))
    prelude = 'from mm_milvus import encoders\nslow(encoders, "load_replicas", "mark", 5)\n'
    out, _ = interrupted(start(tmp_path, prelude, "--json"), (tmp_path / "mark").exists)
    assert json.loads(out) == {"error": "interrupted", "kind": "Interrupted", "exit_code": 130}
    with Shop(tmp_path, encoder) as shop:
        assert shop.client.ingest(shop.catalog).written == COUNT
