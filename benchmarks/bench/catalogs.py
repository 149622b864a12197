"""Catalogs of any size from a few thousand real photos, which are repeated under other names and hashes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["parts", "photos", "square_photos", "unique", "write_catalog"]

_START = b"\xff\xd8"  # of every JPEG
_COMMENT = b"\xff\xfe"
_COLOURS = "red blue green black white grey beige striped checked".split()
_WORDS = "cotton long short warm light sporty soft classic slim loose summer winter everyday".split()


def photos(data: Path, name: str, count: int) -> list[bytes]:
    """The first ``count`` JPEGs of one set, in the order of its catalog."""
    folder = data / name
    lines = (folder / "catalog.jsonl").read_text(encoding="utf-8").split("\n")
    paths = (folder / json.loads(line)["image"] for line in lines if line)
    return [path.read_bytes() for path in islice((path for path in paths if path.suffix == ".jpg"), count)]


def square_photos(data: Path, count: int, side: int = 800, quality: int = 90) -> list[bytes]:
    """Photos of the retail set, which are nearly as large, as squares of one size and quality."""
    made = []
    for photo in photos(data, "retail", count):
        out = io.BytesIO()
        with Image.open(io.BytesIO(photo)) as picture:
            resized = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        resized.save(out, "JPEG", quality=quality)
        made.append(out.getvalue())
    return made


def unique(photo: bytes, number: int) -> bytes:
    """The same picture with a comment: other bytes, so another hash, and the same pixels."""
    text = str(number).encode()
    return photo.replace(_START, _START + _COMMENT + (len(text) + 2).to_bytes(2, "big") + text, 1)


def write_catalog(
    folder: Path,
    pictures: Sequence[bytes],
    rows: int,
    *,
    words: bool = False,
    copies: int = 1,
    price: float = 1.0,
) -> Path:
    """A catalog.jsonl with ``rows`` products and their pictures, which are written once.

    ``words``: with a title and attributes. ``copies``: so many products have the same picture and title.
    ``price`` is added to the price of each product.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    path = folder / "catalog.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for index, photo in islice(enumerate(cycle(pictures)), -(-rows // copies)):
            image = images / f"{index}.jpg"
            if not image.exists():
                image.write_bytes(unique(photo, index))
        for index in range(rows):
            product = {"id": f"p{index}", "image": f"images/{index % -(-rows // copies)}.jpg"}
            file.write(
                json.dumps(product | (_attributes(index % -(-rows // copies), price) if words else {})) + "\n"
            )
    return path


def _attributes(index: int, price: float) -> dict[str, Any]:
    """A title of some ten words that no other number has, and what a shop stores beside it."""
    colour, word = _COLOURS[index % len(_COLOURS)], _WORDS[index % len(_WORDS)]
    other = _WORDS[index // len(_WORDS) % len(_WORDS)]
    return {
        "title": f"{colour.title()} {word} shirt number {index}, {other} cut with buttons and a pocket",
        "color": colour,
        "brand": f"brand {index % 40}",
        "price": round(price + index % 100, 2),
        "stock": index % 7,
    }


def parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive parts of up to ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))
