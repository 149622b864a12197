"""Printing: JSON for programs, tables and short lines for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from .text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["check_page", "print_fields", "print_json", "print_table", "say", "terminal_width", "write_page"]

PIPE_WIDTH = 120


def print_json(value: Any) -> None:
    """Prints ``value`` as JSON, indented by two; escapes what the terminal's encoding cannot hold."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    click.echo(text if _fits(text) else json.dumps(value, indent=2))


def say(text: str) -> None:
    """Prints a line for a person; characters that the terminal lacks become question marks."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text if _fits(text) else text.encode(encoding, "replace").decode(encoding))


def print_table(table: Table) -> None:
    """Prints a table without the blanks that pad its last column."""
    target = _console()
    with target.capture() as captured:
        target.print(table)
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_fields(fields: Iterable[tuple[str, str, bool]]) -> None:
    """Prints a schema: name, type, and whether a field has a column of its own."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "field", "type", "stored as", box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold"
    )
    for name, kind, typed in fields:
        table.add_row(Text(one_line(name)), kind, "column" if typed else "dynamic key")
    print_table(table)


def write_page(file: str, page: str) -> None:
    """Writes a web page. Raises ConfigError where that cannot be done."""
    with _page(file, "w") as target:
        target.write(page)


def check_page(file: str) -> None:
    """Raises ConfigError where a web page cannot be written; what is in the file stays."""
    with _page(file, "a"):
        pass


@contextmanager
def _page(file: str, how: str) -> Iterator[IO[str]]:
    from mm_milvus.errors import ConfigError

    try:
        with open(file, how, encoding="utf-8") as target:
            yield target
    except OSError as error:
        raise ConfigError(f"cannot write the web page {file}: {error.strerror or error}") from error


def terminal_width() -> int:
    """Cells of a line: those of the terminal, or of COLUMNS, or 120 in a pipe."""
    return _console().width


def _console() -> Console:
    """Markup, emoji codes and numbers are taken literally: they are data."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(
        file=sys.stdout, width=PIPE_WIDTH if piped else None, markup=False, emoji=False, highlight=False
    )


def _fits(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
