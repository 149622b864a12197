"""Tables -> raw rows: delimited text (CSV, TSV) and Parquet."""

from __future__ import annotations

import base64
import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_milvus.catalog.readers import LINE_LIMIT, SAVE_AS_UTF8, SNIPPET_LIMIT, RawRow, read_lines, snippet
from mm_milvus.errors import CatalogError
from mm_milvus.records import Rejected

if TYPE_CHECKING:
    from mm_milvus.catalog.readers import Line

__all__ = ["DelimitedText", "ParquetFile"]

_DELIMITERS = (",", ";", "\t", "|")
_END_OF_DATA = "unexpected end of data"  # what csv says of a quote that is open at the end of the file
_LINE_COST = 128  # bytes of memory that a line takes beside its text
_LEAST_REACH = 8192  # bytes that a row may always have
_REACH_BACK = 16  # times its size that a line gives back
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
            except (csv.Error, _BadLine) as error:
                yield lines.refuse(error)
                continue
            if any(field.strip() for field in fields):
                yield self._row(fields, lines)

    def _row(self, fields: list[str], lines: _TextLines) -> RawRow | Rejected:
        if len(fields) != len(self.columns) and (rejected := self._miscounted(fields, lines)):
            return rejected
        if lines.invalid:
            return lines.refused(f"not valid UTF-8; {SAVE_AS_UTF8}")
        return RawRow(lines.start, dict(zip(self.columns, fields, strict=False)), text=True)

    def _miscounted(self, fields: list[str], lines: _TextLines) -> Rejected | None:
        """None where only the last values are missing: spreadsheets leave them out where they are empty."""
        counts = f"{len(fields)} values for {len(self.columns)} columns"
        too_many = len(fields) > len(self.columns)
        if lines.several and (too_many or self._may_hold_rows(fields)):
            return lines.refuse_quote(f"lines {lines.start} to {lines.end} are {counts} with it")
        if too_many:
            return lines.refused(counts)
        if lines.cut_off:
            return lines.refused(f"the file ends within this row: {counts}")
        if lines.doubtful:
            return lines.refused(f"{counts}, in a line that a wrong quote before it reaches")
        return None

    def _may_hold_rows(self, fields: list[str]) -> bool:
        """Whether what begins a line within quotes may be rows of its own."""
        return any(self._delimiter in field.partition("\n")[2] for field in fields)

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
    """Feeds the csv parser, and keeps the lines of its current row: after a wrong quote they are read again.

    A row ends within ``LINE_LIMIT``. Each row that fails uses up some of that reach and each line that is done with
    gives some back, so that a file of nothing but wrong quotes is not read once per line.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self._row: list[Line] = []
        self._size = 0  # of the row, as its lines take memory
        self._reach = LINE_LIMIT
        self._doubtful = 0  # the last line that a wrong quote reached
        self.invalid = False

    def start_row(self) -> None:
        self._reach = min(LINE_LIMIT, self._reach + _REACH_BACK * self._size)
        self._row = []
        self._size = 0
        self.invalid = False

    @property
    def start(self) -> int:
        return self._row[0].number

    @property
    def end(self) -> int:
        return self._row[-1].number

    @property
    def several(self) -> bool:
        return len(self._row) > 1

    @property
    def cut_off(self) -> bool:
        """Only the last line of a file can lack its end."""
        return not self._row[-1].data.endswith((b"\n", b"\r"))

    @property
    def doubtful(self) -> bool:
        """Whether the row may as well be a part of a text before it, whose quotes are wrong."""
        return self.start <= self._doubtful

    def refused(self, reason: str) -> Rejected:
        """The row as a whole."""
        raw = b"".join(line.data[:SNIPPET_LIMIT] for line in self._row[:SNIPPET_LIMIT])
        return Rejected(self.start, None, "read", reason, snippet(raw))

    def refuse(self, error: csv.Error | _BadLine) -> Rejected:
        """The line that the row began with, for what the parser met; those after it are read again."""
        if str(error) == _END_OF_DATA:
            return self.refuse_quote()
        if self.several:
            return self.refuse_quote(f"line {self.end}: {error}")
        if isinstance(error, _BadLine):
            return replace(self.refused(error.problem), last=error.last)
        return self.refused(f"not CSV: {error}")

    def refuse_quote(self, where: str = "") -> Rejected:
        """The line that the row began with, for the quote in it; those after it are read again."""
        if self.several:
            self._doubtful = max(self._doubtful, self.end)
        self._again.extendleft(reversed(self._row[1:]))
        self._reach = max(_LEAST_REACH, self._reach - self._size)
        del self._row[1:]
        self._size = len(self._row[0].data) + _LINE_COST
        how = f"not closed properly ({where})" if where else "never closed"
        return self.refused(f"not CSV: a quote that is {how}")

    def __iter__(self) -> _TextLines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        self._size += len(line.data) + _LINE_COST
        if line.problem:
            raise _BadLine(line.problem, line.last)
        if self._size > self._reach and self.several:
            raise _BadLine("too far from where it opens", last=False)
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
