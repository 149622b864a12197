"""The rejects file: every refused row with its reason, and itself a catalog that can be repaired and ingested."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, BinaryIO, Self

from mm_milvus.errors import CatalogError, ConfigError
from mm_milvus.records import Rejected

__all__ = ["RejectsFile", "default_rejects_path"]

_SUFFIXES = {".gz", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".pq"}


def default_rejects_path(source: str | os.PathLike[str]) -> Path:
    """Beside the catalog, ``shop.csv.gz`` -> ``shop.rejects.jsonl``; inside a directory, ``photos`` ->
    ``photos/photos.rejects.jsonl``: the relative picture paths of its records start there."""
    path = Path(source)
    if path.is_dir():
        return path / f"{os.path.basename(os.path.abspath(path))}.rejects.jsonl"
    name = path.name
    while (suffix := os.path.splitext(name)[1]).lower() in _SUFFIXES:
        name = name.removesuffix(suffix)
    return path.with_name(f"{name}.rejects.jsonl")


class RejectsFile:
    """Writes one JSON object per rejected row: line, id, stage, reason, record, and kept where it is true.

    The file appears with the first row; what an earlier run left is removed when the context is entered. ``check``
    says before that whether this will go well; a write that fails all the same raises CatalogError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self.check()
        try:
            if self.path.exists():  # a link that leads nowhere yet is kept
                self.path.unlink()
        except OSError as error:
            raise self._unusable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as problem:  # a full disk is told once, by the error that is on its way already
            if error is None:
                reason = problem.strerror or problem
                raise CatalogError(f"cannot write the rejects file {self.path}: {reason}") from problem

    def check(self) -> None:
        """Changes nothing. Raises ConfigError when the file cannot be made where it is to be, and CatalogError when
        something else than rejects is there."""
        try:
            if self.path.exists():
                self._refuse_other()
                with TemporaryFile(dir=self.path.parent):  # the file will be removed and made anew
                    return
            target = Path(os.path.realpath(self.path))
            target.open("xb").close()
            target.unlink()
        except OSError as error:
            raise self._unusable(error) from error

    def write(self, rejected: Rejected) -> None:
        """Appends the row; it is on its way to the disk when this returns."""
        try:
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(_encoded(rejected))
            self._file.flush()
        except OSError as error:
            raise CatalogError(
                f"cannot write the rejects file {self.path}: {error.strerror or error}"
            ) from error
        self.count += 1

    def _refuse_other(self) -> None:
        if not self.path.is_file() or not _holds_rejects(self.path):
            raise CatalogError(
                f"{self.path} is not a rejects file, it is not overwritten; choose another path"
            )

    def _unusable(self, error: OSError) -> ConfigError:
        reason = error.strerror or error
        return ConfigError(
            f"the rejects file {self.path} cannot be made: {reason}; say with --rejects FILE where it can"
        )


def _holds_rejects(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4096)
    return not start or start.startswith(b'{"line": ')


def _encoded(rejected: Rejected) -> bytes:
    line: dict[str, Any] = {
        "line": rejected.line,
        "id": rejected.id,
        "stage": rejected.stage,
        "reason": " ".join(rejected.reason.split()),
        "record": _plain(rejected.record),
    }
    if rejected.kept:
        line["kept"] = True
    text = json.dumps(line, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"  # \ud800 is how JSON writes a lone surrogate


def _plain(value: Any) -> Any:
    """The value as JSON can have it; NaN, Infinity and bytes become text, so that they are refused again."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
