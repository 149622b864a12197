"""The same contract over an embedded file and over a real server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from mm_milvus.config import Settings
from mm_milvus.records import Field, FieldType, Row, Schema
from mm_milvus.store import Collection, Stamp, Store, storable

DIM = 8

ATTRIBUTES = Schema(
    (
        Field("title", FieldType.VARCHAR),
        Field("price", FieldType.DOUBLE),
        Field("stock", FieldType.INT64),
        Field("featured", FieldType.BOOL),
        Field("sizes", FieldType.ARRAY_VARCHAR),
        Field("ratings", FieldType.ARRAY_DOUBLE),
        Field("specs", FieldType.JSON),
        Field("颜色", FieldType.VARCHAR),
        Field("net weight", FieldType.DOUBLE),
    )
)


def unit(*values: float) -> np.ndarray:
    """A unit vector of DIM dimensions that begins with ``values``."""
    vector = np.zeros(DIM, np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def stamp(store: Store, *, attributes: Schema = ATTRIBUTES, **changes: Any) -> Stamp:
    partition_key = changes.get("partition_key")
    values: dict[str, Any] = {
        "encoder": "test",
        "revision": "1",
        "preprocessing": "none",
        "fusion": "blocks",
        "image_mean": np.full(DIM // 2, 0.1, np.float32),
        "text_mean": np.full(DIM // 2, 0.2, np.float32),
        "joint": False,
        "text_fields": ("title",),
        "max_chars": 300,
        "schema": storable(attributes, store.capabilities, partition_key),
        "created_by": "the test",
    }
    return Stamp(**values | changes)


def row(id: str, vector: np.ndarray | None = None, **attributes: Any) -> Row:
    return Row(
        id=id,
        text="words" if "title" in attributes else "",
        fused=unit(1) if vector is None else vector,
        has_image=True,
        has_text="title" in attributes,
        attributes=attributes,
        image_hash="i",
        text_hash="t",
        attributes_hash="a",
    )


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.server)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An open connection of each kind."""
    if request.param == "lite":
        uri = str(tmp_path_factory.mktemp("lite") / "shop.db")
    else:
        uri = request.getfixturevalue("server_uri")
    with Store(Settings(uri=uri), create=True) as opened:
        yield opened


@pytest.fixture
def name(store: Store) -> Iterator[str]:
    """A collection name of the test's own, dropped afterwards."""
    chosen = f"test_{uuid.uuid4().hex[:12]}"
    yield chosen
    if store.has(chosen):
        store.drop(chosen)


@pytest.fixture
def collection(store: Store, name: str) -> Collection:
    return store.create(name, stamp(store))


def ids(hits: Sequence[Any]) -> list[str]:
    return [hit.id for hit in hits]
