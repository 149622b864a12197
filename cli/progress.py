"""A bar on stderr where a person watches; nothing in a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from .text import one_line

if TYPE_CHECKING:
    from mm_milvus.records import IngestReport

__all__ = ["Phases", "Progress"]


class Progress:
    """Remembers the last report, and draws rows, rows per second, the time left where the total is known, rejects."""

    def __init__(self, total: int | None = None) -> None:
        """``total``: about how many rows there are, None where nobody knows."""
        self.last: IngestReport | None = None
        self._total = total
        self._bar: Any = None

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total, unit=" rows", leave=False, dynamic_ncols=True, unit_scale=False
            )

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
    """One bar for each phase of a work, on stderr where a person watches."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._phase = ""

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None:
        if not sys.stderr.isatty():
            return
        if phase != self._phase:
            from tqdm import tqdm

            self.__exit__()
            self._phase = phase
            self._bar = tqdm(total=total, desc=phase, leave=False, dynamic_ncols=True)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
