"""What is not done twice: unchanged rows, rows with another price only, and pictures and texts that repeat."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.catalogs import photos, write_catalog
from bench.context import Context
from bench.table import Measured
from mm_milvus import Client

__all__ = ["duplicates", "reingest"]


def reingest(context: Context) -> Iterator[tuple[str, Measured]]:
    """A whole ingest through the client, from opening the catalog on, with a model that is loaded."""
    rows = context.count(5_000, 40)
    pictures = photos(context.data, "clothing", min(rows, 5_000))
    folder = context.place("reingest")
    price = 1.0
    catalog = write_catalog(folder, pictures, rows, words=True, price=price)
    same, changed = [], []
    with _Shop(context, folder) as shop:
        first = shop.ingest(catalog, written=rows)  # once: it takes longer than all others together
        for _ in range(3):
            same.append(shop.ingest(catalog, unchanged=rows))
            price += 1
            write_catalog(folder, pictures, rows, words=True, price=price)
            changed.append(shop.ingest(catalog, written=rows))
    for key, times in (("unchanged", same), ("attributes", changed)):
        detail = f"{median(times):.2f} of {first:.2f} s; {rows:,} rows"
        yield key, Measured([seconds / first for seconds in times], detail)


def duplicates(context: Context) -> Iterator[tuple[str, Measured]]:
    """Each picture and each title twice, against all different."""
    rows = context.count(1_000, 40)
    pictures = photos(context.data, "clothing", rows)
    alone = write_catalog(context.place("unique"), pictures, rows, words=True)
    twice = write_catalog(context.place("twice"), pictures, rows, words=True, copies=2)
    took: list[tuple[float, float]] = []
    for _ in context.turns():
        times = []
        for catalog in (alone, twice):
            with _Shop(context, catalog.parent) as shop:
                times.append(shop.ingest(catalog, written=rows))
        took.append((times[0], times[1]))
    unique, shared = (median(column) for column in zip(*took, strict=True))
    yield "duplicates", Measured([b / a for a, b in took], f"{shared:.2f} of {unique:.2f} s; {rows:,} rows")


class _Shop:
    """A client of a new Milvus Lite with the encoder `offline`."""

    def __init__(self, context: Context, folder: Path) -> None:
        self._place = Path(tempfile.mkdtemp(dir=folder))
        self._client = Client(config=context.settings(uri=str(self._place / "shop.db"), encoder="offline"))
        self._client._encoders["offline"] = context.encoders("offline")

    def __enter__(self) -> _Shop:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()
        shutil.rmtree(self._place)

    def ingest(self, catalog: Path, **expected: int) -> float:
        """Seconds."""
        began = time.perf_counter()
        report = self._client.ingest(catalog)
        took = time.perf_counter() - began
        for name, count in expected.items():
            if getattr(report, name) != count:
                raise RuntimeError(f"{getattr(report, name)} of {count} rows were {name}: {report.problems}")
        return took
