"""A client that stays open while others change the collection: its stamp, its attributes, its encoder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mm_milvus import Client
from mm_milvus.errors import CollectionNotFound, StampMismatch
from mm_milvus.store import Store
from tests.store.conftest import stamp

QUERIES = [f"{colour} {thing}" for colour in ("red", "blue", "green", "grey") for thing in
           ("shirt", "mug", "shoe", "lamp", "hat", "bag")]  # fmt: skip


def ingest(client: Client, file: Path, **more: object) -> None:
    rows = [{"id": str(n), "title": query, **more} for n, query in enumerate(QUERIES)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    client.ingest(file)


@pytest.fixture
def clients(store: Store, name: str, tmp_path: Path) -> Iterator[tuple[Client, Client]]:
    """Two of one collection, both open."""
    uri = store.settings.uri
    with Client(uri, collection=name, encoder="offline") as one, Client(uri, collection=name) as other:
        ingest(other, tmp_path / "shop.jsonl")
        assert one.count() == other.count() == len(QUERIES)
        yield one, other


def test_a_calibration_by_another_one_counts(clients: tuple[Client, Client]) -> None:
    one, other = clients
    before = one.query("red shirt", id="3").to_dict()["hits"]
    assert other.calibrate(QUERIES[:20]) == 20
    time.sleep(1.1)
    after = one.query("red shirt", id="3").to_dict()["hits"]
    assert after == other.query("red shirt", id="3").to_dict()["hits"] != before
    assert one.info().stamp["calibrated_by"] == 20


def test_attributes_that_another_one_has_added_can_be_asked_for(
    clients: tuple[Client, Client], tmp_path: Path
) -> None:
    one, other = clients
    ingest(other, tmp_path / "more.jsonl", season="winter")
    time.sleep(1.1)
    page = one.query("red shirt", filter='season == "winter"', facets="season")
    assert (page.total, page.facets[0].counts) == (len(QUERIES), (("winter", len(QUERIES)),))


def test_a_collection_of_another_encoder_in_its_place_is_refused(
    clients: tuple[Client, Client], store: Store, name: str
) -> None:
    one, other = clients
    assert one.query("red shirt").hits
    other.drop()
    time.sleep(1.1)
    with pytest.raises(CollectionNotFound, match=f"there is no collection '{name}'"):
        one.query("red shirt")
    store.create(name, stamp(store))
    with pytest.raises(StampMismatch, match="holds vectors of the encoder test@1, but offline was asked for"):
        one.query("red shirt")
