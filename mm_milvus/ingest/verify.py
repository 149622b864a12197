"""Compares a catalog with its collection, without an encoder and without changing anything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.catalog import Catalog, SeenIds
from mm_milvus.errors import MediaError
from mm_milvus.ingest.items import ItemReader
from mm_milvus.ingest.pictures import Pictures
from mm_milvus.ingest.plan import Item
from mm_milvus.ingest.writer import row_of
from mm_milvus.media import decode_pixels
from mm_milvus.records import Product, Rejected, VerifyReport

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.store import Collection

__all__ = ["verify"]

_NAMED = 100  # ids of each kind that are named
_LOOKUP = 1_000


def verify(
    catalog: Catalog,
    collection: Collection,
    settings: Settings,
    progress: Callable[[int], None] | None = None,
) -> VerifyReport:
    """What the next ingest of ``catalog`` would have to do. ``progress`` is called with the rows read so far.

    Raises CatalogError and StoreError. A row that cannot be used counts as rejected; what is stored of it is not extra.
    """
    began = time.perf_counter()
    check = _Check()
    keeps = settings.missing_image == "keep" and catalog.kind != "directory"
    any_vector = np.ones(collection.stamp.dim, np.float32)
    with (
        Pictures(catalog.root, settings) as pictures,
        ThreadPoolExecutor(4, "read") as files,
        ThreadPoolExecutor(32, "fetch") as urls,
    ):
        reader = ItemReader(collection.stamp, pictures, settings, files, urls)
        for items in reader.chunks(catalog.products(), _LOOKUP, check.seen):
            stored = collection.stored([item.product.id for item in items])
            reader.compare(items, stored)
            for item in items:
                _drop_unreadable(item, pictures, keeps=keeps)
                content = item.text or item.pictures or item.keeps_stored
                if not content or (item.failures and not keeps):
                    check.note("rejected", item.product.id)
                elif not item.unchanged:
                    refused = collection.refusal(row_of(item, any_vector)) is not None
                    kind = "rejected" if refused else "missing" if item.old is None else "stale"
                    check.note(kind, item.product.id)
            if progress is not None:
                progress(check.counts["read"])
    check.scan(collection)
    return check.report(collection.name, time.perf_counter() - began)


def _drop_unreadable(item: Item, pictures: Pictures, *, keeps: bool) -> None:
    """A picture that cannot be had is stored as missing, and such a row is as good as it gets. Only looked at where
    that matters: where the row differs for its pictures, or is to be refused for them."""
    if item.unchanged or item.same_image or (item.old is None and item.text and keeps):
        return
    for picture in list(item.pictures):
        try:
            data = picture.data
            data = pictures.fetch(picture.reference).data if data is None else data
            decode_pixels(data, smallest=1)
        except MediaError as error:
            item.drop(picture, error)


class _Check:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._named: dict[str, list[str]] = {"missing": [], "stale": [], "extra": [], "doubled": []}
        self._catalog = SeenIds()
        self._stopped: str | None = None

    def seen(self, row: Product | Rejected) -> None:
        self.counts["read"] += 1
        if row.id is not None:
            self._catalog.add(row.id)
        if isinstance(row, Rejected):
            self.counts["rejected"] += 1
            if row.last:
                self._stopped = f"line {row.line}: {row.reason}"

    def note(self, kind: str, id: str) -> None:
        self.counts[kind] += 1
        if kind in self._named and len(self._named[kind]) < _NAMED:
            self._named[kind].append(id)

    def scan(self, collection: Collection) -> None:
        """What is stored and not in the catalog, or stored twice."""
        stored = SeenIds()
        for row in collection.scan():
            self.counts["stored"] += 1
            if not stored.add(row.id):
                self.note("doubled", row.id)
            elif row.id not in self._catalog:
                self.note("extra", row.id)

    def report(self, collection: str, seconds: float) -> VerifyReport:
        count = self.counts
        return VerifyReport(
            collection,
            read=count["read"],
            stored=count["stored"],
            rejected=count["rejected"],
            missing_count=count["missing"],
            stale_count=count["stale"],
            extra_count=count["extra"],
            doubled_count=count["doubled"],
            **{kind: tuple(ids) for kind, ids in self._named.items()},
            seconds=seconds,
            stopped=self._stopped,
        )
