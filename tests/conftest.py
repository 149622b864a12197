"""Fixtures that every room shares: a real embedded file, a real server, real photos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.milvus_server import running

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a real Milvus 2.3.5. MILVUS_TEST_URI names one that already runs; otherwise one is started."""
    if given := os.environ.get("MILVUS_TEST_URI"):
        yield given
        return
    with running(tmp_path_factory.mktemp("milvus")) as server:
        yield f"http://127.0.0.1:{server.listen_port}"


@pytest.fixture
def lite_uri(tmp_path: Path) -> str:
    """Path of a Milvus Lite file that does not exist yet."""
    return str(tmp_path / "shop.db")


def _catalog(name: str) -> Path:
    path = SHARED_DATA / name / "catalog.jsonl"
    if not path.is_file():
        pytest.skip(f"the test data folder ../shared/data/{name} is not there")
    return path


@pytest.fixture(scope="session")
def retail_catalog() -> Path:
    """84 real products with photos, texts and prices."""
    return _catalog("retail")


@pytest.fixture(scope="session")
def eshop_catalog() -> Path:
    """101 products with WEBP pictures and long descriptions."""
    return _catalog("eshop")


@pytest.fixture(scope="session")
def clothing_catalog() -> Path:
    """5,096 photos of garments with a label each."""
    return _catalog("clothing")
