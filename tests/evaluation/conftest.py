"""A shop of the demo catalog, which nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mm_milvus_cli.demo_catalog import draw_catalog

from mm_milvus import Client


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo catalog, with its database."""
    folder = tmp_path_factory.mktemp("evaluation") / "demo"
    catalog = draw_catalog(folder)
    with Client(folder / "demo.db") as shop:
        shop.ingest(catalog)
    return folder


@pytest.fixture(scope="session")
def shop(demo: Path) -> Iterator[Client]:
    with Client(demo / "demo.db") as shop:
        yield shop


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines into a file of the test's folder."""

    def write(*lines: str, name: str = "queries.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file

    return write
