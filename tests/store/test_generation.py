"""What a client remembers of a collection while others write to it, and after they were killed at that."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mm_milvus import Client, IngestReport
from mm_milvus.store import Collection, Store, generation
from tests.store.conftest import row


def rows_of(reader: Collection) -> list[str]:
    return reader.mirror("the test").ids


def test_nothing_stays_stale_after_a_writer_that_never_came_to_its_end(
    store: Store, collection: Collection
) -> None:
    reader = store.open(collection.name)
    assert rows_of(reader) == []
    collection.write([row("a", title="x")])
    time.sleep(0.1)
    assert (rows_of(reader), reader.lacks("has_text"), reader.total(None)[0]) == (["a"], False, 1)
    collection.write([row("b")])  # and no flush ever follows
    deadline = time.monotonic() + 10
    while rows_of(reader) == ["a"] and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)  # counts were remembered a moment later
    assert (rows_of(reader), reader.lacks("has_text"), reader.total(None)[0]) == (["a", "b"], True, 2)


def test_a_changing_collection_is_not_read_again_for_each_question(
    store: Store, collection: Collection
) -> None:
    collection.write([row("a")])
    reader = store.open(collection.name)
    first = reader.mirror("the test")
    time.sleep(0.1)
    assert reader.mirror("the test") is first
    collection.flush()
    time.sleep(0.1)
    again = reader.mirror("the test")
    assert again is not first
    time.sleep(2.5)
    assert reader.mirror("the test") is again  # at rest it holds for as long as one likes


def test_a_writer_sees_its_own_rows_at_once(collection: Collection) -> None:
    for n in range(3):
        collection.write([row(str(n))])
        assert len(rows_of(collection)) == collection.total(None)[0] == n + 1


def test_the_end_of_one_writer_does_not_hide_another_one(
    store: Store, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, reader = store.open(collection.name), store.open(collection.name)
    collection.write([row("a")])
    other.write([row("b")])
    collection.flush()
    monkeypatch.setattr(generation, "_AGAIN", 0.0)  # as if that were a while ago
    other.write([row("c")])
    assert reader.generation.startswith("changing:")
    other.flush()
    time.sleep(0.1)
    assert not reader.generation.startswith("changing:")


def test_what_a_failing_ingest_has_written_is_seen_at_once(tmp_path: Path) -> None:
    def fail(report: IngestReport) -> None:
        if report.written:
            raise RuntimeError("of the caller")

    (tmp_path / "first.jsonl").write_text(json.dumps({"id": "a", "title": "red shirt"}), encoding="utf-8")
    more = [{"id": f"b{n}", "title": "blue shirt"} for n in range(5)]
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, more)), encoding="utf-8")
    with Client(tmp_path / "shop.db") as reader, Client(tmp_path / "shop.db") as writer:
        writer.ingest(tmp_path / "first.jsonl")
        assert reader.query("shirt", facets="title").facets[0].counts == (("red shirt", 1),)
        with pytest.raises(RuntimeError, match="of the caller"):
            writer.ingest(tmp_path / "more.jsonl", progress=fail)
        page = reader.query("shirt", facets="title")
        assert page.total == 6
        assert page.facets[0].counts == (("blue shirt", 5), ("red shirt", 1))
        assert not reader._open().generation.startswith("changing:")
