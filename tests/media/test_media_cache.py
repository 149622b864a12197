"""Downloaded pictures that are kept in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mm_milvus.errors import ConfigError, MediaError
from mm_milvus.media import Fetched, MediaPolicy, MediaReader

from .web import RED_PNG, Shop, serve


@pytest.fixture
def shop() -> Iterator[Shop]:
    with serve() as shop:
        yield shop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "pictures"


def fetch(url: str, folder: Path, **policy: Any) -> Fetched:
    with MediaReader(MediaPolicy(allow_private_hosts=True, cache=folder, **policy)) as reader:
        return reader.fetch(url)


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["/etag", "/weak", "/modified", "/to?/etag"])
def test_a_picture_that_has_not_changed_is_not_sent_again(shop: Shop, folder: Path, path: str) -> None:
    url = shop.url(path)
    first = fetch(url, folder)
    assert first.data == RED_PNG + b"1"
    assert first.validator
    entries = kept(folder)
    assert len(entries) == 1
    again = fetch(url + "#fragment", folder)
    assert again == first
    _, headers = shop.requests[-1]
    assert "if-none-match" in headers or "if-modified-since" in headers
    shop.version = 2
    changed = fetch(url, folder)
    assert changed.data == RED_PNG + b"2"
    assert changed.validator != first.validator
    assert fetch(url, folder) == changed
    assert kept(folder) == entries


def test_while_its_host_is_away_the_kept_picture_is_used(folder: Path) -> None:
    with serve() as shop:
        url = shop.url("/etag")
        first = fetch(url, folder)
    assert fetch(url, folder, retries=0, timeout=1.0) == first
    with pytest.raises(MediaError, match="cannot connect"):
        fetch(url, folder.with_name("empty"), retries=0, timeout=1.0)


def test_the_kept_bytes_are_what_comes_back(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = shop.url("/etag")
    fetch(url, folder)
    monkeypatch.setattr("tests.media.web.RED_PNG", b"the server would send this")
    assert fetch(url, folder) == Fetched(RED_PNG + b"1", '"v1"')
    assert len(shop.requests) == 2


def test_a_304_for_another_version_is_not_believed(shop: Shop, folder: Path) -> None:
    url = shop.url("/stubborn")
    assert fetch(url, folder) == Fetched(RED_PNG + b"1", '"v1"')
    assert fetch(url, folder) == Fetched(RED_PNG + b"1", '"v1"')
    shop.version = 2
    assert fetch(url, folder) == Fetched(RED_PNG + b"2", '"v2"')
    assert ["if-none-match" in headers for _, headers in shop.requests] == [False, True, True, False]


def test_the_newest_spelling_of_an_etag_counts(shop: Shop, folder: Path) -> None:
    url = shop.url("/weaker")
    assert [fetch(url, folder).validator for _ in range(2)] == ['"v"', 'W/"v"']
    with MediaReader(MediaPolicy(allow_private_hosts=True)) as reader:
        assert reader.validator(url) == 'W/"v"'


def test_without_validators_only_what_is_still_fresh_is_used(shop: Shop, folder: Path) -> None:
    for _ in range(3):
        assert fetch(shop.url("/fresh"), folder).data == RED_PNG + b"1"
    assert len(shop.requests) == 1  # max-age 2, age 1: fresh for a second
    time.sleep(1.0)
    shop.version = 2
    assert fetch(shop.url("/fresh"), folder).data == RED_PNG + b"2"
    assert len(shop.requests) == 2


@pytest.mark.parametrize("path", ["/red", "/secret", "/html", "/nothing", "/empty", "/long"])
def test_what_is_not_kept(shop: Shop, folder: Path, path: str) -> None:
    for _ in range(2):
        try:
            fetch(shop.url(path), folder, retries=0)
        except MediaError:
            assert path not in ("/red", "/secret")
    assert kept(folder) == []
    assert len(shop.requests) == 2
    assert all("if-none-match" not in headers for _, headers in shop.requests)


def test_conditions_go_only_to_the_url_that_the_picture_came_from(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = ["/modified?a", "/modified?b"]
    monkeypatch.setattr(
        "tests.media.web.Handler.page_to",
        lambda handler: handler.reply(b"", 302, Location=targets[0]),
    )
    fetch(shop.url("/to"), folder)
    targets.pop(0)  # another picture, whose Last-Modified is the same by chance
    fetch(shop.url("/to"), folder)
    path, headers = shop.requests[-1]
    assert path == "/modified?b"
    assert "if-modified-since" not in headers


def _cut(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-1])


def _flip(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[-3] ^= 1
    entry.write_bytes(data)


def _edit(old: bytes, new: bytes) -> Any:
    return lambda entry: entry.write_bytes(entry.read_bytes().replace(old, new, 1))


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _flip,
        lambda entry: entry.write_bytes(b""),
        lambda entry: entry.write_bytes(b"\xff" * 200_000),
        lambda entry: entry.write_bytes(b"[]\n" + RED_PNG),
        _edit(b'"url"', b'"uri"'),
        _edit(b"/etag", b"/eggs"),
        _edit(rb"\"v1\"", rb"\"v\r\nX-Bad: 1\""),
        _edit(b'"fresh_until": ', b'"fresh_until": "x", "y": '),
    ],
)
def test_damaged_entries_are_replaced(shop: Shop, folder: Path, damage: Any) -> None:
    url = shop.url("/etag")
    first = fetch(url, folder)
    [entry] = kept(folder)
    whole = entry.read_bytes()
    damage(entry)
    assert entry.read_bytes() != whole
    assert fetch(url, folder) == first
    assert "if-none-match" not in shop.requests[-1][1]
    assert fetch(url, folder) == first
    assert shop.requests[-1][1]["if-none-match"] == '"v1"'
    assert kept(folder) == [entry]


def test_an_entry_larger_than_now_allowed_is_not_used(shop: Shop, folder: Path) -> None:
    fetch(shop.url("/etag"), folder)
    with pytest.raises(MediaError, match="larger than 50"):
        fetch(shop.url("/etag"), folder, max_bytes=50)


def test_the_folder_may_be_deleted_at_any_time(shop: Shop, folder: Path) -> None:
    with MediaReader(MediaPolicy(allow_private_hosts=True, cache=folder)) as reader:
        for _ in range(2):
            first = reader.fetch(shop.url("/etag"))
            [entry] = kept(folder)
            entry.unlink()
            entry.parent.rmdir()
            folder.rmdir()
        assert reader.fetch(shop.url("/etag")) == first
    assert len(kept(folder)) == 1


def test_a_folder_that_cannot_be_used_is_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/pictures")):
        with pytest.raises(ConfigError, match=f"^cannot write to the folder for pictures {folder}: "):
            MediaReader(MediaPolicy(cache=folder))


def test_a_folder_that_becomes_useless_costs_a_warning(
    shop: Shop, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with MediaReader(MediaPolicy(allow_private_hosts=True, cache=folder)) as reader:
        folder.rmdir()
        folder.write_text("a file now")
        for _ in range(3):
            assert reader.fetch(shop.url("/etag")).data == RED_PNG + b"1"
    assert [record.getMessage() for record in caplog.records] == [
        f"pictures are no longer kept in {folder}: {os.strerror(20)}"
    ]


def test_a_full_disk_leaves_nothing_behind(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert fetch(shop.url("/etag"), folder).data == RED_PNG + b"1"
    assert kept(folder) == []
    assert "No space left on device" in caplog.text


def test_threads_share_a_folder(shop: Shop, folder: Path) -> None:
    urls = [shop.url(f"/etag?{number % 10}") for number in range(200)]
    with (
        MediaReader(MediaPolicy(allow_private_hosts=True, cache=folder)) as reader,
        ThreadPoolExecutor(16) as pool,
    ):
        assert {fetched.data for fetched in pool.map(reader.fetch, urls)} == {RED_PNG + b"1"}
    assert len(kept(folder)) == 10


WORKER = """
import sys
from pathlib import Path
from mm_milvus.media.cache import Kept, PictureCache

cache, name = PictureCache(Path(sys.argv[1])), sys.argv[2]
seen = set()
for round in range(150):
    for url in ("http://a.example/1", "http://a.example/2"):
        data = (name * (1 + round)).encode() * 500
        cache.store(url, Kept(final=url, validator=name, etag=name, modified="", fresh_until=0.0, data=data))
        found = cache.load(url, max_bytes=10**9)
        assert found is not None, "an entry was missing"
        assert found.data.decode() == found.validator * len(found.data), "an entry was mixed"
        seen.add(found.validator)
print(*sorted(seen))
"""


def test_processes_share_a_folder(folder: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for worker in workers:
        out, err = worker.communicate(timeout=60)
        assert worker.returncode == 0, err
        assert set(out.split()) <= {"a", "b"}
    assert len(kept(folder)) == 2


def test_a_second_process_uses_what_the_first_has_kept(shop: Shop, folder: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom mm_milvus.media import MediaPolicy, MediaReader\n"
        "policy = MediaPolicy(allow_private_hosts=True, cache=Path(sys.argv[1]))\n"
        "with MediaReader(policy) as reader:\n"
        "    fetched = reader.fetch(sys.argv[2])\n"
        "    print(len(fetched.data), fetched.validator)\n"
    )
    for _ in range(2):
        command = [sys.executable, "-c", code, str(folder), shop.url("/etag")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == f'{len(RED_PNG) + 1} "v1"\n'
    assert shop.requests[-1][1]["if-none-match"] == '"v1"'
