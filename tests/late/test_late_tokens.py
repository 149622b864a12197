"""Tokens of a training are made once, and what could not be read stays known."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_milvus import Settings
from mm_milvus.encoders import towers
from mm_milvus.late import load_projection
from mm_milvus.training import TrainSettings, train

from ..training.shapes import interrupted
from . import shops


@pytest.fixture
def catalog(encoder: str, tmp_path: Path) -> tuple[Settings, Path]:
    """A shop, and the folder of its pictures."""
    return shops.ingested(tmp_path / "catalog", encoder), tmp_path / "catalog"


def settings_of(tmp_path: Path, name: str, **options: Any) -> TrainSettings:
    given: dict[str, Any] = {"from_catalog": True, "fusion": "late-interaction", "epochs": 2, "dim": 8}
    return TrainSettings(out=tmp_path / name, **given | options)


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    return dict(load_projection(folder)[0].weights)


def test_pictures_that_cannot_be_read_stay_known_and_are_tried_again(
    catalog: tuple[Settings, Path], tmp_path: Path
) -> None:
    shop, folder = catalog
    for name in ("0.png", "4.png"):
        (folder / name).rename(folder / f"away-{name}")
    first = settings_of(tmp_path, "v1", overwrite=True)
    assert train(first, shop).unread_pictures == 2
    assert train(first, shop).unread_pictures == 2  # of tokens that are there already
    without = weights_of(tmp_path / "v1")

    # One comes back: a new run reads it, and is like one that never missed it.
    killed = settings_of(tmp_path, "killed")
    interrupted(killed, shop)
    (folder / "away-0.png").rename(folder / "0.png")
    assert train(first, shop).unread_pictures == 1
    train(settings_of(tmp_path, "fresh"), shop)
    mended, fresh = weights_of(tmp_path / "v1"), weights_of(tmp_path / "fresh")
    assert all(np.array_equal(mended[name], fresh[name]) for name in fresh)
    assert not np.array_equal(mended["image"], without["image"])
    assert train(first, shop).unread_pictures == 1

    # One that was interrupted before goes on with what it had.
    report = train(killed, shop)
    assert (report.resumed_from, report.unread_pictures) == (1, 2)
    assert np.array_equal(weights_of(tmp_path / "killed")["image"], without["image"])


def test_nothing_is_encoded_twice(
    catalog: tuple[Settings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, folder = catalog
    calls: Counter[str] = Counter()

    def counted(name: str) -> None:
        method = getattr(towers.TowersEncoder, name)

        def call(self: Any, items: Any, *rest: Any) -> Any:
            calls[name] += len(items)
            return method(self, items, *rest)

        monkeypatch.setattr(towers.TowersEncoder, name, call)

    names = ("encode_text_tokens", "encode_query_text_tokens", "encode_prepared_tokens", "encode_query_text")
    for name in (*names, "encode_prepared"):
        counted(name)
    settings = settings_of(tmp_path, "v1", crops=1, overwrite=True)
    train(settings, shop)
    assert all(calls[name] for name in (*names, "encode_prepared"))
    calls.clear()
    train(replace(settings, seed=1), shop)
    assert not calls["encode_text_tokens"], "products are the same"
    calls.clear()
    train(settings, shop)
    assert not calls
    # A picture that was exchanged is another one.
    shutil.copy(folder / "1.png", folder / "0.png")
    train(settings, shop)
    assert calls["encode_prepared"] and calls["encode_prepared_tokens"] and not calls["encode_query_text"]
