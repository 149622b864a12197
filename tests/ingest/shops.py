"""Small catalogs and the clients that ingest them, shared by the tests of the worker."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mm_milvus import Client
from mm_milvus.encoders.base import Encoder, Prepared
from mm_milvus.records import IngestReport

Rows = list[dict[str, Any]]
POISON = (255, 0, 0)  # the colour of pictures that an encoder of these tests cannot take


def picture(number: int) -> bytes:
    """A PNG of 24 x 16 pixels; another number gives another picture, never one of the colour of POISON."""
    values = np.random.default_rng(number).integers(0, 200, (2, 3, 3), dtype=np.uint8)
    return _png(Image.fromarray(values).resize((24, 16), Image.Resampling.NEAREST))


def poison(number: int = 0) -> bytes:
    """A PNG in the colour of POISON; other numbers give other bytes."""
    return _png(Image.new("RGB", (16 + number, 16), POISON))


def is_poison(prepared: Prepared) -> bool:
    """Whether this is a picture of the colour of POISON, prepared by the offline encoder: (3, 224, 224) bytes."""
    assert isinstance(prepared, torch.Tensor)
    return prepared.float().mean((1, 2)).round().int().tolist() == list(POISON)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class Delegating:
    """An encoder that answers as the real one does, unless a method is overwritten."""

    def __init__(self, real: Encoder) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Shop:
    """A folder with a catalog and pictures, and the client that ingests it."""

    def __init__(self, folder: Path, encoder: Any = None, name: str = "shop.db", **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.catalog = folder / "catalog.jsonl"
        self.database = folder / name
        self.client = Client(self.database)
        self.client.settings = self.client.settings.replace(**settings)
        if encoder is not None:
            self.client._encoders["offline"] = [encoder]

    def __enter__(self) -> Shop:
        return self

    def __exit__(self, *raised: object) -> None:
        self.client.close()

    def reopen(self) -> None:
        """Lets go of the database; another client opens it with the next call."""
        old = self.client
        old.close()
        self.client = Client(config=old.settings)
        self.client._encoders = old._encoders

    def draw(self, *names: str, number: int | None = None) -> None:
        """Files with a picture each, all of the same one where a number is given."""
        for index, name in enumerate(names):
            (self.folder / name).write_bytes(picture(index if number is None else number))

    def write(self, rows: Rows) -> Path:
        self.catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return self.catalog

    def ingest(self, rows: Rows, **options: Any) -> IngestReport:
        report = self.client.ingest(self.write(rows), **options)
        assert report.read == report.written + report.unchanged + report.rejected
        return report

    def rejects(self) -> list[dict[str, Any]]:
        """What the rejects file holds, by line."""
        return read_rejects(self.catalog.with_suffix(".rejects.jsonl"))

    def vector(self, id: str) -> np.ndarray:
        return self.client._open().vectors([id])[id][0]

    def ids(self) -> list[str]:
        return [row.id for row in self.client._open().scan()]


def read_rejects(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return sorted(map(json.loads, lines), key=lambda line: line["line"])


def rows(count: int, **values: Any) -> Rows:
    """Products p0000, p0001, ... with a title; ``{}`` in a value stands for the number."""
    made = [{"id": f"p{n:04}", "title": f"thing {n}"} for n in range(count)]
    for n, row in enumerate(made):
        row |= {key: value.format(n) if isinstance(value, str) else value for key, value in values.items()}
    return made


def contents(client: Client) -> dict[str, dict[str, Any]]:
    """id -> all that is stored of the product but the vector."""
    stored = {row.id: asdict(row) for row in client._open().scan()}
    hits = {hit.id: hit for hit in client.get(list(stored))}
    return {
        id: row | {"attributes": dict(hits[id].attributes), "image": hits[id].image}
        for id, row in stored.items()
    }


def assert_same(one: Client, other: Client) -> None:
    """Both hold the same products with the same vectors, to 1e-5."""
    assert contents(one) == contents(other)
    assert_same_vectors(one, other)


def assert_same_vectors(one: Client, other: Client, ids: Iterable[str] | None = None) -> None:
    """Both hold the same vectors of these products, of all by default, to 1e-5."""
    wanted = [row.id for row in other._open().scan()] if ids is None else list(ids)
    vectors, others = one._open().vectors(wanted), other._open().vectors(wanted)
    assert sorted(vectors) == sorted(others) == sorted(wanted)
    for id in wanted:
        np.testing.assert_allclose(vectors[id][0], others[id][0], atol=1e-5, err_msg=id)
        assert vectors[id][1:] == others[id][1:]


def counted(report: IngestReport) -> Sequence[int]:
    """(images encoded, images shared, texts encoded, texts shared)."""
    return report.images_encoded, report.images_shared, report.texts_encoded, report.texts_shared
