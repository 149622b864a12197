"""One process at a time makes the token vectors of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mm_milvus.errors import ConfigError
from mm_milvus.late.store import LOCK

__all__ = ["exclusive"]


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Only one process at a time; a lock dies with its process. Raises ConfigError where another one is at it."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # Windows
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("wb") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise ConfigError(f"another process is making the token vectors in {str(folder)!r}") from error
        yield
