"""Milvus Lite files: opened once per process, shared by its clients, closed with the last of them."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_milvus.errors import ConfigError, DatabaseLocked, DatabaseNotFound, MissingDependency, StoreError
from mm_milvus.store.columns import read_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = ["EmbeddedServer", "open_embedded"]

_MARKS = {
    "LOCK",
    "collections",
}  # together they are a database; other programs lay a LOCK into their folders too
_POLL = 0.2  # seconds between two looks at a lock
_BEGINNINGS = {*_MARKS, "databases"}  # what is there when the making of one was interrupted


@dataclass
class EmbeddedServer:
    """One open database: a folder, served on a loopback port of this process."""

    path: str
    uri: str
    _server: Any
    _database: Any
    users: int = 0

    def columns(self, name: str, fields: Sequence[str]) -> pa.Table | None:
        """Of a collection; see ``store.columns``."""
        return read_columns(self._database, name, fields)

    def close(self) -> None:
        """Gives the database back; the last user closes it and releases its lock."""
        with _guard:
            self.users -= 1
            if self.users > 0:
                return
            _open.pop(self.path, None)
        self._server.stop(grace=2).wait()
        self._database.close()


_guard = threading.Lock()
_open: dict[str, EmbeddedServer] = {}


def open_embedded(path: str | os.PathLike[str], *, create: bool, wait: float = 0.0) -> EmbeddedServer:
    """Opens the database at ``path``, any path; only with ``create`` may it come into being.

    A database that another process has is asked for again, for up to ``wait`` seconds. Raises DatabaseNotFound,
    DatabaseLocked (another process still has it), StoreError (not a database, no right).
    """
    folder = _locate(path)
    deadline = time.monotonic() + wait
    while True:
        try:
            return _opened(folder, create=create)
        except DatabaseLocked:
            if (left := deadline - time.monotonic()) <= 0:
                raise
        time.sleep(min(left, _POLL))  # outside of the guard: clients of other databases go on


def _opened(folder: Path, *, create: bool) -> EmbeddedServer:
    with _guard:
        server = _open.get(str(folder))
        if server is None:
            try:
                _check(folder, create=create)
            except OSError as error:
                raise StoreError(f"cannot open the database {folder}: {error.strerror or error}") from error
            server = _open[str(folder)] = _start(folder)
        server.users += 1
        return server


def _locate(path: str | os.PathLike[str]) -> Path:
    """Where the folder really is: this process must not meet its own lock by way of a link or of ``..``."""
    try:
        return Path(os.path.realpath(os.path.expanduser(path)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"bad uri {os.fspath(path)!r}: {error}") from error


def _check(folder: Path, *, create: bool) -> None:
    """Milvus Lite would make a database of any folder that it is pointed at; we do not."""
    if not folder.exists():
        if not create:
            raise DatabaseNotFound(
                f"there is no database at {folder}; `mm-milvus ingest` creates one, or set --uri"
            )
        if not folder.parent.is_dir():
            raise DatabaseNotFound(f"the folder {folder.parent} of the database does not exist")
        return
    if not folder.is_dir():
        raise StoreError(
            f"{folder} is a file, not a Milvus Lite database of this version; choose another --uri"
        )
    content = set(os.listdir(folder))
    if content >= _MARKS:
        return
    if not content <= _BEGINNINGS:
        raise StoreError(f"{folder} is a folder with other content, not a Milvus Lite database")
    if not create:
        raise DatabaseNotFound(f"there is no database in the folder {folder}; `mm-milvus ingest` creates one")


def _start(folder: Path) -> EmbeddedServer:
    try:
        from milvus_lite.adapter.grpc.server import start_server_in_thread
        from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError
    except ImportError as error:
        raise MissingDependency(
            "a local database needs Milvus Lite: pip install milvus-lite, or set --uri to a server"
        ) from error
    try:
        server, database, port = start_server_in_thread(str(folder), host="127.0.0.1", port=0)
    except DataDirLockedError as error:
        raise DatabaseLocked(
            f"the database {folder} is in use by another process; close it, or wait for it with --wait SECONDS"
        ) from error
    except (MilvusLiteError, OSError, ValueError) as error:
        raise StoreError(f"cannot open the database {folder}: {error}") from error
    return EmbeddedServer(str(folder), f"http://127.0.0.1:{port}", server, database)
