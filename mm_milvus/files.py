"""Files that are there as a whole or not at all, also after a power cut, and locks on them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["being_replaced", "kind_of", "only_one", "replace_file", "replace_json"]


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


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Whether nobody else has locked ``path``, a file or a folder that is there; until the end, this process has.

    Nothing is left behind, and what a killed process had locked is free. Raises OSError for what cannot be opened.
    """
    file, alone = _locked(path)
    try:
        yield alone
    finally:
        if file is not None:
            os.close(file)


def _locked(path: Path) -> tuple[int | None, bool]:
    """The open file, and whether it is locked by it: True also where there are no such locks."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # Windows
        return None, True
    while True:
        file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return file, False
        except OSError:  # some network drives lock no folders
            return file, True
        try:
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file, True
        except OSError:
            os.close(file)
            raise
        os.close(file)  # who had it before removed it meanwhile, and there is another one


def kind_of(folder: Path) -> str | None:
    """What training wrote into a folder, as its ``config.json`` says; None where nothing says so."""
    try:
        kind = json.loads((folder / "config.json").read_bytes())["kind"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return kind if isinstance(kind, str) else None
