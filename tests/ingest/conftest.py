"""The real offline encoder, loaded once: loading it takes longer than most of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.base import Encoder
from tests.ingest.shops import Shop


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder("offline", device="cpu")


@pytest.fixture
def small(tmp_path: Path, encoder: Encoder) -> Iterator[Shop]:
    """A shop with an empty folder."""
    with Shop(tmp_path / "small", encoder) as shop:
        yield shop
