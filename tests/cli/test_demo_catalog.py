"""The drawn demo catalog: the same bytes every time, and pictures that show what the lines say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mm_milvus_cli.demo_catalog import PALETTE, SIZE, draw_catalog
from PIL import Image

from mm_milvus.errors import CatalogError


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_catalog(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def products(catalog: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in catalog.read_text(encoding="utf-8").splitlines()]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _centre_colour(path: Path) -> tuple[int, int, int]:
    """Mean of the middle of a picture: the product, not the backdrop."""
    middle = (
        Image.open(path).convert("RGB").crop((SIZE * 2 // 5, SIZE * 2 // 5, SIZE * 3 // 5, SIZE * 3 // 5))
    )
    red, green, blue = middle.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
    return red, green, blue


def _nearest(color: tuple[int, int, int]) -> str:
    return min(PALETTE, key=lambda name: sum((a - b) ** 2 for a, b in zip(color, PALETTE[name], strict=True)))


def test_the_catalog_has_the_promised_products(products: list[dict[str, Any]]) -> None:
    assert len(products) == 86
    assert len({product["id"] for product in products}) == 86
    assert products[0]["id"] == "tshirt-red-1"
    assert products[0]["title"] == "Red Crew-Neck T-Shirt"
    assert Counter(product["category"] for product in products) == {
        "t-shirts": 8,
        "shirts": 6,
        "dresses": 6,
        "shoes": 26,
        "bags": 12,
        "kitchen": 12,
        "accessories": 6,
        "home": 10,
    }
    assert {p["kind"] for p in products if p["category"] == "shoes" and p["color"] == "red"} == {
        "sneakers",
        "running shoes",
        "boots",
        "high heels",
    }
    assert sum("description" not in product for product in products) == 3


def test_attributes_have_one_type_each(products: list[dict[str, Any]]) -> None:
    types = {"price": float, "stock": int, "rating": float, "featured": bool, "color": str, "material": str}
    for product in products:
        assert {name: type(product[name]) for name in types} == types
        assert product["color"] in PALETTE
        assert 3.3 <= product["rating"] <= 5.0
        assert all(isinstance(size, str) for size in product.get("sizes", []))
    assert {product["featured"] for product in products} == {True, False}
    assert len({product["brand"] for product in products}) == 8


def test_every_picture_opens_at_its_size(catalog: Path, products: list[dict[str, Any]]) -> None:
    for product in products:
        with Image.open(catalog.parent / product["image"]) as picture:
            picture.load()
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (SIZE, SIZE))


@pytest.mark.parametrize("kind", ["tshirt", "backpack", "chair"])
def test_the_middle_of_a_picture_has_the_colour_of_the_product(
    catalog: Path, products: list[dict[str, Any]], kind: str
) -> None:
    chosen = [p for p in products if p["id"].startswith(kind) and "Striped" not in p["title"]]
    shown = {product["id"]: _nearest(_centre_colour(catalog.parent / product["image"])) for product in chosen}
    assert shown == {product["id"]: product["color"] for product in chosen}


def test_two_folders_get_the_same_bytes(catalog: Path, tmp_path: Path) -> None:
    """Another process, through the module's own command line."""
    command = [sys.executable, "-m", "mm_milvus_cli.demo_catalog", str(tmp_path / "other")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == tmp_path / "other" / "catalog.jsonl"
    assert _files(tmp_path / "other") == _files(catalog.parent)


def test_a_second_run_repairs_and_touches_nothing_else(tmp_path: Path) -> None:
    catalog = draw_catalog(tmp_path)
    before = _files(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    broken = tmp_path / "images" / "mug-red-1.jpg"
    broken.write_bytes(b"broken")
    assert draw_catalog(tmp_path) == catalog
    assert _files(tmp_path) == before
    assert {path for path, time in times.items() if path.stat().st_mtime_ns != time} == {broken}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(
        CatalogError, match=r"cannot write the demo catalog to .*file: .*choose another folder"
    ):
        draw_catalog(blocker)
