"""Files that are there as a whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["being_replaced", "replace_file"]


@contextmanager
def being_replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` once all is written."""
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def replace_file(path: Path, content: str | bytes) -> None:
    """Writes a file in one step."""
    with being_replaced(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
