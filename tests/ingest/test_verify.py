"""``verify`` says what the next ingest would do, and after that ingest all is in order again."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mm_milvus import Client
from mm_milvus.encoders.base import Encoder
from mm_milvus.errors import CollectionNotFound, StoreError
from mm_milvus.ingest.writer import Writer
from mm_milvus.records import IngestReport, VerifyReport
from tests.ingest.picture_host import picture_host
from tests.ingest.shops import Rows, Shop, assert_same, counted, picture, rows

FILES = "collections/products/partitions/_default/{}/*"


def found(report: VerifyReport) -> tuple[tuple[str, ...], ...]:
    """(missing, stale, extra, doubled)"""
    counts = (report.missing_count, report.stale_count, report.extra_count, report.doubled_count)
    lists = report.missing, report.stale, report.extra, report.doubled
    assert counts == tuple(map(len, lists))
    return lists


IN_ORDER: tuple[tuple[str, ...], ...] = ((), (), (), ())


@pytest.fixture
def stocked(small: Shop) -> tuple[Shop, Rows]:
    """Twelve products with pictures, stored."""
    small.draw(*(f"{n}.png" for n in range(12)))
    products = rows(12, image="{}.png", price=1.5)
    small.ingest(products)
    return small, products


def verify(shop: Shop, products: Rows, **options: Any) -> VerifyReport:
    return shop.client.verify(shop.write(products), **options)


def test_what_was_just_ingested_is_in_order(stocked: tuple[Shop, Rows]) -> None:
    shop, products = stocked
    seen: list[int] = []
    report = verify(shop, products, progress=seen.append)
    assert report.ok
    assert (found(report), report.read, report.stored, report.rejected) == (IN_ORDER, 12, 12, 0)
    assert (seen[-1], report.collection, report.stopped) == (12, "products", None)
    assert shop.rejects() == []


def test_each_difference_is_named_and_the_next_ingest_repairs_it(stocked: tuple[Shop, Rows]) -> None:
    shop, products = stocked
    shop.client.delete(["p0001", "p0002"])
    products[3]["title"] = "another thing"
    products[4]["price"] = 9.5
    (shop.folder / "5.png").write_bytes(picture(50))
    products[6]["image"] = ["6.png", "7.png"]
    del products[8]["image"]
    gone = products.pop(11)
    products.append({"id": "new", "title": "new"})
    report = verify(shop, products)
    assert not report.ok
    assert found(report) == (
        ("p0001", "p0002", "new"), ("p0003", "p0004", "p0005", "p0006", "p0008"), ("p0011",), ()
    )  # fmt: skip
    assert verify(shop, products).to_dict() | {"seconds": 0} == report.to_dict() | {"seconds": 0}
    repaired = shop.ingest(products)
    assert (repaired.written, repaired.unchanged) == (8, 4)
    assert counted(repaired) == (5, 0, 4, 0)  # pictures of 1, 2, 5, 6 and 7; texts of 1, 2, 3 and the new one
    assert found(verify(shop, products)) == ((), (), ("p0011",), ())
    assert shop.ingest(products, sync=True).deleted == 1
    assert verify(shop, products).ok
    assert verify(shop, [*products, gone]).missing == ("p0011",)


def test_products_without_their_picture_are_as_good_as_they_get(stocked: tuple[Shop, Rows]) -> None:
    shop, products = stocked
    (shop.folder / "1.png").unlink()
    (shop.folder / "2.png").write_bytes(picture(2)[:50])
    products[3]["image"] = ["3.png", "missing.png"]
    assert verify(shop, products).ok  # the stored pictures stay
    report = shop.ingest(products)
    assert (report.kept, report.unchanged, report.written) == (3, 12, 0)
    assert verify(shop, products).ok
    products.append({"id": "new", "title": "new", "image": "late.png"})
    assert shop.ingest(products).kept == 4
    assert verify(shop, products).ok
    shop.draw("late.png", number=1)
    assert found(verify(shop, products))[1] == ("new",)
    assert shop.ingest(products).written == 1
    assert verify(shop, products).ok


def test_a_row_without_its_picture_that_is_not_stored_is_missing(small: Shop) -> None:
    small.ingest(rows(1))
    report = verify(small, [*rows(1), {"id": "kept", "title": "kept", "image": "missing.png"}])
    assert (found(report)[0], report.rejected) == (("kept",), 0)


def test_rows_that_an_ingest_refuses_are_no_difference(stocked: tuple[Shop, Rows]) -> None:
    shop, products = stocked
    products[1]["price"] = "ask us"
    products += [{"title": "no id"}, {"id": "bare", "image": "missing.png"}, {"id": "p0003", "title": "again"},
                 {"id": "nothing", "price": 1.5}]  # fmt: skip
    report = verify(shop, products)
    assert report.ok
    assert (report.read, report.rejected, report.stored) == (16, 5, 12)
    assert shop.ingest(products, max_reject_rate=1).rejected == 5
    assert verify(shop, products).ok


def test_what_is_stored_of_a_row_that_is_now_refused_is_no_difference(small: Shop) -> None:
    """An ingest would refuse these rows and leave what is stored: there is nothing that it could repair."""
    small.draw("a.png", "b.png")
    products = [{"id": "bare", "image": "a.png"}, {"id": "worded", "title": "b", "image": "b.png"}]
    small.ingest(products)
    for name in ("a.png", "b.png"):
        (small.folder / name).write_bytes(picture(1)[:50])
    assert verify(small, products).ok
    report = verify(small, products, missing_image="reject")
    assert (found(report), report.rejected) == (IN_ORDER, 2)
    refused = small.ingest(products, missing_image="reject", max_reject_rate=1)
    assert (refused.rejected, refused.written) == (2, 0)
    assert small.ids() == ["bare", "worded"]


def test_the_first_hundred_are_named_and_all_are_counted(small: Shop) -> None:
    small.ingest(rows(260))
    report = verify(small, [{"id": f"q{n:04}", "title": "thing"} for n in range(120)])
    assert (report.missing_count, report.extra_count) == (120, 260)
    assert report.missing == tuple(f"q{n:04}" for n in range(100))
    assert report.extra == tuple(f"p{n:04}" for n in range(100))
    assert report.to_dict()["missing"] == list(report.missing)


def test_a_damaged_catalog_is_never_in_order(stocked: tuple[Shop, Rows]) -> None:
    shop, _ = stocked
    many = rows(400)
    shop.ingest(many)
    whole = gzip.compress(shop.catalog.read_bytes())
    path = shop.folder / "cut.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    report = shop.client.verify(path)
    assert not report.ok
    assert report.stopped is not None
    assert "damaged" in report.stopped
    assert report.missing_count == report.stale_count == 0


def test_several_pictures_are_looked_at_as_they_were_ingested(stocked: tuple[Shop, Rows]) -> None:
    shop, products = stocked
    products[0]["image"] = ["0.png", "1.png"]
    shop.ingest(products)
    assert verify(shop, products).ok
    assert found(verify(shop, products, images="first"))[1] == ("p0000",)
    shop.ingest(products, images="first")
    assert verify(shop, products, images="first").ok


def test_pictures_behind_addresses_are_asked_for_their_version(small: Shop) -> None:
    with picture_host() as host:
        host.numbers |= {str(n): n for n in range(4)}
        products = rows(4, image=host.url("{}"))
        small.ingest(products, allow_private_hosts=True)
        host.numbers["2"] = 50
        report = verify(small, products, allow_private_hosts=True)
        assert found(report)[1] == ("p0002",)
        assert verify(small, products, allow_private_hosts=True, refetch="never").ok
        assert small.ingest(products, allow_private_hosts=True).images_encoded == 1
        assert verify(small, products, allow_private_hosts=True).ok
    assert verify(
        small, products, allow_private_hosts=True, url_timeout=1, url_deadline=2
    ).ok  # the host is away


def test_without_a_collection_there_is_nothing_to_compare(stocked: tuple[Shop, Rows]) -> None:
    shop, products = stocked
    shop.client.drop()
    with pytest.raises(CollectionNotFound):
        verify(shop, products)


# Damaged databases

COUNT = 48


def unlink(*files: Path) -> None:
    assert files
    for file in files:
        file.unlink()


def cut(share: float, *files: Path) -> None:
    assert files
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])


def listed(database: Path, kind: str) -> list[Path]:
    return sorted(database.glob(FILES.format(kind)))


def wal(database: Path) -> list[Path]:
    return sorted(database.glob("collections/products/wal/*"))


def manifest(database: Path) -> Path:
    return database / "collections/products/manifest.json"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Iterator[Shop]:
    """``shop.db`` is whole and closed; ``live.db`` is what the disk held in the middle of an ingest."""
    folder = tmp_path_factory.mktemp("images")
    products = rows(COUNT, image="{}.png")
    with Shop(folder, encoder) as shop:
        shop.draw(*(f"{n}.png" for n in range(COUNT)))
        shop.ingest(products[:16])
        shop.ingest(products[:32])

        def copy(report: IngestReport) -> None:
            if report.written >= 8 and not (folder / "live.db").exists():
                shutil.copytree(folder / "shop.db", folder / "live.db")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                Writer, "_is_due", lambda self: bool(self._waiting)
            )  # every batch is written at once
            shop.ingest(products, progress=copy, batch_size=4)
        shop.reopen()
        assert (folder / "live.db").exists()
        yield shop


@pytest.mark.parametrize(
    ("image", "damage", "missing"),
    [
        ("shop", lambda database: unlink(listed(database, "data")[0]), (1, COUNT - 1)),
        ("shop", lambda database: unlink(*listed(database, "data")), (COUNT, COUNT)),
        ("shop", lambda database: unlink(*listed(database, "indexes")), (0, 0)),
        ("shop", lambda database: unlink(manifest(database)), (1, COUNT - 1)),
        ("shop", lambda database: cut(0.5, manifest(database)), (1, COUNT - 1)),
        ("live", lambda database: None, (0, 12)),
        ("live", lambda database: unlink(*wal(database)), (16, 16)),
        ("live", lambda database: cut(0.0, *wal(database)), (16, 16)),
        ("live", lambda database: cut(0.6, *wal(database)), (1, 16)),
        ("live", lambda database: cut(0.99, *wal(database)), (1, 16)),
    ],
    ids=[
        "one data file gone", "all data files gone", "index files gone", "manifest gone", "manifest cut", "crash",
        "log gone", "log empty", "log cut", "last bytes of the log gone",
    ],
)  # fmt: skip
def test_a_damaged_database_is_repaired(
    image: str, damage: Callable[[Path], None], missing: tuple[int, int], images: Shop, encoder: Encoder
) -> None:
    with Shop(images.folder, encoder, "damaged.db") as shop:
        shutil.rmtree(shop.database, ignore_errors=True)
        shutil.copytree(images.folder / f"{image}.db", shop.database)
        damage(shop.database)
        report = shop.client.verify(shop.catalog)
        lost = report.missing_count
        least, most = missing
        assert least <= lost <= most
        assert (report.ok, report.stored) == (lost == 0, COUNT - lost)
        assert found(report)[1:] == ((), (), ())
        repaired = shop.client.ingest(shop.catalog)
        assert (repaired.written, repaired.unchanged) == (lost, COUNT - lost)
        assert (repaired.images_encoded, repaired.texts_encoded) == (lost, lost)
        again = shop.client.verify(shop.catalog)
        assert (again.ok, again.stored) == (True, COUNT)
        assert_same(shop.client, images.client)
        images.reopen()


@pytest.mark.parametrize("kind", ["data", "indexes"])
def test_a_file_that_milvus_cannot_read_is_an_error_that_names_it(
    kind: str, images: Shop, encoder: Encoder
) -> None:
    with Shop(images.folder, encoder, "unreadable.db") as shop:
        shutil.rmtree(shop.database, ignore_errors=True)
        shutil.copytree(images.folder / "shop.db", shop.database)
        damaged = listed(shop.database, kind)[0]
        cut(0.5, damaged)
        for call in (Client.verify, Client.ingest):
            with pytest.raises(StoreError) as caught:
                call(shop.client, shop.catalog)
            assert "\n" not in str(caught.value)
            assert kind == "indexes" or damaged.name in str(caught.value)
            shop.reopen()
        damaged.unlink()
        lost = shop.client.verify(shop.catalog).missing_count
        assert shop.client.ingest(shop.catalog).written == lost
        assert shop.client.verify(shop.catalog).ok
