"""The demo shop, and pairs for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mm_milvus_cli.demo_catalog import draw_catalog

from mm_milvus import Client, Settings


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The demo catalog in a database."""
    folder = tmp_path_factory.mktemp("shop")
    catalog = draw_catalog(folder / "demo")
    settings = Settings(uri=str(folder / "demo.db"))
    with Client(config=settings) as client:
        client.ingest(catalog)
    return settings


@pytest.fixture
def pairs(shop: Settings, tmp_path: Path) -> Path:
    """Made-up words that only training can tell apart, each for the products of one colour."""
    with Client(config=shop) as client:
        page = client.query(filter='color in ["red", "blue", "green"]', limit=100)
    words = {"red": "zorv", "blue": "quell", "green": "mibble"}
    lines: list[Any] = []
    for hit in page.hits:
        word = words[hit.attributes["color"]]
        for number, more in enumerate(("", "one", "a new", "my", "some")):
            split = "dev" if number == 4 else "train"
            lines.append({"query": f"{more} {word}".strip(), "product": hit.id, "split": split})
    lines += [{"query": "zorv", "product": "nobody"}, "{"]
    path = tmp_path / "pairs.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path
