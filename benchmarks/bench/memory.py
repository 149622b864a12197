"""Peak memory of a process that ingests few or many rows into a server that is another process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.catalogs import photos, write_catalog
from bench.context import TINY, Context
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
_ETCD = """
name: default
data-dir: {folder}/etcd
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


def memory(context: Context) -> Iterator[tuple[str, Measured]]:
    """A toy model whose vectors are as wide as those of CLIP B/32, so that the run is about rows."""
    rows = 40 if context.quick else 1_000
    pictures = photos(context.data, "clothing", min(_TIMES * rows, 5_096))
    few = write_catalog(context.place("memory-few"), pictures, rows, words=True)
    many = write_catalog(context.place("memory-many"), pictures, _TIMES * rows, words=True)
    encoder = context.model(TINY)
    with _server(context) as uri:
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


@contextmanager
def _server(context: Context) -> Iterator[str]:
    """The server asked for, else one of the pip package ``milvus`` that is stopped afterwards."""
    if context.uri:
        yield context.uri
        return
    from milvus import MilvusServer

    folder = context.place("milvus")
    port, client, peer = (_free_port() for _ in range(3))
    config = folder / "etcd.yaml"
    config.write_text(_ETCD.format(folder=folder, client=client, peer=peer), encoding="utf-8")
    server: Any = MilvusServer()
    server.set_base_dir(str(folder))
    server.config.configs.update(proxy_port=port, etcd_port=client)
    # Without a file of its own its etcd takes fixed ports, and its start changes the working directory.
    before = os.environ.get("ETCD_CONFIG_PATH")
    os.environ["ETCD_CONFIG_PATH"] = str(config)
    try:
        with chdir(os.getcwd()):
            server.start()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        os.environ.pop("ETCD_CONFIG_PATH")
        if before is not None:
            os.environ["ETCD_CONFIG_PATH"] = before


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
