"""Files that are there as a whole or not at all, also after a power cut."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["being_replaced", "kind_of", "replace_file", "replace_json"]


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


def replace_json(path: Path, value: Any) -> None:
    """Writes a file that people may read, too, in one step."""
    replace_file(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def kind_of(folder: Path) -> str | None:
    """What training wrote into a folder, as its ``config.json`` says; None where nothing says so."""
    try:
        kind = json.loads((folder / "config.json").read_bytes())["kind"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return kind if isinstance(kind, str) else None
