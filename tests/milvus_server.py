"""A real Milvus from its pip package, on ports of its own: several may run on one machine."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest

ETCD = """
name: default
data-dir: {folder}/etcd
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


def free_port() -> int:
    """A port of the loopback address that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two servers that start at the same time take the same free ports, and one of them dies."""
    with open(Path(tempfile.gettempdir()) / "mm-milvus-test-server.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def running(folder: Path, *, authorization: bool = False) -> Iterator[Any]:
    """A started ``milvus.MilvusServer`` that keeps its data in ``folder``; stopped afterwards.

    With ``authorization`` its user is root, the password Milvus.
    """
    milvus = pytest.importorskip("milvus", reason="the pip-installable Milvus server is not installed")
    port, etcd = free_port(), free_port()
    config = folder / "etcd.yaml"
    config.write_text(ETCD.format(folder=folder, client=etcd, peer=free_port()), encoding="utf-8")
    server = milvus.MilvusServer()
    server.set_base_dir(str(folder))
    server.config.set("authorization_enabled", authorization)
    server.config.configs.update(proxy_port=port, etcd_port=etcd)
    # Its start() changes the working directory, and without a file of its own its etcd takes fixed ports.
    with pytest.MonkeyPatch.context() as patch, chdir(os.getcwd()):
        patch.setenv("ETCD_CONFIG_PATH", str(config))
        with _one_at_a_time():
            server.start()
    try:
        yield server
    finally:
        server.stop()


def kill_and_restart(server: Any) -> None:
    """kill -9, and the same process again at once; it answers when it has found out that its former self is dead."""
    old = server.server_proc
    environment = Path(f"/proc/{old.pid}/environ").read_bytes().split(b"\0")
    folder = os.readlink(f"/proc/{old.pid}/cwd")
    old.kill()
    old.wait()
    server.server_proc = subprocess.Popen(
        old.args,
        env=dict(entry.split(b"=", 1) for entry in environment if b"=" in entry),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
