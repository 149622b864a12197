"""Tables -> raw rows: delimited text (CSV, TSV) and Parquet."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_milvus.catalog.readers import SAVE_AS_UTF8, RawRow, read_lines, snippet
from mm_milvus.errors import CatalogError
from mm_milvus.records import Rejected

if TYPE_CHECKING:
    from mm_milvus.catalog.readers import Line

__all__ = ["DelimitedText", "ParquetFile"]

_DELIMITERS = (",", ";", "\t", "|")
_BATCH_ROWS = 256  # rows of a Parquet file in memory at once: they may hold pictures
_MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"RIFF": "webp", b"GIF8": "gif", b"BM": "bmp"}


class DelimitedText:
    """CSV or TSV with a header, plain or gzipped; the delimiter is found in the header."""

    kind = "csv"

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = _TextLines(read_lines(path))
        self._delimiter = _sniff(path)
        self.columns = self._header(lines)

    @property
    def root(self) -> Path:
        return self.path.parent

    def rows(self) -> Iterator[RawRow | Rejected]:
        lines = _TextLines(read_lines(self.path))
        self._header(lines)
        parser = self._parser(lines)
        while True:
            lines.start_row()
            try:
                fields = next(parser)
            except StopIteration:
                return
            except csv.Error as error:
                yield Rejected(lines.start, None, "read", f"not CSV: {error}", snippet(lines.raw))
                continue
            except _BadLine as error:
                yield Rejected(lines.start, None, "read", error.problem, snippet(lines.raw), last=error.last)
                continue
            if any(field.strip() for field in fields):
                yield self._row(fields, lines)

    def _row(self, fields: list[str], lines: _TextLines) -> RawRow | Rejected:
        if lines.invalid:
            reason = f"not valid UTF-8; {SAVE_AS_UTF8}"
            return Rejected(lines.start, None, "read", reason, snippet(lines.raw))
        if len(fields) > len(self.columns):
            reason = f"{len(fields)} values for {len(self.columns)} columns"
            return Rejected(lines.start, None, "read", reason, snippet(lines.raw))
        return RawRow(lines.start, dict(zip(self.columns, fields, strict=False)), text=True)

    def _parser(self, lines: _TextLines) -> Iterator[list[str]]:
        # strict: a stray quote is an error on its row, not a value that swallows the rows after it
        return csv.reader(lines, delimiter=self._delimiter, strict=True)

    def _header(self, lines: _TextLines) -> tuple[str, ...]:
        try:
            names = next((fields for fields in self._parser(lines) if fields), None)
        except (csv.Error, _BadLine) as error:
            raise CatalogError(f"cannot read the header of {self.path}: {error}") from error
        if names is None:
            raise CatalogError(f"the catalog {self.path} is empty")
        if lines.invalid:
            raise CatalogError(f"the header of {self.path} is not valid UTF-8; {SAVE_AS_UTF8}")
        return _unique(self.path, [name.strip() or f"column_{n}" for n, name in enumerate(names, 1)])


class _BadLine(Exception):
    """A physical line that the parser must not see; after the ``last`` none follows."""

    def __init__(self, problem: str, last: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.last = last


class _TextLines:
    """Feeds the csv parser, and remembers where its current row starts and what it looked like."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._number = 0
        self.start_row()

    def start_row(self) -> None:
        self.start = self._number + 1
        self.raw = b""
        self.invalid = False

    def __iter__(self) -> _TextLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._number = line.number
        self.raw += line.data[: max(0, 4096 - len(self.raw))]
        if line.problem:
            raise _BadLine(line.problem, line.last)
        try:
            return line.data.decode("utf-8")
        except UnicodeDecodeError:
            self.invalid = True
            return line.data.decode("utf-8", "replace")


def _sniff(path: Path) -> str:
    """The delimiter that cuts the header into most columns; ties go to the usual one."""
    line = next((line.data for line in read_lines(path) if line.data.strip()), b"")
    header = line[:65536].decode("utf-8", "replace").partition("\r")[0]
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _unique(path: Path, names: list[str]) -> tuple[str, ...]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CatalogError(f"{path} has two columns called {twice!r}; rename one")
    return tuple(names)


class ParquetFile:
    """A Parquet file, read in small batches. Values arrive as JSON knows them (dates as ISO text)."""

    kind = "parquet"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = _unique(path, [str(name) for name in self._open().schema_arrow.names])

    @property
    def root(self) -> Path:
        return self.path.parent

    def rows(self) -> Iterator[RawRow | Rejected]:
        from pyarrow import ArrowException

        number = 1
        batches = self._open().iter_batches(batch_size=_BATCH_ROWS)
        while True:
            try:
                batch = next(batches, None)
            except (ArrowException, OSError) as error:
                reason = f"the file is damaged, nothing after this row was read: {_one_line(error)}"
                yield Rejected(number, None, "read", reason, last=True)
                return
            if batch is None:
                return
            yield from _batch_rows(batch, number)
            number += batch.num_rows

    def _open(self) -> Any:
        from pyarrow import ArrowException, parquet

        try:
            return parquet.ParquetFile(self.path, pre_buffer=False)
        except (ArrowException, OSError) as error:
            raise CatalogError(f"cannot read {self.path}: {_one_line(error)}") from error


def _batch_rows(batch: Any, first: int) -> Iterator[RawRow | Rejected]:
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError) as error:  # a text that is not UTF-8, a date that Python cannot hold
        if batch.num_rows == 1:
            yield Rejected(first, None, "read", f"a value cannot be read: {_one_line(error)}")
            return
        for offset in range(batch.num_rows):
            yield from _batch_rows(batch.slice(offset, 1), first + offset)
        return
    for number, row in enumerate(rows, first):
        yield RawRow(number, {str(name): _plain(value) for name, value in row.items()})


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it; bytes that are neither a picture nor text stay bytes."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return _plain_bytes(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else str(value)


def _plain_bytes(value: bytes) -> str | bytes:
    kind = next((kind for magic, kind in _MAGIC.items() if value.startswith(magic)), None)
    if kind and len(value) > 64:
        return f"data:image/{kind};base64,{base64.b64encode(value).decode('ascii')}"
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
