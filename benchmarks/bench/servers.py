"""A Milvus server for a measurement."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

__all__ = ["server"]

_ETCD = """
name: default
data-dir: {folder}/etcd
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


@contextmanager
def server(folder: Path, uri: str | None = None) -> Iterator[str]:
    """The URI that is given, else that of a server of the pip package ``milvus``, which is stopped afterwards."""
    if uri:
        yield uri
        return
    from milvus import MilvusServer

    port, client, peer = (_free_port() for _ in range(3))
    config = folder / "etcd.yaml"
    config.write_text(_ETCD.format(folder=folder, client=client, peer=peer), encoding="utf-8")
    started: Any = MilvusServer()
    started.set_base_dir(str(folder))
    started.config.configs.update(proxy_port=port, etcd_port=client)
    # Without a file of its own its etcd takes fixed ports, and its start changes the working directory.
    before = os.environ.get("ETCD_CONFIG_PATH")
    os.environ["ETCD_CONFIG_PATH"] = str(config)
    try:
        with chdir(os.getcwd()):
            started.start()
        yield f"http://127.0.0.1:{port}"
    finally:
        started.stop()
        os.environ.pop("ETCD_CONFIG_PATH")
        if before is not None:
            os.environ["ETCD_CONFIG_PATH"] = before


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
