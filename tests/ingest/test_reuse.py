"""What is stored already is not made again: vectors come back bit for bit, pictures behind URLs are only asked for."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.base import Encoder
from tests.encoders import tiny_models
from tests.ingest.picture_host import PictureHost, picture_host
from tests.ingest.shops import Rows, Shop, counted, rows

NOTHING: Counter[str] = Counter()


@pytest.fixture(params=["lite", pytest.param("server", marks=[pytest.mark.server, pytest.mark.slow])])
def either(request: pytest.FixtureRequest, tmp_path: Path, encoder: Encoder) -> Iterator[Shop]:
    """A shop in an embedded file, and one on a server."""
    with Shop(tmp_path / "either", encoder) as shop:
        if request.param == "server":
            name = f"test_{uuid.uuid4().hex[:12]}"
            shop.client.settings = shop.client.settings.replace(
                uri=request.getfixturevalue("server_uri"), collection=name
            )
        yield shop
        if request.param == "server":
            shop.client.drop()


def products(shop: Shop) -> Rows:
    shop.draw(*(f"{n}.png" for n in range(6)))
    return rows(6, image="{}.png", price=1.5, stock=3)


def test_attributes_alone_read_the_vector_back_bit_for_bit(either: Shop) -> None:
    catalog = products(either)
    either.ingest(catalog)
    before = {row["id"]: either.vector(row["id"]) for row in catalog}
    for price, row in enumerate(catalog[:4]):
        row |= {"price": 9.5 + price, "new": "value"}
    del catalog[1]["stock"]
    report = either.ingest(catalog, text_fields=["title"])
    assert (report.written, report.unchanged, counted(report)) == (4, 2, (0, 0, 0, 0))
    for id, vector in before.items():
        assert vector.dtype == np.float32
        assert either.vector(id).tobytes() == vector.tobytes()
    hits = either.client.get(["p0001", "p0003", "p0004"])
    assert [dict(hit.attributes).get("price") for hit in hits] == [10.5, 12.5, 1.5]
    assert [set(hit.attributes) for hit in hits] == [
        {"title", "image", "price", "new"},
        {"title", "image", "price", "stock", "new"},
        {"title", "image", "price", "stock"},
    ]
    again = either.ingest(catalog)
    assert (again.written, again.unchanged) == (0, 6)


def test_only_the_modality_that_changed_is_encoded(either: Shop) -> None:
    catalog = products(either)
    either.ingest(catalog)
    before = {row["id"]: either.vector(row["id"]) for row in catalog}
    size = either.client._open().stamp.image_mean.shape[0]
    catalog[0]["title"] = "another thing"
    either.draw("1.png", number=40)
    del catalog[2]["image"]
    del catalog[3]["title"]
    either.draw("4.png", number=41)
    catalog[4] |= {"title": "yet another thing", "price": 7.5}
    report = either.ingest(catalog)
    assert (report.written, report.unchanged, counted(report)) == (5, 1, (2, 0, 2, 0))
    stamp = either.client._open().stamp
    after = {row["id"]: either.vector(row["id"]) for row in catalog}

    def kept(id: str) -> tuple[bool, bool]:
        """Whether the image part, and the text part, are as they were."""
        old, new = before[id], after[id]
        return old[:size].tobytes() == new[:size].tobytes(), old[size:].tobytes() == new[size:].tobytes()

    assert [kept(row["id"]) for row in catalog] == [
        (True, False), (False, True), (False, True), (True, False), (False, False), (True, True)
    ]  # fmt: skip
    assert after["p0002"][:size].tobytes() == stamp.image_mean.tobytes()
    assert after["p0003"][size:].tobytes() == stamp.text_mean.tobytes()


def test_a_sum_of_both_encodes_both(tmp_path: Path) -> None:
    model = load_encoder(str(tiny_models.clip(tmp_path / "tiny-clip")), device="cpu", dtype="float32")
    with Shop(tmp_path / "shop", fusion="sum") as shop:
        shop.client._encoders = {
            name: [model] for name in ("offline", "tiny-clip", str(tmp_path / "tiny-clip"))
        }
        catalog = products(shop)
        shop.ingest(catalog)
        before = {row["id"]: shop.vector(row["id"]) for row in catalog}
        catalog[0]["title"] = "another thing"
        shop.draw("1.png", number=40)
        catalog[2]["price"] = 9.5
        report = shop.ingest(catalog)
        assert (report.written, report.unchanged, counted(report)) == (3, 3, (2, 0, 2, 0))
        same = [shop.vector(id).tobytes() == vector.tobytes() for id, vector in before.items()]
        assert same == [False, False, True, True, True, True]
        with Shop(tmp_path / "shop", name="fresh.db", fusion="sum") as fresh:
            fresh.client._encoders = shop.client._encoders
            fresh.ingest(catalog)
            for id in before:
                np.testing.assert_allclose(shop.vector(id), fresh.vector(id), atol=1e-5)


# Pictures behind URLs


class UrlShop:
    """A shop of six products whose pictures a host on loopback has."""

    def __init__(self, shop: Shop, host: PictureHost) -> None:
        self.shop, self.host = shop, host
        host.numbers |= {str(n): n for n in range(6)}
        self.rows = rows(6, image=host.url("{}"), price=1.5)

    def ingest(self, **options: Any) -> tuple[int, ...]:
        """(written, unchanged, rejected, kept, images encoded, texts encoded)"""
        report = self.shop.ingest(self.rows, allow_private_hosts=True, **options)
        return (report.written, report.unchanged, report.rejected, report.kept,
                report.images_encoded, report.texts_encoded)  # fmt: skip


@pytest.fixture
def web(small: Shop) -> Iterator[UrlShop]:
    with picture_host() as host:
        yield UrlShop(small, host)


ALL = Counter(str(n) for n in range(6))


def test_an_unchanged_picture_is_asked_for_but_not_downloaded(web: UrlShop) -> None:
    assert web.ingest() == (6, 0, 0, 0, 6, 6)
    assert web.host.asked() == {"HEAD": NOTHING, "GET": ALL}
    assert web.ingest() == (0, 6, 0, 0, 0, 0)
    asked = web.host.asked()
    assert asked["HEAD"] == ALL
    assert asked["GET"] <= ALL  # what HEAD says is compared with GET, whose body nobody reads
    assert web.shop.ingest(web.rows, allow_private_hosts=True).bytes_read == 0


def test_a_new_version_is_encoded_and_nothing_else(web: UrlShop) -> None:
    web.ingest()
    before = {row["id"]: web.shop.vector(row["id"]) for row in web.rows}
    web.host.numbers["2"] = 50
    assert web.ingest() == (1, 5, 0, 0, 1, 0)
    changed = [id for id, vector in before.items() if web.shop.vector(id).tobytes() != vector.tobytes()]
    assert changed == ["p0002"]
    assert web.ingest() == (0, 6, 0, 0, 0, 0)
    with Shop(web.shop.folder, web.shop.client._encoders["offline"][0], "fresh.db") as fresh:
        fresh.ingest(web.rows, allow_private_hosts=True)
        np.testing.assert_allclose(web.shop.vector("p0002"), fresh.vector("p0002"), atol=1e-5)


def test_never_asks_nobody_and_always_downloads_everything(web: UrlShop) -> None:
    web.ingest()
    web.host.numbers["2"] = 50
    web.host.asked()
    assert web.ingest(refetch="never") == (0, 6, 0, 0, 0, 0)
    assert web.host.asked() == {"HEAD": NOTHING, "GET": NOTHING}
    assert web.ingest(refetch="always")[4:] == (6, 0)
    assert web.host.asked() == {"HEAD": NOTHING, "GET": ALL}
    web.host.numbers["7"] = 7
    web.rows[0]["image"] = web.host.url(7)  # another address is another picture, whatever the setting
    assert web.ingest(refetch="never") == (1, 5, 0, 0, 1, 0)
    assert web.host.asked()["GET"] == Counter("7")


def test_a_host_that_says_nothing_of_versions_is_believed(web: UrlShop) -> None:
    web.host.validators = False
    assert web.ingest() == (6, 0, 0, 0, 6, 6)
    web.host.numbers["2"] = 50  # nobody can know
    assert web.ingest() == (0, 6, 0, 0, 0, 0)
    web.host.validators = True  # nothing is stored that its word could be compared with
    assert web.ingest() == (0, 6, 0, 0, 0, 0)
    assert web.ingest(refetch="always")[4:] == (6, 0)
    web.host.numbers["3"] = 51
    assert web.ingest() == (1, 5, 0, 0, 1, 0)
    web.host.validators = False  # it stops telling
    assert web.ingest() == (0, 6, 0, 0, 0, 0)
    web.host.validators = True
    assert web.ingest() == (0, 6, 0, 0, 0, 0)


def test_a_host_that_is_away_changes_nothing(small: Shop) -> None:
    with picture_host() as host:
        web = UrlShop(small, host)
        web.ingest()
        port = host.web.port
    before = {row["id"]: small.vector(row["id"]) for row in web.rows}
    web.rows[1]["price"] = 9.5
    web.rows[2]["title"] = "another thing"
    web.rows.append({"id": "new", "title": "new", "image": host.url(1)})
    report = small.ingest(web.rows, allow_private_hosts=True, url_timeout=1, url_deadline=2)
    assert (report.written, report.unchanged, report.kept, counted(report)[0]) == (3, 4, 1, 0)
    assert [row["id"] for row in small.rejects()] == ["new"]
    assert [row.has_image for row in small.client._open().stored(["p0001", "p0002", "new"]).values()] == [
        True, True, False,
    ]  # fmt: skip
    assert small.vector("p0001").tobytes() == before["p0001"].tobytes()
    size = small.client._open().stamp.image_mean.shape[0]
    assert small.vector("p0002")[:size].tobytes() == before["p0002"][:size].tobytes()
    with picture_host(port) as host:
        again = UrlShop(small, host)
        again.rows = web.rows
        assert again.ingest() == (1, 6, 0, 0, 1, 0)  # only the new one was missing
        host.numbers["1"] = 50  # the stored versions have survived the change of an attribute and of a text
        assert again.ingest() == (2, 5, 0, 0, 1, 0)


def test_an_attribute_that_changed_keeps_the_version(web: UrlShop) -> None:
    web.ingest()
    hashes = {row.id: row.image_hash for row in web.shop.client._open().scan()}
    web.rows[0]["price"] = 9.5
    web.rows[1]["title"] = "another thing"
    assert web.ingest(refetch="never") == (2, 4, 0, 0, 0, 1)
    assert {row.id: row.image_hash for row in web.shop.client._open().scan()} == hashes
    assert web.ingest() == (0, 6, 0, 0, 0, 0)
    web.rows[0]["price"] = 10.5
    web.host.numbers["1"] = 50
    assert web.ingest() == (2, 4, 0, 0, 1, 0)
    assert web.ingest() == (0, 6, 0, 0, 0, 0)


def test_one_address_of_many_products_is_downloaded_once(small: Shop) -> None:
    with picture_host() as host:
        web = UrlShop(small, host)
        for row in web.rows:
            row["image"] = host.url(0)
        assert web.ingest(batch_size=2)[4] == 1
        assert web.host.asked()["GET"] == Counter({"0": 1})
        host.numbers["0"] = 50
        assert web.ingest(batch_size=2) == (6, 0, 0, 0, 1, 0)


def test_a_kept_copy_saves_the_download(small: Shop, tmp_path: Path, encoder: Encoder) -> None:
    with picture_host() as host:
        web = UrlShop(small, host)
        web.ingest(picture_cache=tmp_path / "cache")
        web.host.asked()
        with Shop(small.folder, encoder, "other.db") as other:
            assert UrlShop(other, host).ingest(picture_cache=tmp_path / "cache")[:5] == (6, 0, 0, 0, 6)
            for row in web.rows:
                np.testing.assert_allclose(other.vector(row["id"]), small.vector(row["id"]), atol=1e-5)


def test_two_pictures_of_which_one_has_a_new_version(web: UrlShop) -> None:
    web.rows[0]["image"] = [web.host.url(0), web.host.url(5)]
    web.ingest()
    web.host.numbers["5"] = 50
    assert web.ingest() == (2, 4, 0, 0, 2, 0)
    assert web.ingest() == (0, 6, 0, 0, 0, 0)
