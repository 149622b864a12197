"""``mm-milvus tokens``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .failures import interruptible
from .options import private_hosts_option, settings, shared_options, token_vectors_option
from .output import print_json, say
from .progress import Phases
from .text import counted, one_line

if TYPE_CHECKING:
    from mm_milvus.late import TokensReport

__all__ = ["tokens"]


@click.command(short_help="Make the token vectors that queries are reranked by.")
@click.argument("trained", metavar="[FOLDER]", required=False)
@click.option(
    "--codec",
    type=click.Choice(["fp16", "2bit"]),
    help="How tokens are stored: half precision, or 2 bits a dimension. Default: as they are there, else fp16.",
)
@click.option("--rebuild", is_flag=True, help="Encode all products again. Default: what is new or changed.")
@click.option(
    "--in-milvus",
    is_flag=True,
    help="Also write them into the server, from Milvus 2.6.4 on, which then compares them. Default: not.",
)
@token_vectors_option
@private_hosts_option
@shared_options
def tokens(trained: str | None, codec: Any, rebuild: bool, in_milvus: bool, as_json: bool) -> None:
    """Encode the words and picture parts of all products, for mm-milvus query --rerank late-interaction.

    FOLDER is what mm-milvus train --fusion late-interaction has written; without it, those that are there are made
    current. Run it again after an ingest: only products that are new or have changed are encoded. A run that was
    interrupted goes on with the same command.

    \b
      mm-milvus tokens rerankers/shop-v1 --collection products
      mm-milvus tokens --collection products
    """
    from mm_milvus.late import make_tokens, next_command

    chosen = settings()
    with interruptible(lambda: "the same command goes on from here"), Phases(quiet=as_json) as bar:
        report = make_tokens(
            trained, chosen, codec=codec, rebuild=rebuild, in_milvus=in_milvus,
            progress=lambda done, total: bar("encoding tokens", done, total),
        )  # fmt: skip
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report, next_command(chosen, "query", "--text", "WORDS", "--rerank", "late-interaction"))


def _show(report: TokensReport, next: str) -> None:
    say(
        f"{counted(report.products, 'product')} · {report.encoded:,} encoded · {report.unchanged:,} unchanged · "
        f"{report.bytes / 1e6:,.1f} MB as {report.codec} · {report.seconds:.1f} s"
    )
    if report.unreadable:
        say(f"{counted(report.unreadable, 'picture')} could not be read; the next run tries again")
    if report.without:
        say(f"{counted(report.without, 'product')} without tokens: they get the mean score of the others")
    say(one_line(report.folder))
    say(f"next: {one_line(next)}")
