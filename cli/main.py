"""The group ``mm-milvus``: what all commands share is that errors become exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any

import click

from .calibrate import calibrate
from .collection import collections, delete, drop, get, info
from .demo import demo_catalog
from .doctor import doctor
from .eval import evaluate
from .failures import INTERRUPTED, reported
from .ingest import ingest
from .query import query
from .tokens import tokens
from .train import train
from .verify import verify

__all__ = ["cli", "main"]


_LONG = (ingest, verify, train, tokens, evaluate)  # as long as the catalog is


class CommandLine(click.Group):
    """A group whose errors end the process with the exit code of their class, in one line and as JSON if asked."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(ctx, args)
        if found[1] in _LONG:
            gc.enable()
        return found

    def main(self, *args: Any, **options: Any) -> Any:
        if not options.get("standalone_mode", True):
            return super().main(*args, **options)
        with reported(args[0] if args else options.get("args")):
            code = super().main(*args, **(options | {"standalone_mode": False}))
            raise SystemExit(code if isinstance(code, int) else 0)


@click.group(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings come from mm-milvus.toml, then MM_MILVUS_* variables, then options; the last one wins.",
)
@click.version_option(package_name="mm-milvus", prog_name="mm-milvus", message="%(prog)s %(version)s")
def cli() -> None:
    """Multimodal product search on Milvus: by picture, words, known products and any mix of them.

    \b
      mm-milvus ingest catalog.jsonl
      mm-milvus query --image shoe.jpg --text red --filter 'price < 100'
    """


for command in (
    ingest,
    verify,
    query,
    calibrate,
    train,
    tokens,
    evaluate,
    info,
    get,
    collections,
    delete,
    drop,
    doctor,
    demo_catalog,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a container is a Ctrl-C too
    gc.disable()  # a short command would look through all that it imports again and again, for a seventh of its time
    try:
        cli(prog_name="mm-milvus")
    except SystemExit as end:
        if end.code != INTERRUPTED:
            # All is done and told: a Ctrl-C now ends what libraries still do, and not with their tracebacks.
            signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
            gc.freeze()  # and once more at its end, for a fifth
            raise
        # Threads that wait for silent picture hosts would hold the process for up to half a minute.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
