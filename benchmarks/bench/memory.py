"""Peak memory of a process that ingests few or many rows into a server that is another process."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.catalogs import photos, write_catalog
from bench.context import TINY, Context
from bench.servers import server
from bench.table import Measured

__all__ = ["memory"]

_TIMES = 10
_CHILD = """
import sys
from pathlib import Path
from mm_milvus import Client
from mm_milvus.config import Settings
catalog, uri, collection, encoder = sys.argv[1:]
with Client(config=Settings(uri=uri, collection=collection, encoder=encoder, device="cpu")) as client:
    report = client.ingest(catalog)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(report.written, peak.split()[1])
    client.drop()
"""


def memory(context: Context) -> Iterator[tuple[str, Measured]]:
    """A toy model whose vectors are as wide as those of CLIP B/32, so that the run is about rows."""
    rows = 40 if context.quick else 1_000
    pictures = photos(context.data, "clothing", min(_TIMES * rows, 5_096))
    few = write_catalog(context.place("memory-few"), pictures, rows, words=True)
    many = write_catalog(context.place("memory-many"), pictures, _TIMES * rows, words=True)
    encoder = context.model(TINY)
    with server(context.place("milvus"), context.uri) as uri:
        found = [
            (_peak(few, rows, uri, encoder), _peak(many, _TIMES * rows, uri, encoder))
            for _ in context.turns(2, 40.0)
        ]
    low, high = (median(column) for column in zip(*found, strict=True))
    detail = f"{high:.0f} of {low:.0f} MiB; {_TIMES * rows:,} and {rows:,} rows with title and picture"
    yield "memory", Measured([b / a for a, b in found], detail)


def _peak(catalog: Path, rows: int, uri: str, encoder: str) -> float:
    """MiB that the process of one ingest had at most."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-c", _CHILD, str(catalog), uri, name, encoder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the ingest of {catalog} failed:\n{done.stderr}")
    written, kilobytes = done.stdout.split()[-2:]
    if int(written) != rows:
        raise RuntimeError(f"{written} of {rows} rows were written")
    return int(kilobytes) / 1024
