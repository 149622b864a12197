"""Writing and scanning: rows that Milvus refuses, inserts and upserts, full disks, many rows."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mm_milvus.config import Settings
from mm_milvus.errors import StoreError
from mm_milvus.records import Row
from mm_milvus.store import Collection, Store

from .conftest import ids, row, stamp


def poison(id: str) -> Row:
    """A row that only Milvus itself refuses: its column holds 64 characters."""
    return replace(row(id, title="x"), image_hash="h" * 65)


def test_refused_rows_come_back_with_the_reason_and_the_others_are_stored(collection: Collection) -> None:
    rows = [row(f"good {n}", title="x") for n in range(60)]
    bad = [poison("bad 1"), poison("bad 2"), replace(row("bad 3", title="x"), image="\ud800")]
    mixed = [*rows[:20], bad[0], *rows[20:40], bad[1], bad[2], *rows[40:]]
    refused = {found.id: reason for found, reason in collection.write(mixed)}
    assert sorted(refused) == ["bad 1", "bad 2", "bad 3"]
    assert refused["bad 3"] == "image: not valid Unicode (a lone surrogate)"
    for id in ("bad 1", "bad 2"):
        assert "65" in refused[id]
        assert "64" in refused[id]
        assert "\n" not in refused[id]
        assert not refused[id].startswith("cannot write")
    assert sorted(found.id for found in collection.scan()) == sorted(row.id for row in rows)
    assert collection.count() == 60


def test_refusals_are_told_from_failures(collection: Collection) -> None:
    ((refused, reason),) = collection.write([poison("bad")])  # alone
    assert (refused.id, "65" in reason) == ("bad", True)
    assert (
        len(collection.write([poison("a"), poison("b"), poison("c")])) == 3
    )  # all that an ingest found changed
    with pytest.raises(StoreError, match="cannot write to .*65"):  # what hits every row is no matter of rows
        collection.write([poison(f"{n}") for n in range(40)])
    assert collection.count() == 0
    odd = replace(row("odd", title="x"), has_image="yes")  # type: ignore[arg-type]
    ((refused, reason),) = collection.write([row("fine", title="x"), odd])  # no request can hold it
    assert refused is odd
    assert reason
    assert collection.count() == 1


def test_new_rows_are_inserted_and_stored_ones_replaced(collection: Collection) -> None:
    assert collection.write([row("a", title="one", extra=1), row("b", title="one")], new=True) == []
    assert collection.count() == 2
    assert collection.write([row("a", title="two")]) == []
    assert collection.count() == 2
    assert collection.get(["a"])[0].attributes == {"title": "two"}


def test_new_is_taken_at_its_word(collection: Collection) -> None:
    """On a server the promise saves the search for an older row: broken, it stores the row twice."""
    for _ in range(2):
        collection.write([row("a", title="x"), row("b", title="x")], new=True)
    collection.write([row("c", title="x")])
    copies = 1 if collection.capabilities.insert_replaces else 2
    assert collection.count() == 2 * copies + 1
    assert [found.id for found in collection.scan()] == ["a"] * copies + ["b"] * copies + ["c"]
    collection.write([row("a", title="y")])  # an upsert heals it
    assert [found.id for found in collection.scan()] == ["a"] + ["b"] * copies + ["c"]


def test_ids_are_deleted_exactly(collection: Collection) -> None:
    hostile = "zzz'] or price >= 0 or id in ['zzz"
    many = [str(n) for n in range(2_100)]
    collection.write([row(id, title="x", price=1.0) for id in [*many, hostile, "红", 'quote"']])
    collection.delete_ids([hostile, "missing", "红"])
    assert collection.count() == 2_101
    collection.delete_ids([*many[100:], *many[100:]])
    assert collection.count() == 101
    assert ids(collection.get(['quote"', "红"])) == ['quote"']
    collection.delete_ids([])
    assert collection.count() == 101
    collection.delete_ids([found.id for found in collection.scan()])
    assert list(collection.scan()) == []


def test_a_scan_sees_every_row_of_many(collection: Collection) -> None:
    shuffled = random.Random(1)
    starts = ("红", "a", '"', "it's ", "\\", "Z", "😀", "' or 1", "\\'")
    expected = {f"{shuffled.choice(starts)}{n}" for n in range(20_000)}
    rows = [replace(row(id, title="x"), text_hash=id.encode().hex()[:64]) for id in expected]
    for start in range(0, len(rows), 5_000):
        collection.write(rows[start : start + 5_000], new=True)
    for _ in range(2):
        stored = list(collection.scan())
        assert len(stored) == 20_000
        assert {found.id for found in stored} == expected
        collection.flush()  # once from memory, once from sealed rows
    one = shuffled.choice(stored)
    assert (one.has_image, one.has_text, one.image_hash, one.attributes_hash) == (True, True, "i", "a")
    assert one.text_hash == one.id.encode().hex()[:64]


FILL = """
import json, resource, sys
from mm_milvus.config import Settings
from mm_milvus.errors import StoreError
from mm_milvus.store import Store
from tests.store.conftest import row

with Store(Settings(uri=sys.argv[1]), retry_seconds=30) as store:
    shop = store.open("shop")
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    acknowledged = []
    try:
        for start in range(0, 100_000, 50):
            batch = [row(f"{n}", title="x" * 200) for n in range(start, start + 50)]
            assert shop.write(batch) == []
            acknowledged += [row.id for row in batch]
    except StoreError as error:
        print(json.dumps({"kind": type(error).__name__, "message": str(error), "ids": acknowledged}))
"""


def test_a_full_disk_is_an_error_and_loses_nothing(lite_uri: str) -> None:
    with Store(Settings(uri=lite_uri), create=True) as store:
        store.create("shop", stamp(store)).write([row("before", title="x")])
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FILL, lite_uri],
        cwd=root, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kind"] == "StoreError"
    assert "File too large" in told["message"]
    assert len(told["ids"]) >= 50
    with Store(Settings(uri=lite_uri)) as store:
        stored = {found.id for found in store.open("shop").scan()}
    assert stored >= {"before", *told["ids"]}
