"""The main job on real catalogs: ingest them, then find every product by its picture and by its title."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mm_milvus import Client, Query, Settings, Signal
from mm_milvus.fusion import blocks, normalise
from mm_milvus.records import IngestReport

pytestmark = pytest.mark.slow
SIZES = {"retail": 84, "eshop": 101}


class Shop:
    """A client of one real catalog, already ingested."""

    def __init__(self, catalog: Path, client: Client, rejects: Path) -> None:
        self.client = client
        self.folder = catalog.parent
        self.rows = [json.loads(line) for line in catalog.read_text(encoding="utf-8").splitlines()]
        self.report: IngestReport = client.ingest(catalog, rejects=rejects)
        while client._open().count(consistency="Bounded") < self.report.written:
            time.sleep(0.2)


@pytest.fixture(
    scope="module",
    params=[
        ("lite", "retail"),
        ("lite", "eshop"),
        pytest.param(("server", "retail"), marks=pytest.mark.server),
        pytest.param(("server", "eshop"), marks=pytest.mark.server),
    ],
    ids="-".join,
)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    backend, name = request.param
    catalog = request.getfixturevalue(f"{name}_catalog")
    folder = tmp_path_factory.mktemp(name)
    uri = str(folder / "shop.db") if backend == "lite" else request.getfixturevalue("server_uri")
    # Bounded: a Strong search waits for the server's clock, and this test searches hundreds of times.
    settings = Settings(uri=uri, collection=f"{name}_{uuid.uuid4().hex[:8]}", consistency="Bounded")
    with Client(config=settings) as client:
        yield Shop(catalog, client, folder / "rejects.jsonl")
        client.drop()


def test_every_row_is_in_and_none_is_rejected(shop: Shop) -> None:
    assert (shop.report.read, shop.report.written, shop.report.rejected, shop.report.kept) == (
        len(shop.rows),
        len(shop.rows),
        0,
        0,
    )
    assert len(shop.rows) in SIZES.values()
    assert shop.client.info().rows == len(shop.rows)


def test_its_own_picture_finds_a_product_first(shop: Shop) -> None:
    found = [shop.client.query(image=shop.folder / row["image"], limit=1).hits[0] for row in shop.rows]
    right = [hit.id == row["id"] for hit, row in zip(found, shop.rows, strict=True)]
    assert sum(right) / len(right) >= 0.99


def test_its_title_finds_a_product_of_that_title_first(shop: Shop) -> None:
    found = [shop.client.query(text=row["title"], limit=1).hits[0] for row in shop.rows]
    right = [hit.attributes["title"] == row["title"] for hit, row in zip(found, shop.rows, strict=True)]
    assert sum(right) / len(right) >= 0.98


def test_attributes_come_back_as_the_catalog_has_them(shop: Shop) -> None:
    for row in shop.rows[:10]:
        (hit,) = shop.client.get(row["id"])
        assert dict(hit.attributes) == {key: value for key, value in row.items() if key != "id"}


def test_a_filter_and_a_picture_together(shop: Shop) -> None:
    row = next(row for row in shop.rows if row["price"] < 50)
    page = shop.client.query(image=shop.folder / row["image"], filter="price < 50", limit=100, bridge=0)
    expected = {other["id"] for other in shop.rows if other["price"] < 50}
    assert {hit.id for hit in page.hits} == expected
    assert (page.hits[0].id, page.total) == (row["id"], len(expected))
    assert page.hits[0].score == pytest.approx(1.0, abs=1e-4)


def test_scores_mean_the_same_on_every_backend(shop: Shop) -> None:
    """What is found first is the inner product with the stored vector, whatever the index; then centred cosines."""
    row = shop.rows[0]
    collection = shop.client._open()
    stored = collection.vectors([other["id"] for other in shop.rows])
    fusion = collection.stamp.vectors
    picture, words = Signal("image", shop.folder / row["image"]), Signal("text", row["title"])
    for signals in ((picture,), (picture, words)):
        query = Query(signals, limit=5, explain=True)
        page = shop.client.search(query)
        assert shop.client._searcher is not None
        composed = shop.client._searcher._composed(query)
        assert composed.centred is not None
        for hit in page.hits:
            assert hit.scores["vector"] == pytest.approx(float(composed.vector @ stored[hit.id][0]), abs=1e-4)
            image, text = fusion.split(stored[hit.id][0])
            centred = blocks(normalise(image - fusion.image_mean), normalise(text - fusion.text_mean))
            expected = float(centred @ (composed.centred.words + composed.centred.others))
            if words in signals:  # beside words, the three nearest pictures count alike
                assert hit.score <= expected + 1e-4
            else:
                assert hit.score == pytest.approx(expected, abs=1e-4)


def test_a_known_product_is_left_out_of_its_own_answer(shop: Shop) -> None:
    id = shop.rows[0]["id"]
    page = shop.client.query(id=id, limit=len(shop.rows))
    assert id not in [hit.id for hit in page.hits]
    assert page.total == len(shop.rows) - 1
