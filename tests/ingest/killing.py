"""Ingests in processes that are killed, and what is left of the collection compared with an undisturbed one."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mm_milvus import Client, IngestReport, Settings

ROWS = 500
MEMTABLE = (
    "MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES"  # above it Milvus Lite flushes in the middle of an ingest
)
_HEAVY = ("mm_milvus.client", "mm_milvus.ingest", "mm_milvus.encoders.dual", "transformers", "pymilvus")


def write_catalog(folder: Path, seed: int = 0) -> Path:
    """Products with small pictures, some of them shared, missing or damaged, and some lines that are refused."""
    draw = random.Random(seed)
    (folder / "images").mkdir(parents=True)
    for index in range(ROWS):
        noise = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((48, 40)).save(folder / "images" / f"{index}.png")
    for damaged in (7, 10):  # the second one is shared
        (folder / "images" / f"{damaged}.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    lines = []
    for index in range(ROWS):
        row: dict[str, Any] = {"id": f"p{index}", "title": f"product {index % 97} 红色", "price": index / 2}
        row["notes"] = "".join(draw.choices("abcdefgh ", k=4_000))
        if index % 11:
            row["image"] = f"images/{index if index % 5 else index % 50}.png"
        lines.append(json.dumps(row) if index % 101 else '{"id": ')
    path = folder / "catalog.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Job:
    catalog: Path
    settings: Settings
    memtable: int | None = None

    def run(self, connection: Connection) -> None:
        """In a process of its own: says how far it is after each write that Milvus has acknowledged."""
        from mm_milvus.ingest import worker, writer

        writer._LITE_ROWS = writer._SERVER_ROWS = 16  # many small writes: more moments at which to die
        worker._TICK = 0.01

        def tell(report: IngestReport) -> None:
            connection.send(report.written)

        with Client(config=self.settings) as shop:
            report = shop.ingest(self.catalog, progress=tell)
        connection.send(report.to_dict())


class Processes:
    """Starts processes that have the heavy imports behind them."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(_HEAVY))

    def run(
        self, job: Job, kill_at: int | None = None, delay: float = 0.0
    ) -> tuple[int, dict[str, Any] | None]:
        """The rows that were acknowledged, and the report.

        With ``kill_at`` the process is killed ``delay`` seconds after so many rows; then there is no report.
        """
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(job, theirs))
        process.start()
        theirs.close()
        acknowledged = 0
        try:
            while True:
                message = ours.recv()
                if not isinstance(message, int):
                    process.join(60)
                    return acknowledged, message
                acknowledged = message
                if kill_at is not None and acknowledged >= kill_at:
                    time.sleep(delay)
                    process.kill()
                    kill_at = None
        except EOFError:
            process.join(60)
            assert process.exitcode == -signal.SIGKILL, f"the ingest ended with {process.exitcode}"
            return acknowledged, None
        finally:
            ours.close()


def _child(job: Job, connection: Connection) -> None:
    if job.memtable is not None:
        os.environ[MEMTABLE] = str(job.memtable)
    job.run(connection)


def content(settings: Settings) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """id -> (attributes, vector) of everything that is stored; each id must be there once."""
    with Client(config=settings) as shop:
        collection = shop._open()
        ids = [row.id for row in collection.scan()]
        assert len(ids) == len(set(ids)) == collection.count()
        vectors = collection.vectors(ids)
        return {hit.id: (dict(hit.attributes), vectors[hit.id][0]) for hit in collection.get(ids)}


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raises AssertionError unless both hold the same products, attributes, and vectors to 1e-5."""
    assert found.keys() == expected.keys()
    for id, (attributes, vector) in expected.items():
        assert found[id][0] == attributes
        np.testing.assert_allclose(found[id][1], vector, rtol=0, atol=1e-5)
