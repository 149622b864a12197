"""Bytes -> raw rows with line numbers. What cannot be read becomes a Rejected; the rows after it still come.

Every source streams: memory is bounded by ``LINE_LIMIT``, whatever the size of the file.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

from mm_milvus.errors import CatalogError
from mm_milvus.records import Rejected

__all__ = [
    "LINE_LIMIT",
    "SAVE_AS_UTF8",
    "SNIPPET_LIMIT",
    "JsonLines",
    "Line",
    "RawRow",
    "Source",
    "read_lines",
    "snippet",
]

LINE_LIMIT = 16 * 1024 * 1024  # bytes of one line, and of all lines of one row
SNIPPET_LIMIT = 4096  # bytes of an unreadable row that are kept for the rejects file
SAVE_AS_UTF8 = "save the file as UTF-8"
_BOM = b"\xef\xbb\xbf"
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
_REJECT_KEYS = {"line", "id", "stage", "reason", "record"}


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as it was read: column -> value. ``text`` rows know only strings (CSV): "" means missing there."""

    line: int  # 1-based: line of the file where the row starts, row of the table
    values: dict[str, Any]
    text: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A physical line without its byte order mark; with a ``problem``, ``data`` is only its beginning."""

    number: int
    data: bytes
    problem: str | None = None
    last: bool = False  # the file is damaged: no line follows


class Source(Protocol):
    """A place that rows come from; ``columns`` are those known before any row is read."""

    path: Path
    kind: str
    columns: tuple[str, ...]

    @property
    def root(self) -> Path:
        """Folder that relative picture paths start from."""
        ...

    def rows(self) -> Iterator[RawRow | Rejected]:
        """All rows, anew at each call."""
        ...


class JsonLines:
    """One JSON object per line, plain or gzipped. A rejects file is read as the rows that it holds."""

    kind = "jsonl"
    columns: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._refuse_array()

    @property
    def root(self) -> Path:
        return self.path.parent

    def rows(self) -> Iterator[RawRow | Rejected]:
        for line in read_lines(self.path):
            if line.problem:
                yield Rejected(line.number, None, "read", line.problem, snippet(line.data), last=line.last)
            elif line.data.strip():
                yield parse_row(line.number, line.data)

    def _refuse_array(self) -> None:
        first = next((line for line in read_lines(self.path) if line.problem or line.data.strip()), None)
        if first is None:
            raise CatalogError(f"the catalog {self.path} is empty")
        text = first.data.strip()
        # A .jsonl whose first line is a list on its own has one bad line; anything else is one big array.
        alone = ".json" not in self.path.suffixes and text.endswith(b"]")
        if text.startswith(b"[") and not alone:
            raise CatalogError(
                f"{self.path} is one JSON array; write one object per line instead (JSON Lines)"
            )


def parse_row(number: int, data: bytes) -> RawRow | Rejected:
    """One line of JSON -> its row, unwrapped where it is a line of a rejects file."""
    try:
        values = _parse_object(data)
        if _is_reject(values):
            return _unrepaired(number, values) or _unwrap(number, values["record"])
    except _Unreadable as problem:
        return Rejected(number, None, "read", str(problem), snippet(data))
    return RawRow(number, values)


class _Unreadable(Exception):
    """Why a line gives no row."""


def _parse_object(data: bytes) -> dict[str, Any]:
    try:
        value = _decoder.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Unreadable(f"not valid UTF-8 at byte {error.start + 1} of the line; {SAVE_AS_UTF8}") from None
    except json.JSONDecodeError as error:
        raise _Unreadable(f"not JSON: {error.msg} at character {error.pos + 1} of the line") from None
    except RecursionError:
        raise _Unreadable("not usable JSON: nested too deeply") from None
    except ValueError as error:
        reason = "a number has thousands of digits" if "digits" in str(error) else error
        raise _Unreadable(f"not usable JSON: {reason}") from None
    if not isinstance(value, dict):
        raise _Unreadable(f"expected a JSON object, got {snippet(data, 80)}")
    return value


def _is_reject(values: dict[str, Any]) -> bool:
    return values.keys() - {"kept"} == _REJECT_KEYS


def _unrepaired(number: int, line: dict[str, Any]) -> Rejected | None:
    """The same reject again, where nothing about the row itself shows that it is one: alone it would be stored."""
    reason, record = str(line["reason"]), line["record"]
    if reason.startswith("duplicate id") and isinstance(record, dict):
        values = {str(value).strip() for value in record.values()}
        if line["id"] in values:
            return Rejected(
                number, line["id"], "map", f"{reason.partition(';')[0]}; give it another id", record
            )
    if "not valid UTF-8" in reason and isinstance(record, str) and "\ufffd" in record:
        return Rejected(number, None, "read", reason, record)
    return None


def _unwrap(number: int, record: Any) -> RawRow | Rejected:
    """The row of a rejects file's line. Text is a line that could not be parsed; it may have been repaired."""
    if isinstance(record, str):
        try:
            record = _parse_object(record.encode("utf-8", "surrogatepass"))
        except _Unreadable as problem:
            return Rejected(number, None, "read", str(problem), record)
    if not isinstance(record, dict):
        return Rejected(number, None, "read", "this line of a rejects file holds no row", record)
    # A row of strings alone was read from CSV, where numbers are text: it is converted as it was there.
    return RawRow(number, record, text=all(isinstance(value, str) for value in record.values()))


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)


def read_lines(path: Path) -> Iterator[Line]:
    """Physical lines of a plain or gzipped file, split at ``\\n`` only.

    Raises CatalogError when the file cannot be opened or read. Damage in a gzip ends the lines with a problem.
    """
    with _open_bytes(path) as file:
        number = 0
        while True:
            number += 1
            try:
                data, problem = _next_line(file)
            except _DAMAGE as error:
                reason = f"the file is damaged, nothing after this point was read: {error}"
                yield Line(number, b"", reason, last=True)
                return
            except OSError as error:
                raise CatalogError(f"cannot read {path} after line {number - 1}: {error}") from error
            if not data:
                return
            yield Line(number, data.removeprefix(_BOM) if number == 1 else data, problem)


def _open_bytes(path: Path) -> BinaryIO:
    try:
        with path.open("rb") as file:
            magic = file.read(2)
    except OSError as error:
        raise CatalogError(f"cannot read {path}: {error.strerror or error}") from error
    if magic in {b"\xff\xfe", b"\xfe\xff"}:
        raise CatalogError(f"{path} is UTF-16; {SAVE_AS_UTF8}")
    if magic == b"\x1f\x8b":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _next_line(file: BinaryIO) -> tuple[bytes, str | None]:
    data = file.readline(LINE_LIMIT + 1)
    if len(data) <= LINE_LIMIT or data.endswith(b"\n"):
        return data, None
    start = data[:SNIPPET_LIMIT]
    while data and not data.endswith(b"\n"):
        data = file.readline(1 << 20)
    return start, f"the line is longer than {LINE_LIMIT >> 20} MiB"


def snippet(data: bytes | str, limit: int = SNIPPET_LIMIT) -> str:
    """The beginning of an unreadable row as text of at most ``limit`` bytes."""
    if isinstance(data, str):
        data = data[:limit].encode("utf-8", "replace")
    return data[:limit].decode("utf-8", "replace").strip("\r\n")
