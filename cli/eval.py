"""``mm-milvus eval``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import open_shop, private_hosts_option, search_options, shared_options
from .output import check_page, print_json, say, terminal_width, write_page
from .progress import Progress
from .text import one_line
from .values import names

if TYPE_CHECKING:
    from mm_milvus import Client
    from mm_milvus.evaluation import Evaluation, Tuning

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
    help="Ways to search, the first being the baseline: vector, text, hybrid, hybrid:rrf, alpha=.3, rrf_k=20, "
    "bridge=0, composition=product, 'image=.7;text=.3', rerank=late-interaction, rerank_size=50, collection=NAME, sum, "
    "the folder of a trained fusion such as heads/NAME; join several by a semicolon. Default: default.",
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
@click.option(
    "--tune",
    "tuned",
    is_flag=True,
    help="Also look for a better alpha and better weights: a part of QUERIES chooses, the rest says what it gains.",
)
@click.option(
    "--dev-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    metavar="SHARE",
    help="Share of QUERIES that chooses. Default: 0.5.",
)
@click.option(
    "--html", metavar="FILE", help="Also write a web page, with the worst queries and their pictures."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Seed of what is drawn by lot. Default: 0.",
)
@private_hosts_option
@search_options
@shared_options
def evaluate(
    queries: str,
    qrels: str | None,
    tuned: bool,
    dev_share: float,
    html: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how well queries find the products that they should, and compare ways to search.

    QUERIES has one JSON object a line: {"query": "red shoe", "relevant": ["sku-1", "sku-7"]}. The query may be an
    object of text, image and id, and relevant an object of grades. Nothing is changed.

    \b
      mm-milvus eval queries.jsonl --compare hybrid,vector,text
      mm-milvus eval topics.tsv --qrels judged.qrels --metrics AP,P@10
      mm-milvus eval queries.jsonl --tune
    """
    from dataclasses import replace

    from mm_milvus.evaluation import evaluate, load_queries

    asked = load_queries(queries, qrels=qrels)
    if html:
        check_page(html)  # before anything takes its time
    given = {name: value for name, value in options.items() if value is not None}
    progress = Progress(len(asked))
    with open_shop() as shop, progress:
        found = evaluate(shop, asked, progress=progress.rows, **given)
        if tuned:
            found = replace(found, tuning=_tune(shop, found, dev_share, options["seed"]))
        if html:
            _write_page(html, found, queries, shop)
    if as_json:
        print_json(found.to_dict())
        return
    _show(found, queries)
    if html:
        say(f"wrote {one_line(html)}")


def _tune(shop: Client, found: Evaluation, dev_share: float, seed: int) -> Tuning:
    """By the queries that could be asked, as deep as they were."""
    from mm_milvus.evaluation import tune

    usable = [judged.question for judged in found.queries]
    progress = Progress()
    with progress:
        return tune(
            shop,
            usable,
            metric=found.metrics[0],
            dev_share=dev_share,
            depth=found.depth,
            seed=seed,
            progress=progress.rows,
        )


def _write_page(file: str, found: Evaluation, queries: str, shop: Client) -> None:
    from datetime import datetime

    from .eval_html import products_shown, render_report

    products = {hit.id: hit for hit in shop.get(products_shown(found))}
    write_page(file, render_report(found, queries, products, datetime.now().date()))


def _show(found: Evaluation, file: str) -> None:
    from .eval_table import print_slices, print_variants, summary_lines, tuning_lines

    print_variants(found, terminal_width())
    print_slices(found)
    say("")
    for line in summary_lines(found, one_line(file)):
        say(line)
    if found.tuning:
        say("")
        for line in tuning_lines(found.tuning):
            say(line)
