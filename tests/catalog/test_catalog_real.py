"""Real catalogs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mm_milvus.catalog import choose_text_fields, open_catalog, render_text
from mm_milvus.config import Settings
from mm_milvus.records import Product


def test_retail(retail_catalog: Path) -> None:
    catalog = open_catalog(retail_catalog, Settings())
    rows = list(catalog.products())
    assert [type(row) for row in rows] == [Product] * 84
    assert catalog.root == retail_catalog.parent.resolve()
    assert {name: kind.value for name, kind in catalog.schema.types().items()} == {
        "title": "varchar", "description": "varchar", "image": "varchar", "category": "varchar", "style": "varchar",
        "price": "double", "current_stock": "double", "featured": "bool", "gender": "varchar",
    }  # fmt: skip
    first = rows[0]
    assert isinstance(first, Product)
    assert (first.line, first.id, first.images) == (1, "retail-1", ("images/accessories-1.jpg",))
    assert (first.attributes["price"], first.attributes["featured"], "gender" in first.attributes) == (
        109.99,
        True,
        False,
    )
    text = render_text(first.attributes, choose_text_fields(catalog.schema, Settings()), 55)
    assert text == "Black Leather Backpack, accessories, bag. Our handmade"


def test_eshop(eshop_catalog: Path) -> None:
    catalog = open_catalog(eshop_catalog, Settings())
    rows = list(catalog.products())
    assert [type(row) for row in rows] == [Product] * 101
    assert [row.id for row in rows] == [f"eshop-{n}" for n in range(1, 102)]
    assert choose_text_fields(catalog.schema, Settings()) == ("title", "category", "brand", "description")


def test_clothing_has_no_titles(clothing_catalog: Path) -> None:
    catalog = open_catalog(clothing_catalog, Settings())
    rows = list(catalog.products())
    assert [type(row) for row in rows] == [Product] * 5096
    assert choose_text_fields(catalog.schema, Settings()) == ("label",)
    assert list(catalog.products()) == rows


def test_the_room_is_light() -> None:
    heavy = {"pyarrow", "numpy", "torch", "pymilvus", "PIL"}
    code = f"import mm_milvus.catalog, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
