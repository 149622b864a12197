"""``mm-milvus eval``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import open_shop, private_hosts_option, search_options, shared_options
from .output import print_json, say, terminal_width
from .progress import Progress
from .text import one_line
from .values import names

if TYPE_CHECKING:
    from mm_milvus.evaluation import Evaluation

__all__ = ["evaluate"]


@click.command("eval", short_help="Measure how well queries find the products that they should.")
@click.argument("queries", metavar="QUERIES")
@click.option(
    "--metrics",
    type=names,
    metavar="A,B",
    help="Metrics, such as nDCG@10, MRR@10, R@50, P@10 or AP. Default: nDCG@10,MRR,R@50.",
)
@click.option(
    "--compare",
    type=names,
    metavar="A,B",
    help="Ways to search, the first being the baseline: vector, text, hybrid, hybrid:rrf, alpha=.3, "
    "'image=.7;text=.3', collection=NAME. Default: default.",
)
@click.option(
    "--qrels",
    metavar="FILE",
    help="Relevant products in the form of TREC, for QUERIES of a qid and a text. Default: those in QUERIES.",
)
@click.option(
    "--depth",
    type=click.IntRange(1, 1_000),
    metavar="N",
    help="Products that are asked for; others count as not found. Default: 100, or what the metrics need.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of what is drawn by lot. Default: 0.")
@private_hosts_option
@search_options
@shared_options
def evaluate(
    queries: str,
    metrics: tuple[str, ...] | None,
    compare: tuple[str, ...] | None,
    qrels: str | None,
    depth: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure how well queries find the products that they should, and compare ways to search.

    QUERIES has one JSON object a line: {"query": "red shoe", "relevant": ["sku-1", "sku-7"]}. The query may be an
    object of text, image and id, and relevant an object of grades. Nothing is changed.

    \b
      mm-milvus eval queries.jsonl --compare hybrid,vector,text
      mm-milvus eval topics.tsv --qrels judged.qrels --metrics AP,P@10
    """
    from mm_milvus.evaluation import DEFAULT_METRICS, evaluate, load_queries

    asked = load_queries(queries, qrels=qrels)
    progress = Progress(len(asked))
    with open_shop() as shop, progress:
        found = evaluate(
            shop,
            asked,
            metrics=metrics or DEFAULT_METRICS,
            compare=compare or ("default",),
            depth=depth,
            seed=seed,
            progress=progress.rows,
        )
    if as_json:
        print_json(found.to_dict())
    else:
        _show(found, queries)


def _show(found: Evaluation, file: str) -> None:
    from .eval_table import print_slices, print_variants, summary_lines

    print_variants(found, terminal_width())
    print_slices(found)
    say("")
    for line in summary_lines(found, one_line(file)):
        say(line)
