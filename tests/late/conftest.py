from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mm_milvus import Settings

from ..encoders import tiny_models
from . import shops


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Towers of random weights."""
    folder = tmp_path_factory.mktemp("late-models")
    return f"towers:{tiny_models.vit(folder / 'vit')}+{tiny_models.bert(folder / 'bert')}"


@pytest.fixture(scope="session")
def trained(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rerankers") / "v1"
    shops.projection(encoder).save(folder)
    return folder


@pytest.fixture(scope="session")
def made(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("late-shop")
    shops.ingested(folder, encoder)
    return folder


@pytest.fixture
def shop(made: Path, encoder: str, tmp_path: Path) -> Settings:
    """A shop of one's own, with pictures that may be taken away."""
    shutil.copytree(made / "shop.db", tmp_path / "shop.db")
    return shops.settings_of(tmp_path / "shop.db", encoder)
