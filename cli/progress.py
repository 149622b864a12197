"""How far a work is, on stderr."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from .text import one_line

if TYPE_CHECKING:
    from mm_milvus.records import IngestReport

__all__ = ["Phases", "Progress"]

_WIDTH = 80


class Progress:
    """A bar where a person watches, nothing in a pipe.

    Remembers the last report, and draws rows, rows per second, the time left where the total is known, rejects.
    """

    def __init__(self, total: int | None = None) -> None:
        """``total``: about how many rows there are, None where nobody knows."""
        self.last: IngestReport | None = None
        self._total = total
        self._bar: Any = None

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            self._bar = _bar(total=self._total, unit=" rows", unit_scale=False)

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, report: IngestReport) -> None:
        self.last = report
        if self._bar is not None:
            encoded = report.images_encoded + report.texts_encoded
            self._bar.set_postfix(
                encoded=encoded, written=report.written, rejected=report.rejected, refresh=False
            )
            self.rows(report.read)

    def rows(self, count: int) -> None:
        """The number of rows that are done."""
        if self._bar is not None:
            self._bar.update(count - self._bar.n)

    def write(self, line: str) -> None:
        """A line that stays, above the bar."""
        text = f"waiting: {one_line(line)}"
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            click.echo(text, err=True)


class Phases:
    """How far each phase of a work is, on stderr: a bar where a person watches, else a line now and then."""

    def __init__(self, *, quiet: bool = False, seconds: float = 10.0) -> None:
        """``quiet``: nothing at all. ``seconds``: from the start to the first line, and from one line to the next."""
        self._bar: Any = None
        self._phase = ""
        self._quiet = quiet
        self._seconds = seconds
        self._told = time.monotonic()

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None:
        if self._quiet:
            return
        if sys.stderr.isatty():
            self._draw(phase, done, total, note)
        elif time.monotonic() - self._told >= self._seconds:
            self._told = time.monotonic()
            more = f", {note}" if note else ""
            click.echo(f"{phase}: {done:,} of {total:,}{more}", err=True)

    def _draw(self, phase: str, done: int, total: int, note: str) -> None:
        if phase != self._phase:
            self.__exit__()
            self._phase = phase
            self._bar = _bar(total=total, desc=phase)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)


def _bar(**options: Any) -> Any:
    """On stderr, which is a terminal. One that does not know its width says 0, for which tqdm would draw nothing."""
    from tqdm import tqdm

    known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    return tqdm(leave=False, dynamic_ncols=known, ncols=None if known else _WIDTH, **options)
