"""From an exception to one line on stderr, an exit code and, with ``--json``, an object on stdout."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from mm_milvus.errors import MmMilvusError

from .output import print_json
from .text import one_line

__all__ = ["INTERRUPTED", "interruptible", "reported"]

INTERRUPTED = 130  # what a shell reports for a process that SIGINT ended


@contextmanager
def reported(args: Sequence[str] | None) -> Iterator[None]:
    """Ends the process as the body's exception demands. An exception that nobody planned keeps its traceback."""
    as_json = "--json" in (sys.argv[1:] if args is None else args)
    try:
        with _quiet():
            try:
                yield
            finally:
                sys.stdout.flush()
    except MmMilvusError as error:
        _fail(str(error), type(error).__name__, error.exit_code, as_json, **_details(error))
    except NoArgsIsHelpError as error:
        error.show()
        _fail(error.format_message(), type(error).__name__, error.exit_code, as_json, shown=True)
    except click.ClickException as error:
        hint = _help_of(error)
        _fail(error.format_message(), type(error).__name__, error.exit_code, as_json, hint=hint)
    except (click.Abort, KeyboardInterrupt) as error:
        _fail(str(_told(error)) or "interrupted", "Interrupted", INTERRUPTED, as_json, **_details(error))
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        _close_stdout()
        raise SystemExit(1) from None


def _help_of(error: click.ClickException) -> str:
    """Where a person who gave a wrong option reads more."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" (see {context.command_path} --help)" if context is not None else ""


def _fail(
    message: str,
    kind: str,
    code: int,
    as_json: bool,
    *,
    hint: str = "",
    shown: bool = False,
    **details: Any,
) -> None:
    line = one_line(message)
    if not shown:
        click.echo(f"error: {line}{hint}", err=True)
    if as_json:
        print_json({"error": line, "kind": kind, "exit_code": code, **details})
    raise SystemExit(code)


def _details(error: BaseException) -> dict[str, Any]:
    """An ingest that rejected too much, or was interrupted, has stored rows all the same: say how many."""
    report = getattr(_told(error), "report", None)
    return {"report": report.to_dict()} if report is not None else {}


def _told(error: BaseException) -> BaseException:
    """The interrupt itself, of which click makes an Abort."""
    return error.__cause__ or error if isinstance(error, click.Abort) else error


@contextmanager
def interruptible(how: Callable[[], str]) -> Iterator[None]:
    """An interrupt also says ``how`` the work goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"interrupted; {how()}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Libraries log dozens of lines for a call that failed; the user gets one line from us instead."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _close_stdout() -> None:
    """The reader of the pipe has gone: what is still buffered must not raise again when the process ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, io.UnsupportedOperation):
        return
