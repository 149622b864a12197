"""Which column becomes what, and that no two are ever mixed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mm_milvus.catalog import Catalog, open_catalog
from mm_milvus.config import Settings
from mm_milvus.errors import ConfigError
from mm_milvus.records import FieldType, Product, Rejected


def catalog_of(folder: Path, *rows: dict[str, Any], **settings: Any) -> Catalog:
    path = folder / "shop.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_catalog(path, Settings(**settings))


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        (
            ["sku", "name", "desc", "img"],
            {"id": "sku", "title": "name", "description": "desc", "image": "img"},
        ),
        (["productId", "productDisplayName"], {"id": "productId", "title": "productDisplayName"}),
        (
            ["Handle", "Title", "Body (HTML)"],
            {"id": "Handle", "title": "Title", "description": "Body (HTML)"},
        ),
        (["编号", "商品名称", "图片"], {"id": "编号", "title": "商品名称", "image": "图片"}),
        (["ID", "id", "title"], {"id": "id", "title": "title"}),
        (
            ["EAN", "Artikel-Nr.", "Bezeichnung", "Langtext", "Bild-URL"],
            {"id": "Artikel-Nr.", "title": "Bezeichnung", "description": "Langtext", "image": "Bild-URL"},
        ),
        (
            ["Référence", "Titre", "Description", "Image"],
            {"id": "Référence", "title": "Titre", "description": "Description", "image": "Image"},
        ),
        (
            ["Código", "Nombre", "Descripción", "Imagen"],
            {"id": "Código", "title": "Nombre", "description": "Descripción", "image": "Imagen"},
        ),
        (
            ["Codice", "Titolo", "Descrizione", "Immagine"],
            {"id": "Codice", "title": "Titolo", "description": "Descrizione", "image": "Immagine"},
        ),
        (
            ["Bestellnummer", "Produktname", "Bild", "Bilder"],
            {"id": "Bestellnummer", "title": "Produktname", "image": ("Bild", "Bilder")},
        ),
        (["id", "title", "Foto 1", "Foto 2"], {"id": "id", "title": "title", "image": ("Foto 1", "Foto 2")}),
        (
            ["id", "name2", "image_02", "image", "images", "photo1"],
            {"id": "id", "image": ("image", "image_02", "images")},
        ),
    ],
)
def test_common_names_are_guessed(tmp_path: Path, columns: list[str], mapping: dict[str, str]) -> None:
    assert catalog_of(tmp_path, dict.fromkeys(columns, "x")).mapping == mapping


def test_a_misspelt_field_is_told_from_a_renamed_attribute(tmp_path: Path) -> None:
    row = {"sku": 1, "label": "A", "front": "f.jpg"}
    with pytest.raises(ConfigError, match="^mapping: unknown field 'titel'; did you mean 'title'\\?$"):
        catalog_of(tmp_path, row, mapping={"titel": "label"})
    with pytest.raises(ConfigError, match="^mapping: unknown field 'Image'; did you mean 'image'\\?$"):
        catalog_of(tmp_path, row, mapping={"Image": "front"})
    assert catalog_of(tmp_path, row, mapping={"img": "front"}).mapping == {"id": "sku", "img": "front"}
    wanted = {"titel": "label", "title": "front"}
    assert catalog_of(tmp_path, row, mapping=wanted).mapping == {
        "id": "sku",
        "title": "front",
        "titel": "label",
    }


def test_mapping_overrides_and_renames(tmp_path: Path) -> None:
    row = {
        "id": 7,
        "sku": "S1",
        "name": "A",
        "title": "B",
        "current_price": 3,
        "price": 9,
        "front": "f.jpg",
        "back": "b.jpg",
    }
    wanted = {"id": "sku", "title": "name", "price": "current_price", "image": "front|back"}
    catalog = catalog_of(tmp_path, row, mapping=wanted)
    assert catalog.mapping == {
        "id": "sku", "title": "name", "image": ("front", "back"),
        "id_": "id", "title_": "title", "price": "current_price", "price_": "price",
    }  # fmt: skip
    (product,) = catalog.products()
    assert product == Product(
        1,
        "S1",
        {"title": "A", "price": 3.0, "id_": 7.0, "title_": "B", "price_": 9.0, "image": "f.jpg"},
        ("f.jpg", "b.jpg"),
        row,
    )


def test_names_of_ours_are_renamed_and_shown(tmp_path: Path) -> None:
    row = {
        "id": "1",
        "title": "a",
        "text": "t",
        "fused": 1,
        "mm_x": 2,
        "$meta": 3,
        "has_image": True,
        "颜色": "红",
    }
    catalog = catalog_of(tmp_path, row)
    renamed = {
        "text_": "text",
        "fused_": "fused",
        "attr_mm_x": "mm_x",
        "attr_meta": "$meta",
        "has_image_": "has_image",
    }
    assert catalog.mapping == {"id": "id", "title": "title"} | renamed
    (product,) = catalog.products()
    assert isinstance(product, Product)
    assert product.attributes == {
        "title": "a", "text_": "t", "fused_": 1.0, "attr_mm_x": 2.0, "attr_meta": 3.0, "has_image_": True, "颜色": "红",
    }  # fmt: skip


def test_columns_that_come_late_are_kept_apart_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mm_milvus.catalog.catalog.SAMPLE_ROWS", 1)
    rows = [
        {"id": 1, "name": "a"},
        {"id": 2, "name": "b", "text": "t", "title": "own"},
        {"id": 3, "name": "c", "text": "t", "text_": "u"},
        {"id": 4, "name": "d", "": 1},
        {"id": 5, "name": "e", "n" * 256: 1},
    ]
    second, *others = list(catalog_of(tmp_path, *rows).products())[1:]
    assert isinstance(second, Product)
    assert second.attributes == {"title": "b", "text_": "t", "title_": "own"}
    assert [(r.stage, r.reason) for r in others if isinstance(r, Rejected)] == [
        ("type", "two columns are called 'text_', one of them is 'text_'"),
        ("map", "an attribute has an empty name"),
        ("map", f"the attribute name {'n' * 40!r}... is longer than 255 bytes"),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"mapping": {"id": "suk"}},
            "the catalog has no column 'suk' for 'id' (setting mapping); did you mean 'sku'?",
        ),
        ({"mapping": {"text": "name"}}, "mapping: 'text' is a field of ours"),
        (
            {"types": {"pirce": "double"}},
            "types: the catalog has no attribute 'pirce'; did you mean 'price'?",
        ),
        ({"types": {"title": "int64"}}, "types: title is always varchar, not int64"),
        (
            {"text_fields": ("colour",)},
            "text_fields: the catalog has no attribute 'colour'; did you mean 'color'?",
        ),
    ],
)
def test_settings_that_do_not_fit_the_catalog(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    row = {"sku": "1", "name": "a", "price": 1, "color": "red"}
    with pytest.raises(ConfigError) as caught:
        catalog_of(tmp_path, row, **settings)
    assert str(caught.value).startswith(message)


def test_a_merchant_feed_works_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "feed.tsv"
    path.write_text(
        "id\ttitle\tdescription\tlink\timage_link\tadditional_image_link\tprice\tsale_price\titem_group_id\tgtin\n"
        "A1\tTee\tSoft\thttps://s.example/1\thttps://s.example/1.jpg\thttps://s.example/2.jpg,https://s.example/3,4.jpg"
        "\t15,550.00 USD\t\t100\t4006381333931\n"
        "A2\tHat\tWarm\thttps://s.example/2\thttps://s.example/4.jpg\t\t20.00 USD\t9.50 USD\t100\t\n"
    )
    catalog = open_catalog(path, Settings())
    assert catalog.mapping["image"] == ("image_link", "additional_image_link")
    types = catalog.schema.types()
    assert list(types)[:2] == ["title", "description"]
    assert {
        name: types[name] for name in ("price", "price_currency", "sale_price", "item_group_id", "gtin")
    } == {
        "price": FieldType.DOUBLE,
        "price_currency": FieldType.VARCHAR,
        "sale_price": FieldType.DOUBLE,
        "item_group_id": FieldType.VARCHAR,
        "gtin": FieldType.VARCHAR,
    }
    first, second = catalog.products()
    assert isinstance(first, Product)
    assert isinstance(second, Product)
    assert first.images == ("https://s.example/1.jpg", "https://s.example/2.jpg", "https://s.example/3,4.jpg")
    assert first.attributes == {
        "title": "Tee", "description": "Soft", "link": "https://s.example/1", "image": "https://s.example/1.jpg",
        "price": 15550.0, "price_currency": "USD", "item_group_id": "100", "gtin": "4006381333931",
    }  # fmt: skip
    assert (second.attributes["sale_price"], second.attributes["sale_price_currency"]) == (9.5, "USD")


@pytest.mark.parametrize(
    ("written", "images"),
    [
        ("a.jpg", ("a.jpg",)),
        ("a.jpg|b.jpg | a.jpg", ("a.jpg", "b.jpg")),
        ("a.jpg;b.jpg", ("a.jpg", "b.jpg")),
        ("https://x.example/a.jpg;jsessionid=1", ("https://x.example/a.jpg;jsessionid=1",)),
        ('["a.jpg", "b c.jpg"]', ("a.jpg", "b c.jpg")),
        ("data:image/png;base64,AAAA", ("data:image/png;base64,AAAA",)),
    ],
)
def test_pictures_of_a_csv(tmp_path: Path, written: str, images: tuple[str, ...]) -> None:
    path = tmp_path / "shop.csv"
    path.write_text('id,image\n1,"' + written.replace('"', '""') + '"\n')
    (product,) = open_catalog(path, Settings()).products()
    assert isinstance(product, Product)
    assert product.images == images
    assert product.attributes == ({} if written.startswith("data:") else {"image": images[0]})


def test_pictures_of_json(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "image": "a;b|c.jpg"},
        {"id": 2, "image": ["a.jpg", None, " ", "b.jpg", "a.jpg"]},
        {"id": 3, "image": {"path": "a.jpg", "bytes": None}},
        {"id": 4, "image": 5},
        {"id": 5, "image": "", "note": "n"},
        {"id": 6, "image": "a\0.jpg"},
    ]
    found = list(catalog_of(tmp_path, *rows).products())
    assert [p.images for p in found if isinstance(p, Product)] == [
        ("a;b|c.jpg",),
        ("a.jpg", "b.jpg"),
        ("a.jpg",),
    ]
    assert [(r.id, r.stage, r.reason) for r in found if isinstance(r, Rejected)] == [
        ("4", "map", "image: expected a path, a URL or a list of them, got 5"),
        ("5", "map", "neither text nor a picture"),
        ("6", "map", "image: holds a NUL character"),
    ]


def test_ids(tmp_path: Path) -> None:
    ids = ["a", 12, 1.5, True, None, "", "a\tb", "é" * 256, "é" * 257, "a", [1]]
    found = list(catalog_of(tmp_path, *[{"id": name, "title": "t"} for name in ids]).products())
    assert [p.id for p in found if isinstance(p, Product)] == ["a", "12", "é" * 256]
    assert [(r.line, r.id, r.reason) for r in found if isinstance(r, Rejected)] == [
        (3, None, "id: expected text or an integer, got 1.5 (number)"),
        (4, None, "id: expected text or an integer, got True (boolean)"),
        (5, None, "no id"),
        (6, None, "the id is empty"),
        (7, None, "id: 'a\\tb' (string) holds control characters"),
        (9, None, "id: 514 bytes of UTF-8, the limit is 512"),
        (10, "a", "duplicate id 'a'"),
        (11, None, "id: expected text or an integer, got [1] (list)"),
    ]
