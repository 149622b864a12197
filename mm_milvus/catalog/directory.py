"""A plain directory of pictures -> raw rows: the file names are all that is known."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mm_milvus.catalog.readers import RawRow
from mm_milvus.errors import CatalogError
from mm_milvus.records import Rejected

__all__ = ["PictureDirectory"]

# Formats that cannot be decoded are listed too: such a picture is then rejected, not overlooked.
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
_CAMERA = {"img", "dsc", "dscn", "dscf", "pxl", "image", "photo", "pic", "picture", "screenshot"}


class PictureDirectory:
    """Pictures of a directory and the directories below it, sorted; hidden ones are skipped.

    The id is the relative path with its extension, so that it never depends on what else lies there.
    """

    kind = "directory"
    columns: tuple[str, ...] = ("id", "title", "category", "image")

    def __init__(self, path: Path) -> None:
        self.path = path
        if next(self.rows(), None) is None:
            raise CatalogError(
                f"the directory {path} holds no pictures; give the catalog file in it, if it has one"
            )

    @property
    def root(self) -> Path:
        return self.path

    def rows(self) -> Iterator[RawRow | Rejected]:
        for number, relative in enumerate(_pictures(self.path), 1):
            folder = relative.rpartition("/")[0].rpartition("/")[2]
            row = {"id": relative, "title": title_of(relative), "category": folder, "image": relative}
            yield RawRow(number, {column: value for column, value in row.items() if value})


def _pictures(root: Path, below: str = "") -> Iterator[str]:
    """Path relative to the root of every picture, depth first in the order of names."""
    try:
        with os.scandir(root / below) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise CatalogError(f"cannot read the directory {root / below}: {error.strerror}") from error
    for name, folder in found:
        if name.startswith((".", "__MACOSX")):
            continue
        if folder:
            yield from _pictures(root, f"{below}{name}/")
        elif _is_picture(name):
            yield below + name


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SUFFIXES


def title_of(relative: str) -> str:
    """The words of a file name, "" where it is a number, a hash or what cameras write."""
    stem = os.path.splitext(relative.rpartition("/")[2])[0]
    words = [word for word in re.split(r"[\s_.,+()\[\]-]+", stem) if word]
    return " ".join(words) if any(map(_is_word, words)) else ""


def _is_word(text: str) -> bool:
    hexadecimal = re.fullmatch(r"[0-9a-fA-F]+", text)
    if hexadecimal and (len(text) >= 8 or not text.isalpha()):  # "bed" and "facade" are words all the same
        return False
    return text.lower() not in _CAMERA and any(character.isalpha() for character in text)
