"""The worker on small catalogs in embedded files: what is encoded, what is reused, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mm_milvus import Client
from mm_milvus.encoders import load_encoder
from mm_milvus.errors import CatalogError, DatabaseNotFound, StampMismatch, TooManyRejects
from mm_milvus.records import IngestReport

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 200)}


def draw(path: Path, colour: str) -> None:
    path.parent.mkdir(exist_ok=True)
    picture = Image.new("RGB", (96, 96), "white")
    picture.paste(COLOURS[colour], (20, 20, 76, 76))
    picture.save(path)


def products(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        {"id": colour, "title": f"{colour} square", "image": f"images/{colour}.png", "price": 10.0 + index}
        for index, colour in enumerate(COLOURS)
    ]
    changed = [row | change for row, change in zip_longest(rows, changes, fillvalue={})]
    return [{key: value for key, value in row.items() if value is not ...} for row in changed]


class Shop:
    """A catalog file and the client that ingests it."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.folder = folder
        self.client = client
        self.catalog = folder / "catalog.jsonl"
        for colour in COLOURS:
            draw(folder / "images" / f"{colour}.png", colour)

    def ingest(self, rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        self.catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return self.client.ingest(self.catalog, **options).to_dict()

    def vector(self, id: str) -> np.ndarray:
        return self.client._open().vectors([id])[id][0]

    def flags(self, id: str) -> tuple[bool, bool]:
        stored = self.client._open().stored([id])[id]
        return stored.has_image, stored.has_text

    def attributes(self, id: str) -> dict[str, Any]:
        (hit,) = self.client.get(id)
        return dict(hit.attributes)

    def rejects(self) -> list[dict[str, Any]]:
        path = self.folder / "catalog.rejects.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
def shop(tmp_path: Path, lite_uri: str) -> Iterator[Shop]:
    with Client(lite_uri) as client:
        yield Shop(tmp_path, client)


IMAGE_DIM = load_encoder("offline").spec.image_dim


def counts(report: dict[str, Any]) -> tuple[int, ...]:
    return tuple(report[name] for name in ("read", "written", "unchanged", "images_encoded", "texts_encoded"))


def test_an_unchanged_catalog_encodes_and_writes_nothing(shop: Shop) -> None:
    assert counts(shop.ingest(products())) == (3, 3, 0, 3, 3)
    assert counts(shop.ingest(products())) == (3, 0, 3, 0, 0)


def test_a_changed_price_costs_no_encoding(shop: Shop) -> None:
    shop.ingest(products())
    before = shop.vector("red")
    assert counts(shop.ingest(products({"price": 99.0}))) == (3, 1, 2, 0, 0)
    assert shop.attributes("red")["price"] == 99.0
    assert shop.vector("red").tobytes() == before.tobytes()


def test_a_changed_title_encodes_only_the_text(shop: Shop) -> None:
    shop.ingest(products())
    before = shop.vector("red")
    assert counts(shop.ingest(products({"title": "crimson box"}))) == (3, 1, 2, 0, 1)
    after = shop.vector("red")
    assert after[:IMAGE_DIM].tobytes() == before[:IMAGE_DIM].tobytes()
    assert not np.allclose(after[IMAGE_DIM:], before[IMAGE_DIM:])


def test_a_changed_picture_encodes_only_the_picture(shop: Shop) -> None:
    shop.ingest(products())
    before = shop.vector("red")
    draw(shop.folder / "images" / "red.png", "blue")
    assert counts(shop.ingest(products())) == (3, 1, 2, 1, 0)
    after = shop.vector("red")
    assert after[IMAGE_DIM:].tobytes() == before[IMAGE_DIM:].tobytes()
    assert after[:IMAGE_DIM] == pytest.approx(shop.vector("blue")[:IMAGE_DIM], abs=1e-5)


def test_incremental_steps_end_where_a_fresh_ingest_ends(shop: Shop, tmp_path: Path) -> None:
    shop.ingest(products())
    shop.ingest(
        products({"title": "crimson box", "price": ...}, {"image": ...}, {"title": ..., "color": "navy"})
    )
    final = products({"title": "crimson box", "price": ...}, {"image": ...}, {"title": ..., "color": "navy"})
    with Client(tmp_path / "fresh.db") as other:
        fresh = Shop(tmp_path, other)
        fresh.ingest(final, text_fields=["title"])
        for id in COLOURS:
            assert shop.attributes(id) == fresh.attributes(id)
            assert shop.flags(id) == fresh.flags(id)
            assert shop.vector(id) == pytest.approx(fresh.vector(id), abs=1e-5)


def test_a_missing_modality_is_its_document_mean(shop: Shop) -> None:
    shop.ingest(products({"image": ...}, {"title": ...}))
    stamp = shop.client._open().stamp
    assert shop.flags("red") == (False, True)
    assert shop.vector("red")[:IMAGE_DIM].tobytes() == stamp.image_mean.tobytes()
    assert shop.flags("green") == (True, False)
    assert shop.vector("green")[IMAGE_DIM:].tobytes() == stamp.text_mean.tobytes()
    assert 0 < np.linalg.norm(stamp.image_mean) < 1


def test_a_picture_that_fails_is_reported_and_tried_again(shop: Shop) -> None:
    (shop.folder / "images" / "red.png").unlink()
    (shop.folder / "images" / "blue.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    report = shop.ingest(products())
    assert (report["written"], report["kept"], report["rejected"]) == (3, 2, 0)
    assert shop.flags("red") == shop.flags("blue") == (False, True)
    missing, broken = sorted(shop.rejects(), key=lambda reject: int(reject["line"]))
    assert (missing["id"], missing["line"], missing["stage"], missing["kept"]) == ("red", 1, "fetch", True)
    assert "red.png" in missing["reason"]
    assert (broken["id"], broken["line"], broken["stage"], broken["kept"]) == ("blue", 3, "decode", True)
    assert broken["record"] == products()[2]

    again = shop.ingest(products())
    assert (again["written"], again["unchanged"], again["kept"]) == (0, 3, 2)
    draw(shop.folder / "images" / "red.png", "red")
    draw(shop.folder / "images" / "blue.png", "blue")
    assert counts(shop.ingest(products())) == (3, 2, 1, 2, 0)
    assert shop.flags("red") == (True, True)
    assert shop.rejects() == []


def test_the_strict_option_rejects_a_failed_picture(shop: Shop) -> None:
    (shop.folder / "images" / "red.png").unlink()
    report = shop.ingest(products(), missing_image="reject", max_reject_rate=0.5)
    assert (report["written"], report["kept"], report["rejected"]) == (2, 0, 1)
    assert shop.client.get("red") == []


def test_a_failed_picture_without_text_is_rejected(shop: Shop) -> None:
    (shop.folder / "images" / "red.png").unlink()
    shop.ingest(products({"title": ...}), max_reject_rate=0.5)
    (reject,) = shop.rejects()
    assert reject["id"] == "red"
    assert "kept" not in reject
    assert shop.client.get("red") == []


def test_a_row_without_the_embedded_attributes_is_rejected(shop: Shop) -> None:
    shop.ingest(products(), text_fields=["title"])
    shop.ingest(products({"title": ..., "image": ..., "color": "red"}), max_reject_rate=0.5)
    (reject,) = shop.rejects()
    assert (reject["id"], reject["reason"]) == ("red", "no picture, and no text in title")


def test_too_many_rejects_keep_the_good_rows(shop: Shop) -> None:
    rows = products({"id": None})
    with pytest.raises(TooManyRejects, match="1 of 3 rows") as caught:
        shop.ingest(rows)
    assert caught.value.exit_code == 4
    assert caught.value.report.written == 2
    assert [hit.id for hit in shop.client.get(["green", "blue"])] == ["green", "blue"]


def test_an_attribute_that_vanished_vanishes_from_the_row(shop: Shop) -> None:
    shop.ingest(products({"fabric": "wool"}))
    assert shop.attributes("red")["fabric"] == "wool"
    shop.ingest(products())
    assert "fabric" not in shop.attributes("red")


def test_a_later_catalog_may_bring_new_attributes(shop: Shop) -> None:
    shop.ingest(products())
    shop.ingest(products({"fabric": "wool"}, {"fabric": "silk"}))
    page = shop.client.query(text="square", filter='fabric == "wool"')
    assert [hit.id for hit in page.hits] == ["red"]


def test_a_later_catalog_may_not_change_a_type(shop: Shop) -> None:
    shop.ingest(products())
    shop.ingest(products({"price": "cheap"}), max_reject_rate=0.5)
    (reject,) = shop.rejects()
    assert (reject["line"], reject["stage"]) == (1, "type")
    assert "price" in reject["reason"]
    assert shop.attributes("red")["price"] == 10.0


def test_a_table_keeps_the_types_of_the_collection(shop: Shop) -> None:
    table = shop.folder / "weights.csv"
    table.write_text('id,title,weight\na,oak table,"0,5"\n', encoding="utf-8")
    shop.client.ingest(table, types={"weight": "double"})
    assert shop.attributes("a")["weight"] == 0.5
    table.write_text('id,title,weight\na,oak table,"0,75"\n', encoding="utf-8")
    shop.client.ingest(table)  # the types are the collection's by now
    assert shop.attributes("a")["weight"] == 0.75


def test_several_pictures_count_as_their_mean(shop: Shop) -> None:
    shop.ingest(products({"image": ["images/red.png", "images/green.png"]}))
    both = shop.vector("red")[:IMAGE_DIM]
    assert float(np.linalg.norm(both)) == pytest.approx(1.0, abs=1e-5)
    green = shop.vector("green")[:IMAGE_DIM]
    alone = load_encoder("offline").encode_image([Image.open(shop.folder / "images" / "red.png")])[0].numpy()
    expected = (alone + green) / np.linalg.norm(alone + green)
    assert both == pytest.approx(expected, abs=1e-4)


def test_another_fusion_encoder_or_text_is_refused(shop: Shop) -> None:
    shop.ingest(products())
    shop.ingest(products(), text_fields=["title"])  # the same
    with pytest.raises(StampMismatch, match="text_fields"):
        shop.ingest(products({"color": "red"}), text_fields=["title", "color"])
    shop.client._open().stamp.check_fusion("blocks", "x")
    with pytest.raises(StampMismatch, match="'blocks'.*'sum'"):
        shop.client._open().stamp.check_fusion("sum", "x")


def test_sum_needs_a_joint_encoder(shop: Shop) -> None:
    from mm_milvus.errors import FusionError

    with pytest.raises(FusionError, match="linear"):
        shop.ingest(products(), fusion="sum")
    assert shop.client.collections() == []


def test_a_bad_catalog_creates_no_database(shop: Shop) -> None:
    with pytest.raises(CatalogError):
        shop.client.ingest(shop.folder / "nowhere.jsonl")
    with pytest.raises(DatabaseNotFound):
        shop.client.info()


def test_a_preview_tells_of_pictures_that_are_not_there(shop: Shop) -> None:
    path = _written(shop)
    assert shop.client.preview(path).rejected == ()
    (shop.folder / "images" / "green.png").unlink()
    (reject,) = shop.client.preview(path).rejected
    assert (reject.line, reject.id, reject.stage, reject.kept) == (2, "green", "fetch", True)
    assert not (shop.folder / "shop.db").exists()


def test_a_preview_counts_as_the_ingest_does(shop: Shop) -> None:
    """Rows without a picture, with one of several pictures, and pictures alone, in a file and in a folder."""
    (shop.folder / "images" / "green.png").write_bytes(b"not a picture")
    lost = {"image": ["images/gone.png", "images/green.png"]}
    some = {"image": ["images/gone.png", "images/blue.png"]}
    shop.catalog.write_text(
        "".join(
            json.dumps(row) + "\n" for row in products(lost, lost | {"title": ...}, some | {"title": ...})
        ),
        encoding="utf-8",
    )
    for source, collection in ((shop.catalog, "file"), (shop.folder / "images", "folder")):
        preview = shop.client.preview(source)
        client = Client(shop.client.settings.uri, collection=collection)
        with client, pytest.raises(TooManyRejects) as caught:
            client.ingest(source)
        report = caught.value.report
        assert report is not None
        assert (preview.rows_read, preview.rows_rejected) == (report.read, report.rejected) == (3, 1)
        assert preview.too_many_rejects
        assert not shop.client.preview(source, max_reject_rate=0.5).too_many_rejects
        assert sum(reject.kept for reject in preview.rejected) == report.kept


def test_words_that_come_too_late_to_be_embedded_are_told_of_once(shop: Shop) -> None:
    assert shop.ingest(products())["notices"] == []
    later = products({"brand": "Acme", "stock": 3, "note": "new"}, {"color": "green"})
    assert shop.ingest(later)["notices"] == [
        "this collection embeds title: color, brand are stored and can be filtered by, but words do not find them; "
        "a new --collection would embed them"
    ]
    assert shop.ingest(later)["notices"] == []  # by now the collection has them
    assert shop.ingest(products({"season": "summer"}), text_fields=["title"])["notices"] == []
    (told,) = shop.ingest(products({"fabric": "silk"}))["notices"]
    assert told.startswith("this collection embeds title: fabric is stored")
    assert told.endswith("do not find it; a new --collection would embed it")


def test_the_report_says_what_went_wrong_most(shop: Shop) -> None:
    (shop.folder / "images" / "red.png").unlink()
    (shop.folder / "images" / "green.png").unlink()
    report = shop.ingest(products({}, {}, {"id": None}), max_reject_rate=1)
    fetch, unidentified = report["problems"]
    assert fetch.startswith("2 × fetch, first on line 1: no such file")
    assert unidentified.startswith("1 × map, first on line 3: ")


def test_a_folder_of_pictures_has_no_products_without_them(shop: Shop) -> None:
    (shop.folder / "images" / "green.png").write_bytes(b"not a picture")
    report = shop.client.ingest(shop.folder / "images", max_reject_rate=1)
    assert (report.written, report.rejected, report.kept) == (2, 1, 0)


def test_progress_and_report_agree(shop: Shop) -> None:
    seen: list[IngestReport] = []
    report = shop.client.ingest(_written(shop), progress=seen.append, batch_size=2)
    for step, later in pairwise(seen):
        assert step.read <= later.read
        assert step.seconds < later.seconds
        assert step.read == step.written + step.unchanged + step.rejected
    assert [(step.read, step.written, step.images_encoded) for step in seen[-1:]] == [(3, 3, 3)]
    assert (report.collection, report.read, report.written) == ("products", 3, 3)


def _written(shop: Shop) -> Path:
    shop.catalog.write_text("".join(json.dumps(row) + "\n" for row in products()), encoding="utf-8")
    return shop.catalog
