"""A shop of the demo catalog, which nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mm_milvus_cli.demo_catalog import draw_catalog

from mm_milvus import Client
from mm_milvus.encoders import load_encoder
from mm_milvus.fusion import Head, HeadConfig


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


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random projections, which keep much of what is near."""
    spec = load_encoder("offline").spec
    config = HeadConfig("linear", 96, spec.image_dim, spec.text_dim, True, spec.name, spec.revision)
    draw = np.random.default_rng(0)
    weights = {f"product.{n}": draw.normal(size=s).astype(np.float32) for n, s in config.shapes().items()}
    means = [np.array(mean, np.float32) for mean in (spec.image_mean, spec.text_mean, spec.query_text_mean)]
    folder = tmp_path_factory.mktemp("heads") / "v1"
    Head(config, weights, *means).save(folder)
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines into a file of the test's folder."""

    def write(*lines: str, name: str = "queries.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file

    return write
