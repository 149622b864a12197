"""One process at a time makes the token vectors of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mm_milvus.errors import ConfigError
from mm_milvus.files import only_one
from mm_milvus.late.store import LOCK

__all__ = ["exclusive"]


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Only one process at a time; a lock dies with its process. Raises ConfigError where another one is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK).touch()
    with only_one(folder / LOCK) as alone:
        if not alone:
            raise ConfigError(f"another process is making the token vectors in {str(folder)!r}")
        yield
