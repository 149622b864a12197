"""A picture that is stored stays while the one in the catalog cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mm_milvus.store import Collection
from tests.encoders import tiny_models
from tests.ingest.shops import Shop, picture, rows


@pytest.mark.parametrize("loss", ["missing", "damaged"])
def test_a_folder_of_pictures_that_is_away_for_a_night(small: Shop, loss: str) -> None:
    small.draw("a.png", "b.png")
    products = rows(2, price=1.0)
    for row, name in zip(products, ("a.png", "b.png"), strict=True):
        row["image"] = name
    small.ingest(products)
    before = [small.vector(row["id"]) for row in products]
    for name in ("a.png", "b.png"):
        (small.folder / name).unlink()
        if loss == "damaged":
            (small.folder / name).write_bytes(picture(1)[:30])
    products[1] |= {"price": 2.0, "title": "another thing"}
    report = small.ingest(products)
    assert (report.unchanged, report.written, report.kept, report.rejected) == (1, 1, 2, 0)
    assert (report.images_encoded, report.texts_encoded) == (0, 1)
    assert all("the stored picture stays" in reject["reason"] for reject in small.rejects())
    after = [small.vector(row["id"]) for row in products]
    stamp = small.client._open().stamp.vectors
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(stamp.split(old)[0], stamp.split(new)[0])
    assert not np.array_equal(stamp.split(before[1])[1], stamp.split(after[1])[1])
    stored = small.client._open().stored(["p0000", "p0001"])
    assert all(row.has_image for row in stored.values())
    assert small.client.verify(small.catalog).ok
    small.draw("a.png", "b.png")  # the folder is back, with the same pictures
    again = small.ingest(products)
    assert (again.unchanged, again.kept, again.images_encoded) == (2, 0, 0)


def test_a_product_of_pictures_alone_keeps_what_it_has(small: Shop) -> None:
    small.draw("a.png")
    products = [{"id": "p", "image": "a.png", "price": 1.0}]
    small.ingest(products)
    (small.folder / "a.png").unlink()
    products[0]["price"] = 2.0
    report = small.ingest(products, max_reject_rate=1)
    assert (report.written, report.kept, report.rejected) == (1, 1, 0)
    assert small.client.get("p")[0].attributes["price"] == 2.0
    report = small.ingest(products, missing_image="reject", max_reject_rate=1)
    assert (report.written, report.rejected) == (0, 1)


def test_of_a_mixed_vector_the_picture_cannot_be_kept_beside_a_new_text(tmp_path: Path) -> None:
    model = str(tiny_models.clip(tmp_path / "clip"))
    with Shop(tmp_path / "shop", fusion="sum") as shop:
        shop.client.settings = shop.client.settings.replace(encoder=model)
        shop.draw("a.png")
        products = [{"id": "p", "title": "a thing", "image": "a.png", "price": 1.0}]
        shop.ingest(products)
        before = shop.vector("p")
        (shop.folder / "a.png").unlink()
        products[0]["price"] = 2.0
        assert shop.ingest(products).written == 1
        np.testing.assert_array_equal(shop.vector("p"), before)
        products[0]["title"] = "another thing"
        report = shop.ingest(products, max_reject_rate=1)
        assert (report.written, report.rejected) == (0, 1)
        np.testing.assert_array_equal(shop.vector("p"), before)


def test_a_row_that_goes_while_it_is_updated_is_not_written_without_its_vector(
    small: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes it between the plan and the write."""
    small.draw("a.png")
    products = rows(3, price=1.0, image="a.png")
    small.ingest(products)
    vectors = Collection.vectors
    gone = {"p0001"}
    monkeypatch.setattr(
        Collection,
        "vectors",
        lambda self, ids: {id: row for id, row in vectors(self, ids).items() if id not in gone},
    )
    for row in products:
        row["price"] = 2.0
    report = small.ingest(products, max_reject_rate=1)
    assert (report.written, report.rejected) == (2, 1)
    assert [reject["id"] for reject in small.rejects()] == ["p0001"]
    assert "gone in the meantime" in small.rejects()[0]["reason"]
    gone.clear()
    assert small.ingest(products).written == 1
