"""Where the measured runs write to: nowhere, or into a fresh Milvus Lite."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mm_milvus.catalog import Catalog
from mm_milvus.config import Settings
from mm_milvus.encoders import Encoder
from mm_milvus.ingest import open_target
from mm_milvus.records import Row
from mm_milvus.store import Collection, Stamp, Store
from mm_milvus.store.capabilities import Capabilities

__all__ = ["NullSink", "lite", "make_stamp", "null"]


class NullSink:
    """Has what the worker uses of a Collection. Rows that are written are gone."""

    def __init__(self, name: str, stamp: Stamp, capabilities: Capabilities) -> None:
        self.name = name
        self.stamp = stamp
        self.capabilities = capabilities
        self.rows = 0

    def write(self, rows: Sequence[Row], *, new: bool = False) -> list[tuple[Row, str]]:
        self.rows += len(rows)
        return []

    def flush(self) -> None:
        pass

    def settle(self) -> None:
        pass

    def stored(self, ids: Sequence[str]) -> dict[str, Any]:
        return {}

    def vectors(self, ids: Sequence[str]) -> dict[str, Any]:
        return {}

    def scan(self) -> Iterator[Any]:
        return iter(())

    def delete_ids(self, ids: Sequence[str]) -> None:
        pass


class _NullStore:
    """Has what ``open_target`` uses of a Store."""

    def __init__(self) -> None:
        self.capabilities = Capabilities.of("milvus_lite-3", lite=True)

    def has(self, name: str) -> bool:
        return False

    def create(self, name: str, stamp: Stamp) -> NullSink:
        return NullSink(name, stamp, self.capabilities)


def make_stamp(catalog: Catalog, encoder: Encoder, settings: Settings) -> Stamp:
    """The stamp of a new collection, as an ingest of this catalog makes it. May encode up to 256 pictures."""
    store: Any = _NullStore()
    return open_target(store, catalog, encoder, settings)[0].stamp


def null(stamp: Stamp) -> Any:
    """A fresh null sink."""
    return NullSink("products", stamp, Capabilities.of("milvus_lite-3", lite=True))


@contextmanager
def lite(folder: Path, stamp: Stamp, settings: Settings) -> Iterator[Collection]:
    """A new collection in a new Milvus Lite, deleted afterwards."""
    place = Path(tempfile.mkdtemp(dir=folder))
    store = Store(settings.replace(uri=str(place / "shop.db")), create=True)
    try:
        yield store.create("products", stamp)
    finally:
        store.close()
        shutil.rmtree(place)
