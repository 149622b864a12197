"""Random catalogs end in the same rows and rejects, however they are cut into batches and steps."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.base import Encoder
from mm_milvus.records import IngestReport
from tests.encoders import tiny_models
from tests.ingest.shops import Rows, Shop, assert_same, contents, picture, rows

COUNT = 300
BROKEN = {"cut.png": picture(0)[:40], "page.png": b"<html>sold out</html>", "empty.png": b""}


def draw(folder: Path, seed: int) -> None:
    """Forty files, many of them the same picture under another name, and those that are broken."""
    choose = random.Random(seed)
    for n in range(40):
        (folder / f"{n}.png").write_bytes(picture(choose.randrange(25)))
    for name, content in BROKEN.items():
        (folder / name).write_bytes(content)


def catalog(seed: int) -> Rows:
    """Products with pictures, words, both or nothing, with duplicates of ids and of all the rest, and rows too bad."""
    choose = random.Random(seed)
    names = [f"{n}.png" for n in range(40)] + [*BROKEN, "missing.png"]
    products = rows(COUNT, price=1.5)
    for row in products:
        if choose.random() < 0.7:
            row["title"] = f"title {choose.randrange(60)}"
        if choose.random() < 0.1:
            del row["title"]
        if choose.random() < 0.8:
            row["image"] = choose.choices(names, k=choose.choice([1, 1, 1, 2, 3]))
        if choose.random() < 0.05:
            row["id"] = f"p{choose.randrange(COUNT):04}"
        if choose.random() < 0.03:
            row["price"] = "ask us"
        if choose.random() < 0.02:
            row["id"] = None
    return products


def changed(products: Rows, seed: int) -> Rows:
    """The catalog a week later: some rows differ, some are gone, some are new."""
    choose = random.Random(seed)
    later: Rows = [dict(row) for row in products if choose.random() < 0.95]
    for row in later:
        match choose.randrange(8):
            case 0:
                row["title"] = f"title {choose.randrange(90)}"
            case 1:
                row["image"] = [f"{choose.randrange(40)}.png"]
            case 2:
                row["price"] = 2.5
            case 3:
                row.pop("image", None)
    return later + [row | {"id": f"new-{row['id']}"} for row in rows(20, price=3.5)]


def ingest(shop: Shop, products: Rows, **options: Any) -> tuple[IngestReport, set[tuple[Any, ...]]]:
    """The report, and the rejects of this catalog."""
    shop.catalog = shop.folder / f"{shop.database.stem}.jsonl"
    report = shop.ingest(products, max_reject_rate=1, text_fields=["title"], **options)
    assert report.stopped is None
    assert report.read == len(products)
    rejects = {
        (row["line"], row["id"], row["stage"], row["reason"], row.get("kept", False))
        for row in shop.rejects()
    }
    assert len(rejects) == report.rejected + report.kept
    return report, rejects


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_size_of_the_batches_does_not_matter(seed: int, tmp_path: Path, encoder: Encoder) -> None:
    draw(tmp_path, seed)
    products = catalog(seed)
    with Shop(tmp_path, encoder, "whole.db") as whole, Shop(tmp_path, encoder, "parts.db") as parts:
        one, refused = ingest(whole, products, batch_size=COUNT)
        other, refused_too = ingest(parts, products, batch_size=7)
        assert refused == refused_too
        assert one.rejected > 0 < one.kept
        numbers = ("read", "written", "unchanged", "rejected", "kept", "images_encoded", "images_shared",
                   "texts_encoded", "texts_shared", "bytes_read")  # fmt: skip
        assert {name: getattr(one, name) for name in numbers} == {
            name: getattr(other, name) for name in numbers
        }
        assert_same(whole.client, parts.client)
        again, refused_again = ingest(parts, products, batch_size=7)
        assert (again.written, again.unchanged, again.rejected) == (0, one.written, one.rejected)
        assert refused_again == refused
        assert parts.client.verify(parts.catalog).ok


def test_in_half_precision_vectors_agree_to_four_nines(tmp_path: Path) -> None:
    """Sums of another order round in another way there."""
    model = load_encoder(str(tiny_models.clip(tmp_path / "clip")), device="cpu", dtype="bfloat16")
    draw(tmp_path, 6)
    products = catalog(6)
    with Shop(tmp_path, model, "whole.db") as whole, Shop(tmp_path, model, "parts.db") as parts:
        ingest(whole, products, batch_size=COUNT)
        ingest(parts, products, batch_size=7)
        assert contents(whole.client) == contents(parts.client)
        ids = whole.ids()
        stored = [shop.client._open().vectors(ids) for shop in (whole, parts)]
    ours, theirs = (np.stack([vectors[id][0] for id in ids]) for vectors in stored)
    assert len(ids) > 200
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() >= 0.9999


@pytest.mark.parametrize("seed", [4, 5])
def test_steps_end_where_one_step_ends(seed: int, tmp_path: Path, encoder: Encoder) -> None:
    """Two catalogs one after the other, the later one with ``sync``, against the later one alone."""
    draw(tmp_path, seed)
    products = catalog(seed)
    later = changed(products, seed)
    with Shop(tmp_path, encoder, "steps.db") as steps, Shop(tmp_path, encoder, "fresh.db") as fresh:
        ingest(steps, products, batch_size=7)
        (tmp_path / "cut.png").write_bytes(picture(99))  # mended
        (tmp_path / "0.png").write_bytes(picture(98))
        # Rows that the later catalog refuses stay as they were stored; those are left out here.
        _, refused = ingest(fresh, later, batch_size=64)
        bad = {line for line, *_, kept in refused if not kept}
        good = [row for line, row in enumerate(later, 1) if line not in bad]
        report, _ = ingest(steps, good, batch_size=7, sync=True, max_delete_rate=1)
        assert report.rejected == 0
        assert report.unchanged > 50 < report.written
        assert_same(steps.client, fresh.client)
